"""aioftp as people use it: aioftp_client.py HOST PORT USER PASSWORD: uploads the folder out four files at a time, fetches all into back."""
import asyncio
import sys
from pathlib import Path

import aioftp

host, port, user, password = sys.argv[1:]


async def put(gate, path):
    async with gate, aioftp.Client.context(host, int(port), user, password) as client:
        await client.upload(path, path.name, write_into=True)
        assert (await client.stat(path.name))["size"] == str(path.stat().st_size)


async def main():
    gate = asyncio.Semaphore(4)
    await asyncio.gather(*(put(gate, path) for path in sorted(Path("out").iterdir())))
    async with aioftp.Client.context(host, int(port), user, password) as client:
        for path, facts in await client.list():
            assert facts["type"] == "file"
            await client.download(path, Path("back") / path.name, write_into=True)


asyncio.run(main())

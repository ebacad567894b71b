"""What aioftp makes of a listing: aioftp_list.py MLSD|LIST HOST PORT USER PASSWORD prints NAME|SIZE|YYYY-MM-DD."""
import asyncio
import sys

import aioftp

command, host, port, user, password = sys.argv[1:]


async def main():
    async with aioftp.Client.context(host, int(port), user, password) as client:
        for path, facts in await client.list(raw_command=command):
            day = facts["modify"]
            print(f"{path}|{facts['size']}|{day[:4]}-{day[4:6]}-{day[6:8]}")


asyncio.run(main())

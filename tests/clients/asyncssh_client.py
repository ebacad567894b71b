"""asyncssh as people use it: asyncssh_client.py HOST PORT USER PASSWORD: sends the folder out, copies on the server, fetches all into back."""
import asyncio
import sys
from pathlib import Path

import asyncssh

host, port, user, password = sys.argv[1:]


async def main():
    login = {"username": user, "password": password, "known_hosts": None, "client_keys": None, "config": None}
    async with asyncssh.connect(host, int(port), **login) as ssh, ssh.start_sftp_client() as sftp:
        paths = sorted(Path("out").iterdir())
        await sftp.put([str(path) for path in paths[1:]], "/", preserve=True)
        for path in paths[1:]:
            facts = await sftp.stat(path.name)
            assert (facts.size, facts.mtime) == (path.stat().st_size, int(path.stat().st_mtime)), path
        assert sftp.supports_remote_copy
        async with sftp.open(paths[0].name, "xb") as target:
            await target.write(paths[0].read_bytes())
            await target.fsync()
        names = sorted(name for name in await sftp.listdir() if name not in (".", ".."))
        assert names == [path.name for path in paths], names
        space = await sftp.statvfs("/")
        assert space.bavail > 0 and sftp.limits.max_write_len == 255 * 1024
        for wrong in (sftp.symlink("a", "b"), sftp.link(paths[0].name, "b"), sftp.open(paths[0].name, "xb")):
            try:
                await wrong
            except asyncssh.SFTPError:
                continue
            raise AssertionError("not refused")
        for path in paths:
            await sftp.get(path.name, str(Path("back", path.name)))
        # A copy that stays on the server, and goes again.
        async with sftp.open(paths[-1].name, "rb") as source, sftp.open("copy.tmp", "wb") as target:
            await sftp.remote_copy(source, target)
        assert (await sftp.stat("copy.tmp")).size == paths[-1].stat().st_size
        await sftp.posix_rename("copy.tmp", "renamed.tmp")
        await sftp.remove("renamed.tmp")
        assert not await sftp.exists("copy.tmp") and not await sftp.exists("renamed.tmp")


asyncio.run(main())

"""More of paramiko: paramiko_whole.py HOST PORT USER PASSWORD: sends the folder out in several ways, fetches all into back, and tries the rest beside."""
import hashlib
import os
import sys
from pathlib import Path

import paramiko

host, port, user, password = sys.argv[1:]
transport = paramiko.Transport((host, int(port)))
transport.connect(username=user, password=password)
sftp = paramiko.SFTPClient.from_transport(transport)


def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        return
    raise AssertionError(f"{arguments} was not refused")


paths = sorted(Path("out").iterdir())
for number, path in enumerate(paths):
    size = path.stat().st_size
    with path.open("rb") as source:
        if number % 3 == 0:
            heard = []
            facts = sftp.putfo(source, path.name, size, lambda done, _: heard.append(done), confirm=True)
            assert facts.st_size == size and (not size or heard[-1] == size)
        elif number % 3 == 1:
            sftp.putfo(source, path.name, confirm=False)
        else:
            with sftp.open(path.name, "wxb") as target:
                target.set_pipelined(True)
                target.write(source.read())
    os.utime(path, (1_600_000_000, 1_600_000_000))
    sftp.utime(path.name, (1_600_000_000, 1_600_000_000))
for facts in sftp.listdir_attr():
    assert facts.st_mtime == 1_600_000_000 and facts.st_size == Path("out", facts.filename).stat().st_size, facts
assert sorted(sftp.listdir()) == [path.name for path in paths] == sorted(facts.filename for facts in sftp.listdir_iter())
for number, path in enumerate(paths):
    if number % 2:
        with sftp.open(path.name, "rb") as source:
            source.prefetch()
            Path("back", path.name).write_bytes(source.read())
    else:
        with Path("back", path.name).open("wb") as target:
            sftp.getfo(path.name, target, prefetch=True)
    with sftp.open(path.name, "rb") as source:
        assert source.check("sha256") == hashlib.sha256(path.read_bytes()).digest()
        assert source.check("md5", block_size=1 << 20) == b"".join(
            hashlib.md5(path.read_bytes()[at : at + (1 << 20)]).digest() for at in range(0, max(path.stat().st_size, 1), 1 << 20)
        )
        assert source.readv([(0, 1)]).__next__() == path.read_bytes()[:1] if path.stat().st_size else True
    refused(sftp.open, path.name, "wxb")

sftp.mkdir("beside")
sftp.chdir("beside")
assert sftp.getcwd() == "/beside" and sftp.normalize("../beside/./x") == "/beside/x"
sftp.chdir("..")
refused(sftp.symlink, paths[0].name, "beside/link")
refused(sftp.rename, paths[0].name, paths[1].name)
sftp.rename(paths[0].name, "beside/a")
sftp.posix_rename("beside/a", paths[0].name)
sftp.chmod(paths[0].name, 0o600)
assert sftp.stat(paths[0].name).st_mode & 0o777 == 0o600
refused(sftp.truncate, paths[0].name, sftp.stat(paths[0].name).st_size + 1)
refused(sftp.rmdir, "none")
sftp.rmdir("beside")
transport.close()

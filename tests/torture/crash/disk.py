"""A file system in a file: made, mounted, cut off from its device as by a power cut, filled. Knows no server."""

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

MIB = 1 << 20
#: FS_IOC_SHUTDOWN, which XFS brought along, and "without writing the log".
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
#: mkfs.xfs makes none smaller.
LEAST_XFS_MIB = 320
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
PACKAGES = {"mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs", "strace": "strace"}


def install(command):
    """Installs what is missing, as tests/run does; false where that cannot be."""
    if not shutil.which(command) and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        package = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGES[command]]
        if subprocess.run(package, env=environment, **quiet).returncode:
            subprocess.run(["apt-get", "update", "-qq"], env=environment, **quiet)
            subprocess.run(package, env=environment, **quiet)
    return bool(shutil.which(command))


class Disk:
    """Mounted at `place` while inside `with`."""

    def __init__(self, kind, mib):
        self.kind, self.mib = kind, max(mib, LEAST_XFS_MIB) if kind == "xfs" else mib
        self.directory = Path(tempfile.mkdtemp(prefix=f"landfall-{kind}-"))
        self.image, self.place = self.directory / "image", self.directory / "mounted"

    def __enter__(self):
        self.place.mkdir()
        if self.kind != "tmpfs":
            with open(self.image, "wb") as image:
                image.truncate(self.mib * MIB)
            run(*MAKE[self.kind], str(self.image))
        self.mount()
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.place)], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def mount(self):
        if self.kind == "tmpfs":
            run("mount", "-o", f"size={self.mib}m", "-t", "tmpfs", "tmpfs", str(self.place))
        else:
            run("mount", "-o", "loop", "-t", self.kind, str(self.image), str(self.place))

    def fill(self, spare=0):
        """Takes all room but `spare` bytes; the smallest pieces last, since file systems keep a little back."""
        filler = os.open(self.place / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for piece in (MIB, 64 << 10, 4_096, 512, 1):
                try:
                    while self.room() >= spare + piece or not spare:
                        os.write(filler, b"x" * piece)
                    os.fsync(filler)
                except OSError:
                    pass  # No space left for a piece of this size.
        finally:
            os.close(filler)

    def room(self):
        room = os.statvfs(self.place)
        return room.f_bfree * room.f_bsize

    def make_room(self):
        (self.place / "filler").unlink()

    def cut(self):
        """From now on nothing reaches the device, and what was not there yet is lost."""
        directory = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def again(self):
        """Power is back: mounts what reached the device."""
        deadline = time.monotonic() + 20
        while subprocess.run(["umount", str(self.place)], stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline, f"{self.place} stays busy"
            time.sleep(0.02)
        self.mount()


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def impossible(kind):
    """Why no such file system can be had here; None where one can."""
    if os.geteuid() != 0:
        return "only root mounts file systems"
    if kind in MAKE and not install(MAKE[kind][0]):
        return f"{MAKE[kind][0]} is missing"
    try:
        with Disk(kind, 16):
            return None
    except OSError as error:
        return str(error)

"""System calls of a running process that fail as told, by strace. Knows calls and their traces, not what an upload is."""

import os
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from .disk import install

#: Calls that an upload makes on files, directories, the database and sockets. Not here: what waits and wakes (futex,
#: epoll, write to the runtime's own eventfd), which cannot fail with these errors; fcntl, whose locks cannot either on
#: a file system of this machine (SQLite takes a lock that it could not give back for held until the process ends); memory;
#: and close, which gives the descriptor back whatever it answers, but does not when it is injected.
CALLS = (
    "openat", "openat2", "symlinkat", "linkat", "renameat", "renameat2", "unlinkat", "unlink", "mkdirat",
    "fstat", "newfstatat", "statx", "fchmod", "utimensat", "ftruncate", "fallocate", "lseek",
    "pread64", "pwrite64", "pwritev", "writev", "copy_file_range", "fsync", "fdatasync", "sync_file_range",
    "ioctl", "socket", "setsockopt", "getsockopt", "bind", "listen", "getsockname", "accept4", "recvfrom", "recvmsg",
    "sendto", "sendmsg", "shutdown",
)
LINE = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)$")


class Trace:
    """While inside `with`, the process is traced, and `inject` is done to it; then `lines` hold what it did."""

    def __init__(self, pid, inject=None):
        self.file = tempfile.NamedTemporaryFile(prefix="landfall-trace-", mode="r")
        options = ["-e", f"inject={inject}"] if inject else []
        known = ",".join("?" + call for call in CALLS)
        self.command = ["strace", "-f", "-y", "-p", str(pid), "-o", self.file.name, "-e", f"trace={known}", *options]
        self.lines = []

    def __enter__(self):
        self.strace = subprocess.Popen(self.command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        said = []
        for line in self.strace.stderr:
            if "attached" in line:
                return self
            said.append(line.strip())
        raise OSError("strace: " + " ".join(said))

    def __exit__(self, *_):
        self.strace.terminate()
        self.strace.communicate()
        self.lines = whole(self.file.read().splitlines())
        self.file.close()

    def most_by_one_thread(self):
        """How often each call was made by the thread that made it most: strace counts by thread."""
        counted = defaultdict(Counter)
        for thread, call, _ in self.lines:
            counted[call][thread] += 1
        return {call: max(threads.values()) for call, threads in counted.items()}

    def struck(self):
        return any("(INJECTED)" in rest for _, _, rest in self.lines)

    def landed_durably(self, home, uploaded):
        """True if the staged file was synced after its last write (where one was `uploaded`), and its directory after the
        rename, and the database's log after its last write, each with success."""
        written = synced = logged = 0
        renamed = shown = durable_log = 0
        for at, (_, call, rest) in enumerate(self.lines, 1):
            done = not re.search(r"= -1 |= \?", rest)
            sync = done and call in ("fsync", "fdatasync")
            if ".part>" in rest:
                written = at if call == "pwrite64" else written
                synced = at if sync else synced
            if call.startswith("rename") and ".part" in rest and done:
                renamed = at
            if sync and f"<{home}>" in rest:
                shown = at
            if "-wal>" in rest:
                logged = at if call == "pwrite64" else logged
                durable_log = at if sync else durable_log
        return (written < synced < renamed or not uploaded) and 0 < renamed < shown and 0 < logged < durable_log


def whole(lines):
    """Thread, call and the rest of each call, in the order in which they ended."""
    begun, calls = {}, []
    for line in lines:
        match = LINE.match(line)
        if not match:
            continue
        thread, call, rest = match.groups()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>")
            continue
        if " resumed>" in line:
            rest = begun.pop(thread, "") + rest
        calls.append((thread, call, rest))
    return calls


def impossible():
    """Why no process can be traced here; None where one can."""
    if not install("strace"):
        return "strace is missing"
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with Trace(sleeper.pid, "openat:error=EIO:when=1"):
            return None
    except OSError as error:
        return str(error)
    finally:
        sleeper.kill()
        sleeper.wait()

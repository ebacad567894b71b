"""A file system exerciser: fsx.py MOUNT COPY SEED OPERATIONS

Does the same random things to files in MOUNT, which is a mounted home, and in COPY, a directory of this machine: opens,
writes, reads, maps, cuts, syncs, renames, removes. Both must answer the same and hold the same, all the time. What a file
system lets do and Landfall refuses on purpose is not done: making a file longer without bytes for it (`ftruncate`, a write
behind the end), and renaming, removing or reading by name what is being written. Prints the seed, and what was done.
"""
import collections
import errno
import mmap
import os
import random
import sys
from pathlib import Path

mount, copy, seed, operations = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
random = random.Random(seed)

NAMES = [f"f{number}" for number in range(5)]
FOLDERS = ["", "d0", "d1"]
MAX_FILE_BYTES = 400_000


class Open:
    """One file, open in both."""

    def __init__(self, path, flags):
        self.path, self.writes = path, flags & os.O_ACCMODE != os.O_RDONLY
        self.both = [os.open(place / path, flags, 0o644) for place in (mount, copy)]

    def size(self):
        return os.fstat(self.both[1]).st_size


open_files = {}
done = collections.Counter()
history = collections.deque(maxlen=25)


def answer(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def told(this, other):
    """For people: contents by their length and where they differ."""
    if not isinstance(this, bytes):
        return this
    alike = next((at for at, (a, b) in enumerate(zip(this, other)) if a != b), None) if isinstance(other, bytes) else None
    return f"{len(this)} bytes" if alike is None else f"{len(this)} bytes, which differ at {alike}"


def same(what, answers):
    mounted, local = answers
    if mounted != local:
        mounted, local = told(mounted, local), told(local, mounted)
        print("\n".join(history), f"{what}: {mounted}, expected {local}", f"seed {seed}", sep="\n")
        sys.exit(1)
    return local


def by_name(what, call, *paths):
    """The same call with names in either place."""
    return same(f"{what} {paths}", [answer(call, *(place / path for path in paths)) for place in (mount, copy)])


def by_handle(what, call, file, *arguments):
    return same(f"{what} {file.path}", [answer(call, handle, *arguments) for handle in file.both])


def open_file(path):
    if path in open_files:
        return close(path)
    flags = random.choice([
        os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_TRUNC,
        os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    ])  # fmt: skip
    history.append(f"open {path} {flags:o}")
    there = same(f"open {path}", [answer(lambda: os.close(os.open(place / path, os.O_RDONLY))) for place in (mount, copy)])
    if there == "ENOENT" and not flags & os.O_CREAT or there is None and flags & os.O_EXCL:
        assert by_name("open", lambda name: os.close(os.open(name, flags, 0o644)), path) in ("ENOENT", "EEXIST")
    else:
        open_files[path] = Open(path, flags)


def close(path):
    file = open_files.pop(path)
    history.append(f"close {path}")
    by_handle("close", os.close, file)


def write(path):
    file = open_files[path]
    size = file.size()
    if file.writes and size < MAX_FILE_BYTES:
        data = random.randbytes(random.choice([1, 10, 4_096, 5_000, 70_000, 140_000]))
        offset = random.choice([size, random.randint(0, size)])
        history.append(f"write {path} {offset} {len(data)}")
        by_handle("write", os.pwrite, file, data, offset)


def read(path):
    file = open_files[path]
    offset, count = random.randint(0, file.size() + 10), random.choice([1, 5_000, 200_000, MAX_FILE_BYTES * 2])
    history.append(f"read {path} {offset} {count}")
    by_handle("read", os.pread, file, count, offset)


def read_mapped(path):
    file = open_files[path]

    def mapped(handle):
        with mmap.mmap(handle, 0, prot=mmap.PROT_READ) as pages:
            return pages[:]

    if file.size():
        history.append(f"map {path}")
        by_handle("map", mapped, file)


def truncate(path):
    file = open_files[path]
    if file.writes:
        size = random.choice([0, random.randint(0, file.size()), file.size()])
        history.append(f"ftruncate {path} {size}")
        by_handle("ftruncate", os.ftruncate, file, size)


def sync(path):
    by_handle("fsync", os.fsync, open_files[path])


def fstat(path):
    by_handle("fstat", lambda handle: os.fstat(handle).st_size, open_files[path])


def stat(path):
    by_name("stat", lambda name: os.stat(name).st_size, path)


def set_time(path):
    seconds = random.randint(10**9, 15 * 10**8)
    if path not in open_files:
        history.append(f"utime {path}")
        by_name("utime", lambda name: (os.utime(name, (seconds, seconds)), int(os.stat(name).st_mtime)), path)


def cut(path):
    if path in open_files and not open_files[path].writes:
        return
    held = answer(lambda: os.stat(copy / path).st_size)
    size = random.randint(0, held) if isinstance(held, int) else 0
    history.append(f"truncate {path} {size}")
    by_name("truncate", lambda name: os.truncate(name, size), path)


def rename(path):
    other = random.choice(PATHS)
    if not {path, other} & open_files.keys():
        history.append(f"rename {path} {other}")
        by_name("rename", os.rename, path, other)


def remove(path):
    if path not in open_files:
        history.append(f"remove {path}")
        by_name("remove", os.remove, path)


def whole(path):
    if path not in open_files:
        by_name("contents", lambda name: name.read_bytes(), path)


def listing(path):
    if not any(file.writes for file in open_files.values()):
        by_name("list", lambda name: sorted(os.listdir(name)), Path(path).parent)


PATHS = [str(Path(folder, name)) for folder in FOLDERS for name in NAMES]
OPEN = [write] * 5 + [read] * 3 + [read_mapped, truncate, sync, fstat, open_file, open_file]
NAMED = [open_file] * 4 + [stat, stat, set_time, cut, rename, rename, remove, whole, whole, listing]


def main():
    for folder in FOLDERS[1:]:
        for place in (mount, copy):
            (place / folder).mkdir()
    for _ in range(operations):
        at_open = open_files and random.random() < 0.6
        what = random.choice(OPEN if at_open else NAMED)
        path = random.choice(list(open_files) if at_open else PATHS)
        done[what.__name__] += 1
        what(path)
    for path in list(open_files):
        close(path)
    for path in PATHS:
        whole(path)
        listing(path)
    print(f"seed {seed}: {sum(done.values())} operations, all alike: {dict(sorted(done.items()))}")


main()

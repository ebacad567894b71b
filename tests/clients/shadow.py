"""Random requests by several sessions side by side, against a shadow copy: shadow.py PORT USER PASSWORD SEED OPERATIONS

Half of the sessions are paramiko's, half asyncssh's; each has a folder of its own, and does OPERATIONS things there, one in
twenty of them the sudden end of its connection. The shadow knows what has landed, what is suspended and what is open, and
says beforehand what each request answers. The working directory is the home of the user: at the end the disk is compared
too. Prints the seed, what was done, and where it differed.
"""
import asyncio
import collections
import logging
import os
import random
import sys
import threading
import time
import traceback
from pathlib import Path

import asyncssh
import paramiko

port, user, password, seed, operations = sys.argv[1:]
HOST = "127.0.0.1"
SESSIONS = 4
NAMES = [f"f{number}" for number in range(6)]
MAX_FILE_BYTES = 300_000
MAX_OPEN = 5
# How long the server may take to see that a connection is gone, before this counts as a fault.
NOTICED_WITHIN_SECONDS = 20


class Paramiko:
    """One session; every call waits for its reply."""

    # It takes the replies to its WRITEs for lost where they come in another order than these.
    sends_ahead = False

    def __init__(self, folder):
        self.folder = folder
        self.transport = paramiko.Transport((HOST, int(port)))
        self.transport.connect(username=user, password=password)
        self.sftp = paramiko.SFTPClient.from_transport(self.transport)

    def path(self, name):
        return f"/{self.folder}/{name}"

    def open(self, name, mode):
        return self.sftp.open(self.path(name), mode.replace("x", "wx"))

    def write(self, file, pieces):
        """Pieces with their offsets, sent without waiting between them."""
        file.set_pipelined(True)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
        file.set_pipelined(False)
        while file._reqs:
            kind, _ = self.sftp._read_response(file._reqs.popleft())
            assert kind == paramiko.sftp.CMD_STATUS

    def read(self, file, offset, size):
        file.seek(offset)
        return file.read(size)

    def truncate(self, file, size):
        file.truncate(size)

    def size(self, file):
        return file.stat().st_size

    def close(self, file):
        # Its own close() tells nobody of a refusal.
        self.sftp._request(paramiko.sftp.CMD_CLOSE, file.handle)
        file._closed = True

    def stat(self, name):
        facts = self.sftp.stat(self.path(name))
        return facts.st_size, facts.st_mtime

    def list(self):
        return {facts.filename: facts.st_size for facts in self.sftp.listdir_attr(f"/{self.folder}")}

    def rename(self, old, new):
        self.sftp.rename(self.path(old), self.path(new))

    def posix_rename(self, old, new):
        self.sftp.posix_rename(self.path(old), self.path(new))

    def remove(self, name):
        self.sftp.remove(self.path(name))

    def cut_to(self, name, size):
        self.sftp.truncate(self.path(name), size)

    def set_time(self, name, seconds):
        self.sftp.utime(self.path(name), (seconds, seconds))

    def vanish(self):
        self.transport.sock.close()
        self.transport.close()

    def leave(self):
        self.transport.close()


class Asyncssh:
    """The same; WRITEs and READs of one call are under way together."""

    sends_ahead = True
    loop = asyncio.new_event_loop()

    def __init__(self, folder):
        self.folder = folder
        self.connection, self.sftp = self.wait(self.connect())

    @staticmethod
    async def connect():
        connection = await asyncssh.connect(
            HOST, int(port), username=user, password=password, known_hosts=None, client_keys=None, config=None
        )
        return connection, await connection.start_sftp_client()

    def wait(self, work):
        async def done():
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self.loop).result(60)

    def path(self, name):
        return f"/{self.folder}/{name}"

    def open(self, name, mode):
        return self.wait(self.sftp.open(self.path(name), mode + "b"))

    def write(self, file, pieces):
        async def together():
            await asyncio.gather(*(file.write(data, offset) for offset, data in pieces))

        self.wait(together())

    def read(self, file, offset, size):
        return self.wait(file.read(size, offset))

    def truncate(self, file, size):
        self.wait(file.truncate(size))

    def size(self, file):
        return self.wait(file.stat()).size

    def close(self, file):
        self.wait(file.close())

    def stat(self, name):
        facts = self.wait(self.sftp.stat(self.path(name)))
        return facts.size, facts.mtime

    def list(self):
        names = self.wait(self.sftp.readdir(f"/{self.folder}"))
        return {name.filename: name.attrs.size for name in names if name.filename not in (".", "..")}

    def rename(self, old, new):
        self.wait(self.sftp.rename(self.path(old), self.path(new)))

    def posix_rename(self, old, new):
        self.wait(self.sftp.posix_rename(self.path(old), self.path(new)))

    def remove(self, name):
        self.wait(self.sftp.remove(self.path(name)))

    def cut_to(self, name, size):
        self.wait(self.sftp.truncate(self.path(name), size))

    def set_time(self, name, seconds):
        self.wait(self.sftp.utime(self.path(name), (seconds, seconds)))

    def vanish(self):
        async def abort():
            self.connection.abort()

        self.wait(abort())

    def leave(self):
        async def leave():
            self.connection.close()
            await self.connection.wait_closed()

        self.wait(leave())


class Writing:
    """An upload: what it holds, whether WRITEs go to its end, and whether its name must be free at the landing."""

    def __init__(self, file, name, held, mode):
        self.file, self.name, self.held = file, name, bytearray(held)
        self.append, self.exclusive, self.outdated = mode == "a", mode == "x", False


class Reading:
    def __init__(self, file, name, held):
        self.file, self.name, self.held = file, name, held


class Run:
    """One session and its shadow."""

    def __init__(self, kind, number):
        self.kind, self.folder = kind, f"{kind.__name__.lower()}-{seed}-{number}"
        os.makedirs(self.folder)
        self.random = random.Random(f"{seed}/{number}")
        self.landed, self.suspended, self.open = {}, {}, []
        self.client = kind(self.folder)
        self.done = collections.Counter()
        self.history = collections.deque(maxlen=30)

    # --- what the shadow knows ---

    def upload(self, name):
        """The upload of that name that is open here."""
        return next((one for one in self.open if isinstance(one, Writing) and one.name == name), None)

    def seen(self, name):
        """What stat of that name finds; None for nothing."""
        upload = self.upload(name)
        return upload.held if upload else self.suspended.get(name, self.landed.get(name))

    def noise(self, most):
        return self.random.randbytes(self.random.choice([1, 7, 100, 5_000, 40_000, most]) % (most + 1))

    def same(self, what, found, expected):
        if found != expected:
            if isinstance(found, (bytes, bytearray)):
                at = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected)))
                found, expected = f"{len(found)} bytes, differing at {at}", f"{len(expected)} bytes"
            raise AssertionError(f"{what}: {found}, expected {expected}")

    def expect(self, allowed, what, call, *arguments):
        """Makes a call that must succeed, or must be refused."""
        told = " ".join([what, *(str(argument) for argument in arguments if isinstance(argument, (str, int)))])
        self.history.append(told if allowed else f"{told}, to be refused")
        try:
            answer = call(*arguments)
        except (OSError, asyncssh.SFTPError) as error:
            if allowed:
                raise AssertionError(f"{told}: refused: {error}") from error
            return None
        assert allowed, f"{told}: not refused"
        return answer

    # --- what can be done ---

    def begin(self, name):
        """Opens for writing, in one of four ways."""
        if self.upload(name) or len(self.open) >= MAX_OPEN:
            return
        mode = self.random.choice(["w", "x", "r+", "a"])
        old = self.suspended.get(name, self.landed.get(name))
        allowed = {"w": True, "a": True, "x": old is None, "r+": old is not None}[mode]
        if mode == "x" and name in self.suspended:
            return
        file = self.expect(allowed, f"open {mode}", self.client.open, name, mode + "+" * ("+" not in mode))
        if not allowed:
            return
        self.suspended.pop(name, None)
        upload = Writing(file, name, old or b"" if mode in ("r+", "a") else b"", mode)
        self.open.append(upload)
        if mode != "w":
            # An upload into which nothing is written is a matter of its own.
            self.put(upload, [(len(upload.held), b"!")])

    def put(self, upload, pieces):
        self.expect(True, f"write {upload.name} {[(offset, len(data)) for offset, data in pieces]}",
                    self.client.write, upload.file, pieces)  # fmt: skip
        for offset, data in sorted(pieces, key=lambda piece: piece[0]):
            offset = len(upload.held) if upload.append else offset
            upload.held[offset : offset + len(data)] = data

    def write(self, upload):
        if len(upload.held) > MAX_FILE_BYTES:
            return
        at = self.random.randint(0, len(upload.held))
        pieces = []
        for _ in range(self.random.choice([1, 1, 2, 8])):
            data = self.noise(33_000) or b"?"
            pieces.append((at, data))
            at += len(data)
        if self.kind.sends_ahead and not upload.append and self.random.random() < 0.5:
            # Ahead of what comes before them: the pieces do not overlap, so that any order gives the same.
            self.random.shuffle(pieces)
        if upload.append and len(pieces) > 1:
            pieces = pieces[:1]
        self.put(upload, pieces)

    def read(self, one):
        if isinstance(one, Writing) and one.append:
            return
        offset, size = self.random.randint(0, len(one.held) + 10), self.random.choice([1, 1_000, 70_000, 400_000])
        found = self.expect(True, f"read {one.name}", self.client.read, one.file, offset, size)
        self.same(f"read {one.name} at {offset}", bytes(found), bytes(one.held[offset : offset + size]))

    def truncate(self, upload):
        size = self.random.choice([0, len(upload.held), len(upload.held) + 1, self.random.randint(0, len(upload.held))])
        self.expect(size <= len(upload.held), f"truncate {upload.name} of {len(upload.held)} to", self.client.truncate, upload.file, size)
        del upload.held[size:]

    def size(self, one):
        self.same(f"fstat {one.name}", self.expect(True, "fstat", self.client.size, one.file), len(one.held))

    def close(self, one):
        self.open.remove(one)
        taken = isinstance(one, Writing) and one.exclusive and one.name in self.landed
        self.expect(not taken, f"close {one.name}", self.client.close, one.file)
        if isinstance(one, Writing) and not taken:
            self.landed[one.name] = bytes(one.held)
            self.suspended.pop(one.name, None)

    def look(self, name):
        """Opens for reading: only what has landed."""
        if len(self.open) >= MAX_OPEN:
            return
        file = self.expect(name in self.landed, "open r", self.client.open, name, "r")
        if file:
            self.open.append(Reading(file, name, self.landed[name]))

    def stat(self, name):
        seen = self.seen(name)
        facts = self.expect(seen is not None, "stat", self.client.stat, name)
        if facts:
            self.same(f"stat {name}", facts[0], len(seen))

    def list(self, _):
        expected = {name: len(held) for name, held in (self.landed | self.suspended).items()}
        self.same("list", self.expect(True, "list", self.client.list), expected)

    def rename(self, name):
        other, posix = self.random.choice(NAMES), self.random.random() < 0.5
        if other == name:
            return
        allowed = name in self.landed and name not in self.suspended and (posix or other not in self.landed)
        verb = self.client.posix_rename if posix else self.client.rename
        self.expect(allowed, "posix_rename" if posix else "rename", verb, name, other)
        if allowed:
            self.landed[other] = self.landed.pop(name)
            self.suspended.pop(other, None)
            for one in self.open:
                if isinstance(one, Writing) and one.name == other:
                    one.outdated = True

    def remove(self, name):
        allowed = name in self.landed or name in self.suspended
        self.expect(allowed, "remove", self.client.remove, name)
        self.landed.pop(name, None)
        self.suspended.pop(name, None)

    def cut_to(self, name):
        seen, upload = self.seen(name), self.upload(name)
        size = self.random.choice([0, 10, len(seen or b"") + 1, len(seen or b"") // 2])
        allowed = seen is not None and (size == len(seen) or size < len(seen) and (upload or name not in self.suspended))
        self.expect(allowed, "setstat size", self.client.cut_to, name, size)
        if allowed and upload:
            del upload.held[size:]
        elif allowed and size < len(seen):
            self.landed[name] = seen[:size]

    def set_time(self, name):
        allowed = bool(self.upload(name)) or name in self.landed
        seconds = self.random.randint(10**9, 15 * 10**8)
        self.expect(allowed, "setstat time", self.client.set_time, name, seconds)
        if allowed and name not in self.suspended:
            self.same(f"time of {name}", self.expect(True, "stat", self.client.stat, name)[1], seconds)

    def vanish(self):
        """The connection is gone: what is open is suspended, unless something else came under its name meanwhile."""
        for one in self.open:
            # With nothing in it, it would go without a trace; with as much as has landed, its size would not tell when.
            while isinstance(one, Writing) and len(one.held) in (0, len(self.landed.get(one.name, b""))):
                self.put(one, [(len(one.held), b"!")])
        self.history.append("vanish")
        self.client.vanish()
        for one in self.open:
            if isinstance(one, Writing) and not one.outdated:
                self.suspended[one.name] = bytes(one.held)
        self.open = []
        self.client = self.kind(self.folder)
        expected = {name: len(held) for name, held in (self.landed | self.suspended).items()}
        until = time.monotonic() + NOTICED_WITHIN_SECONDS
        while (found := self.client.list()) != expected:
            assert time.monotonic() < until, f"after the cut: {found}, expected {expected}"
            time.sleep(0.01)

    # --- and all of it ---

    def step(self):
        uploads = [one for one in self.open if isinstance(one, Writing)]
        by_name = [self.begin] * 4 + [self.look, self.look, self.stat, self.stat, self.list, self.rename, self.rename,
                                      self.remove, self.cut_to, self.set_time]  # fmt: skip
        by_upload = [self.write] * 4 + [self.truncate, self.read, self.size]
        by_file = [self.read, self.read, self.size, self.close, self.close]
        choice = self.random.random()
        if choice < 0.05:
            self.done["vanish"] += 1
            return self.vanish()
        if choice < 0.35 and uploads:
            what, subject = self.random.choice(by_upload), self.random.choice(uploads)
        elif choice < 0.6 and self.open:
            what, subject = self.random.choice(by_file), self.random.choice(self.open)
        else:
            what, subject = self.random.choice(by_name), self.random.choice(NAMES)
        self.done[what.__name__] += 1
        what(subject)

    def all(self):
        for _ in range(int(operations)):
            self.step()
        while self.open:
            self.close(self.open[0])
        self.list(None)
        self.client.leave()
        on_disk = {path.name: path.read_bytes() for path in Path(self.folder).iterdir()}
        self.same("names on the disk", sorted(on_disk), sorted(self.landed))
        for name, held in self.landed.items():
            self.same(f"{name} on the disk", on_disk[name], held)


def main():
    # It tells of each connection that is cut.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    threading.Thread(target=Asyncssh.loop.run_forever, daemon=True).start()
    failed, done = [], collections.Counter()

    def work(number):
        run = None
        try:
            run = Run([Paramiko, Asyncssh][number % 2], number)
            run.all()
            done.update(run.done)
        except Exception:
            history = "\n".join(run.history) if run else ""
            failed.append(f"--- session {number}\n{traceback.format_exc()}{history}")

    threads = [threading.Thread(target=work, args=[number]) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(failed))
    print(f"seed {seed}: {SESSIONS} sessions, {sum(done.values())} operations: {dict(sorted(done.items()))}")
    sys.stdout.flush()
    # The loop's thread is left where it is.
    os._exit(bool(failed))


main()

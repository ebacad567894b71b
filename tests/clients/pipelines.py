"""Deep pipelines in both directions at once: pipelines.py both|slow PORT USER PASSWORD PID MEBIBYTES

`both`: paramiko asks for MEBIBYTES ahead (`prefetch`), takes none of them, and writes as many by another handle of the same
channel meanwhile; then it reads what it asked for. `slow`: 10,000 READs are asked for before the first reply is taken, and
the replies are then taken slowly. The working directory is the home of USER. Everything is compared, and the most memory
that the server, process PID, had is printed beside what it had before.
"""
import collections
import hashlib
import os
import re
import sys
import threading
import time
from pathlib import Path

import paramiko

kind, port, user, password, pid, mebibytes = sys.argv[1:]
SIZE = int(mebibytes) << 20
PIECE_BYTES = 32 * 1024
READS = 10_000
# The slow reader looks away for so long before its first reply, and takes them over as long again.
AWAY_SECONDS = 2
MAX_GROWTH_KIB = 64 * 1024


def resident_kib():
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


class Memory:
    """What the server has, looked at all the time."""

    def __init__(self):
        self.before = self.most = resident_kib()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.over.wait(0.02):
            self.most = max(self.most, resident_kib())

    def end(self):
        self.over.set()
        self.thread.join()
        return self.before, self.most


def blocks(seed, size):
    """Bytes that differ everywhere, made as they are needed."""
    block = hashlib.shake_256(str(seed).encode()).digest(1 << 20)
    for number in range(0, size, len(block)):
        yield (number.to_bytes(8, "big") + block)[: min(len(block), size - number)]


def digest(pieces):
    running = hashlib.sha256()
    for piece in pieces:
        running.update(piece)
    return running.hexdigest()


def both(sftp):
    down, up = sftp.open("down", "rb"), sftp.open("up", "wb")
    up.set_pipelined(True)
    # A thread of paramiko's sends the requests; nobody takes a reply but to see whether WRITEs went well.
    down.prefetch(SIZE)
    for block in blocks("up", SIZE):
        up.write(block)
    up.close()
    read = digest(iter(lambda: down.read(1 << 20), b""))
    down.close()
    assert read == digest(blocks("down", SIZE)), "what was read is not what stands there"
    with open("up", "rb") as landed:
        assert digest(iter(lambda: landed.read(1 << 20), b"")) == digest(blocks("up", SIZE)), "what landed is not what was sent"


def slow(sftp):
    """Raw requests, so that no reply is taken before its time."""
    content = Path("down").read_bytes()
    down = sftp.open("down", "rb")
    places = [number * 7919 * 512 % (SIZE - PIECE_BYTES) for number in range(READS)]
    waiting = collections.deque()
    for place in places:
        request = paramiko.Message()
        request.add_int(len(waiting) + 1_000_000)
        request.add_string(down.handle)
        request.add_int64(place)
        request.add_int(PIECE_BYTES)
        sftp._send_packet(paramiko.sftp.CMD_READ, request)
        waiting.append(place)
    time.sleep(AWAY_SECONDS)
    for number in range(READS):
        kind, data = sftp._read_packet()
        assert kind == paramiko.sftp.CMD_DATA, kind
        place = waiting.popleft()
        assert int.from_bytes(data[:4], "big") == number + 1_000_000, "replies to READs of one handle come in order"
        assert data[8:] == content[place : place + PIECE_BYTES], f"wrong bytes at {place}"
        if number % 100 == 0:
            time.sleep(AWAY_SECONDS * 100 / READS)
    down.close()


def main():
    with open("down", "wb") as file:
        for block in blocks("down", SIZE):
            file.write(block)
    transport = paramiko.Transport(("127.0.0.1", int(port)))
    # What it prefers by itself, AES-CTR, takes ten times as long in a server that is built without optimisation.
    transport.get_security_options().ciphers = ["aes128-gcm@openssh.com"]
    transport.connect(username=user, password=password)
    sftp = paramiko.SFTPClient.from_transport(transport)
    # Once in small, so that what is made once is there before memory is looked at.
    with sftp.open("first", "wb") as file:
        file.write(b"bytes")
    memory, began = Memory(), time.monotonic()
    {"both": both, "slow": slow}[kind](sftp)
    took = time.monotonic() - began
    before, most = memory.end()
    transport.close()
    print(f"{kind}, {mebibytes} MiB: {took:.1f} s; the server's memory {before // 1024} MiB before, {most // 1024} MiB at most")
    sys.exit(most > before + MAX_GROWTH_KIB)


main()

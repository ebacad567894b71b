"""Clients that cost next to nothing, so that a server's speed shows. Knows no server's configuration and no figure."""
import contextlib
import ctypes
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

from servers import CIPHER, PASSWORD

DELAY_SECONDS = 0.010  # each way
SSH_CIPHERS = {"sftp": "aes128-gcm@openssh.com", "sftp-chacha20": "chacha20-poly1305@openssh.com"}


class Ftp:
    """An FTP session: sendfile for what goes up, MSG_TRUNC for what comes down."""

    def __init__(self, server, port=None):
        self.port, self.pending = port or server.port, b""
        self.control = socket.create_connection(("127.0.0.1", self.port), 60)
        self.control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reply()
        self.tls = None
        if server.tls:
            self.say("AUTH TLS")
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
            self.tls.minimum_version = self.tls.maximum_version = ssl.TLSVersion.TLSv1_2
            self.tls.set_ciphers(CIPHER)
            self.control = self.tls.wrap_socket(self.control)
        if not self.say(f"USER {server.user}").startswith("2"):
            self.say(f"PASS {PASSWORD}")
        if server.tls:
            self.say("PBSZ 0")
            self.say("PROT P")
        self.say("TYPE I")

    def reply(self):
        while True:
            line, found, rest = self.pending.partition(b"\n")
            if not found:
                received = self.control.recv(4_096)
                if not received:
                    raise OSError("the control connection ended")
                self.pending += received
                continue
            self.pending = rest
            if re.match(rb"\d\d\d ", line):
                line = line.decode(errors="replace").strip()
                if line[0] in "45":
                    raise OSError(line)
                return line

    def say(self, command):
        self.control.sendall(f"{command}\r\n".encode())
        return self.reply()

    def data(self, command):
        port = int(self.say("EPSV").split("|||")[1].split("|")[0])
        data = socket.create_connection(("127.0.0.1", port), 60)
        self.say(command)
        data.settimeout(None)
        return self.tls.wrap_socket(data, session=self.control.session) if self.tls else data

    def upload(self, source, name):
        data = self.data(f"STOR {name}")
        with open(source, "rb") as file:
            if self.tls:
                while piece := file.read(1 << 18):
                    data.sendall(piece)
                with contextlib.suppress(OSError, ValueError):
                    data = data.unwrap()
            else:
                sent, size = 0, os.fstat(file.fileno()).st_size
                while sent < size:
                    sent += os.sendfile(data.fileno(), file.fileno(), sent, size - sent)
        data.close()
        self.reply()

    def download(self, name, _size):
        data, received = self.data(f"RETR {name}"), 0
        buffer = bytearray(1 << 20)
        with contextlib.suppress(ssl.SSLEOFError):
            while count := data.recv_into(buffer) if self.tls else data.recv_into(buffer, 0, socket.MSG_TRUNC):
                received += count
        data.close()
        self.reply()
        return received

    def upload_all(self, paths):
        for path in paths:
            self.upload(path, path.name)

    def close(self):
        with contextlib.suppress(OSError):
            self.say("QUIT")
        self.control.close()

    @staticmethod
    def logins(server, count):
        """Logs in and out `count` times, four at a time: seconds, once begun."""
        steps = together([lambda _: [Ftp(server).close() for _ in range(count // 4)]] * 4)
        next(steps)
        yield
        yield next(steps)
        list(steps)

    @staticmethod
    @contextlib.contextmanager
    def idle(server, count):
        sessions = [Ftp(server) for _ in range(count)]
        yield
        for session in sessions:
            session.control.close()


class Sftp:
    """An SFTP session: the program `sftp_load`, whose login uses a key."""

    def __init__(self, server, port=None, *what):
        command = [server.binaries / "examples/sftp_load", f"127.0.0.1:{port or server.port}", server.user, server.user_key,
                   SSH_CIPHERS[server.protocol], *map(str, what or ["session"])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.expect("ready")

    def expect(self, word):
        if self.process.stdout.readline() != f"{word}\n":
            raise OSError("the session ended")

    def do(self, *lines):
        self.process.stdin.write("".join(f"{line}\n" for line in (*lines, "tell")))
        self.process.stdin.flush()
        self.expect("told")

    def upload(self, source, name):
        self.do(f"put {source} {name}")

    def upload_all(self, paths):
        self.do(*(f"put {path} {path.name}" for path in paths))

    def download(self, name, size):
        self.do(f"get {name} {size}")
        return size

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)

    @staticmethod
    def logins(server, count):
        """Logs in and out `count` times, four at a time: seconds."""
        yield
        began = time.perf_counter()
        Sftp(server, None, "login", count).close()
        yield time.perf_counter() - began

    @staticmethod
    @contextlib.contextmanager
    def idle(server, count):
        sessions = Sftp(server, None, "idle", count)
        yield
        sessions.close()


def together(jobs, prepare=lambda: None):
    """Runs each job in a process of its own: `prepare` first in all, then, timed, the jobs. Seconds until the last."""
    ready, told = os.pipe()
    waiting, go = os.pipe()
    ended, ends = os.pipe()
    pids = []
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(go), os.close(ready), os.close(ended)
                made = prepare()
                os.write(told, b".")
                os.close(told)  # so that the parent sees the end of it when one of the others dies before its dot
                os.read(waiting, 1)
                job(made)
                os.write(ends, b".")
                if made:
                    made.close()
                code = 0
            except BaseException as error:
                print(f"    client: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        pids.append(pid)
    for end in (told, waiting, ends):
        os.close(end)
    count = 0
    while count < len(pids) and (some := os.read(ready, 4_096)):
        count += len(some)
    yield count == len(pids)
    began = time.perf_counter()
    os.close(go)
    count = 0
    while count < len(pids) and (some := os.read(ended, 4_096)):
        count += len(some)
    seconds = time.perf_counter() - began
    yield seconds
    os.close(ready), os.close(ended)
    if any([os.waitpid(pid, 0)[1] for pid in pids]):
        raise RuntimeError("a client failed")


class Delay:
    """A relay in a process of its own that holds every byte back, in both directions, and follows EPSV's ports."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.pid = os.fork()
        if self.pid == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
            self.serve(self.listener, port, control=True)
        self.listener.close()

    def serve(self, listener, port, control):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for one, other, replies in ((client, server, False), (server, client, control)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.relay, args=(one, other, replies), daemon=True).start()
            if not control:
                return

    def relay(self, source, sink, replies):
        held, more, over = [], threading.Condition(), object()

        def send():
            while True:
                with more:
                    more.wait_for(lambda: held)
                    due, piece = held.pop(0)
                time.sleep(max(0.0, due - time.monotonic()))
                with contextlib.suppress(OSError):
                    if piece is over:
                        return sink.shutdown(socket.SHUT_WR)
                    sink.sendall(piece)

        threading.Thread(target=send, daemon=True).start()
        piece = b"."
        while piece:
            try:
                piece = source.recv(1 << 18)
            except OSError:
                piece = b""
            if replies and (found := re.search(rb"^229 .*\|\|\|(\d+)\|", piece, re.M)):
                listener = socket.create_server(("127.0.0.1", 0))
                threading.Thread(target=self.serve, args=(listener, int(found[1]), False), daemon=True).start()
                piece = piece.replace(found[1] + b"|", b"%d|" % listener.getsockname()[1])
            with more:
                held.append((time.monotonic() + DELAY_SECONDS, piece or over))
                more.notify()

    def stop(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

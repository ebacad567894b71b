#!/usr/bin/env python3
"""Landfall's speed beside other FTP servers: the same work, the same client, on one machine, in interleaved runs.

    tests/bench/bench.py                      every section; each also by itself, by name:
    tests/bench/bench.py big small login      one file up and down; many small ones; logins …
    tests/bench/bench.py --smoke              Landfall alone, tiny sizes, seconds: does the script still work?
    tests/bench/bench.py report               the tables of what was measured so far

Installs what is missing (apt, pip: the packages are only unpacked, under target/bench) and starts each server on
127.0.0.1 from a configuration of its own. Needs root, since vsftpd and ProFTPD do: one user, `landfall-bench`, is made
and removed again. Samples go to target/bench/SECTION-PROTOCOL.json, tables to target/bench/report.md.

Only ratios mean something. The client costs next to nothing: sendfile for what goes up, MSG_TRUNC for what comes down.
CPU is that of the server's whole process tree, children that have ended included; memory is its PSS.
"""
import argparse
import contextlib
import ctypes
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "target/bench"
PEERS = HOME / "peers"
LIBRARIES = PEERS / "usr/lib/x86_64-linux-gnu"
VENV = HOME / "venv"
SYSTEM_USER, USER, PASSWORD = "landfall-bench", "acme", "secret-of-acme"
CIPHER = "ECDHE-ECDSA-AES128-GCM-SHA256"  # under TLS 1.2, where a client can pin it
PORTS = (20_000, 29_999)
TICKS = os.sysconf("SC_CLK_TCK")
GIB = 1 << 30
DELAY_SECONDS = 0.010  # each way
FULL = dict(big=GIB, files=2_000, file=200 << 10, sessions=16, delayed=16, logins=200, idle=500, scale=(1, 4, 16, 64))
SMOKE = dict(big=8 << 20, files=20, file=20 << 10, sessions=2, delayed=2, logins=4, idle=4, scale=(1, 2))


# ------------------------------------------------------------------------------------------------ processes

KEEPER = """
import ctypes, os, signal, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)             # PR_SET_CHILD_SUBREAPER: orphans are adopted, their time counted
ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
server = subprocess.Popen(sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: server.terminate())
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        sys.exit(1)
    if pid == server.pid:
        sys.exit(0)
"""


def processes_below(pid):
    """Every process of the tree, with the CPU seconds of itself and of its children that have ended."""
    children, seconds = {}, {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(") ")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry))
            seconds[int(entry)] = sum(map(int, fields[11:15])) / TICKS
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return {one: seconds.get(one, 0.0) for one in found}


class Server:
    """One server on one port. `make` gives its command line."""

    def __init__(self, bench, name, make, tls, where, **how):
        self.name, self.tls, self.port = name, tls, free_port()
        self.place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=where))
        self.place.chmod(0o755)
        self.files = self.place / "files"
        self.files.mkdir()
        self.log = self.place / "log"
        self.user, self.certificate, self.key = USER, bench.certificate, bench.key
        if not bench.smoke:
            account = pwd.getpwnam(SYSTEM_USER)
            os.chown(self.files, account.pw_uid, account.pw_gid)
        command = make(self, **how)
        environment = dict(os.environ, LD_LIBRARY_PATH=str(LIBRARIES)) if str(PEERS) in str(command[0]) else os.environ
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-c", KEEPER, *map(str, command)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment, start_new_session=True)
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.stop(keep=True)
                    sys.exit(f"{name} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.05)

    def write(self, name, text):
        path = self.place / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def cpu(self):
        return sum(processes_below(self.process.pid).values())

    def pss_kib(self):
        total = 0
        for pid in processes_below(self.process.pid):
            if pid != self.process.pid:
                with contextlib.suppress(OSError):
                    total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
        return total

    def landed(self):
        folder = self.files / USER if (self.files / USER).is_dir() else self.files
        return {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}

    def clean(self):
        for folder, _, names in os.walk(self.files):
            for name in names:
                os.unlink(f"{folder}/{name}")

    def stop(self, keep=False):
        below = [pid for pid in processes_below(self.process.pid) if pid != self.process.pid]
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for pid in below:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not keep:
            shutil.rmtree(self.place, ignore_errors=True)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# ------------------------------------------------------------------------------------------------ servers

def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def fetch(package):
    """Unpacks a Debian package and those it needs that are not here. Installed side by side they would conflict."""
    done = PEERS / f"{package}.unpacked"
    if not done.exists():
        PEERS.mkdir(parents=True, exist_ok=True)
        plan = subprocess.run(["apt-get", "-s", "install", "--no-install-recommends", package], capture_output=True, text=True)
        if plan.returncode:
            run("apt-get", "update", "-qq")
            plan = subprocess.run(["apt-get", "-s", "install", "--no-install-recommends", package], capture_output=True, text=True)
        names = set(re.findall(r"^Inst (\S+)", plan.stdout, re.M)) | {package}
        with tempfile.TemporaryDirectory(dir=PEERS) as folder:
            os.chmod(folder, 0o777)  # apt downloads as another user
            run("apt-get", "download", "-qq", *sorted(names), cwd=folder)
            for deb in Path(folder).glob("*.deb"):
                run("dpkg-deb", "-x", deb, PEERS)
                if deb.name.startswith(f"{package}_"):
                    done.write_text(deb.name.split("_")[1].replace("%3a", ":"))
    return done.read_text()


def cheap_hash():
    return run("openssl", "passwd", "-1", PASSWORD).strip()  # cheap on purpose: logins shall measure the servers


def landfall(server, durability="process", argon2="\nargon2_memory_kib = 64\nargon2_iterations = 1"):
    binary = OPTIONS.landfall or ROOT / "target/release/landfall"
    config = server.write("landfall.toml", f"""data_dir = "{server.place}/data"
[storage]
root = "{server.files}"
durability = "{durability}"
[ftp]
listen = ["127.0.0.1:{server.port}"]
passive_ports = "{PORTS[0]}-{PORTS[1]}"
[sftp]
listen = []
[http]
listen = []
[tls]
certificate = "{server.certificate}"
key = "{server.key}"
[auth]{argon2}
""")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANDFALL_")}
    environment["LANDFALL_CONFIG"] = str(config)
    run(binary, "user", "add", USER, "--password-stdin", input=PASSWORD, env=environment)
    return ["env", f"LANDFALL_CONFIG={config}", "LANDFALL_LOG=warn", binary, "serve"]


def landfall_full(server):
    return landfall(server, durability="full")


def landfall_argon2(server):
    return landfall(server, argon2="")


def vsftpd(server):
    fetch("vsftpd")
    (server.place / "empty").mkdir()
    server.user = SYSTEM_USER
    tls = f"""ssl_enable=YES
rsa_cert_file={server.certificate}
rsa_private_key_file={server.key}
require_ssl_reuse=NO
ssl_ciphers={CIPHER}
force_local_data_ssl=YES
force_local_logins_ssl=YES
""" if server.tls else ""
    return [PEERS / "usr/sbin/vsftpd", server.write("vsftpd.conf", f"""listen=YES
listen_address=127.0.0.1
listen_port={server.port}
background=NO
anonymous_enable=NO
local_enable=YES
write_enable=YES
local_umask=022
local_root={server.files}
chroot_local_user=YES
allow_writeable_chroot=YES
secure_chroot_dir={server.place}/empty
pam_service_name=other
xferlog_enable=NO
seccomp_sandbox=NO
max_per_ip=0
max_clients=0
pasv_min_port={PORTS[0]}
pasv_max_port={PORTS[1]}
{tls}""")]


def proftpd(server):
    fetch("proftpd-core"), fetch("proftpd-mod-crypto")
    account = pwd.getpwnam(SYSTEM_USER)
    people = server.write("passwd", f"{USER}:{cheap_hash()}:{account.pw_uid}:{account.pw_gid}::{server.files}:/bin/sh\n")
    tls = f"""ModulePath {PEERS}/usr/lib/proftpd
LoadModule mod_tls.c
TLSEngine on
TLSProtocol TLSv1.2
TLSCipherSuite {CIPHER}
TLSECCertificateFile {server.certificate}
TLSECCertificateKeyFile {server.key}
TLSRequired on
TLSOptions NoSessionReuseRequired
""" if server.tls else ""
    return [PEERS / "usr/sbin/proftpd", "-n", "-q", "-c", server.write("proftpd.conf", f"""ServerName bench
ServerType standalone
DefaultAddress 127.0.0.1
Port {server.port}
UseIPv6 off
User {SYSTEM_USER}
Group {SYSTEM_USER}
AuthUserFile {people}
AuthOrder mod_auth_file.c
RequireValidShell off
UseReverseDNS off
MaxInstances none
DefaultRoot ~
AllowOverwrite on
Umask 022
PassivePorts {PORTS[0]} {PORTS[1]}
PidFile {server.place}/pid
ScoreboardFile {server.place}/scoreboard
SystemLog {server.place}/system.log
WtmpLog off
TransferLog none
DelayEngine off
ControlsEngine off
{tls}""")]


def pure_ftpd(server):
    fetch("pure-ftpd")
    account = pwd.getpwnam(SYSTEM_USER)
    people = server.write("passwd", f"{USER}:{cheap_hash()}:{account.pw_uid}:{account.pw_gid}::{server.files}/./::::::::::::\n")
    database = server.place / "people.pdb"
    run(PEERS / "usr/bin/pure-pw", "mkdb", database, "-f", people, env=dict(os.environ, LD_LIBRARY_PATH=str(LIBRARIES)))
    tls = ["-Y", "2", "-J", CIPHER, "-2",
           server.write("both.pem", server.key.read_text() + server.certificate.read_text())] if server.tls else []
    return [PEERS / "usr/sbin/pure-ftpd", "-S", f"127.0.0.1,{server.port}", "-4", "-H", "-E", "-A", "-u", "1", "-l", f"puredb:{database}",
            "-c", "2000", "-C", "2000", "-I", "60", "-p", f"{PORTS[0]}:{PORTS[1]}", "-g", server.place / "pid", *tls]


def pyftpdlib(server):
    python = VENV / "bin/python"
    if subprocess.run([python, "-c", "import pyftpdlib, OpenSSL"], capture_output=True).returncode if python.exists() else True:
        run(sys.executable, "-m", "venv", "--clear", VENV)
        run(VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "pyftpdlib>=2,<3", "pyOpenSSL")
    both = server.write("both.pem", server.key.read_text() + server.certificate.read_text())
    tls = f"Handler.certfile = {str(both)!r}; Handler.tls_control_required = Handler.tls_data_required = True" if server.tls else ""
    return [python, server.write("serve.py", f"""import logging
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer
logging.disable(50)
Handler = {"TLS_FTPHandler" if server.tls else "FTPHandler"}
Handler.authorizer = DummyAuthorizer()
Handler.authorizer.add_user({USER!r}, {PASSWORD!r}, {str(server.files)!r}, perm="elradfmwMT")
Handler.passive_ports = range({PORTS[0]}, {PORTS[1]})
{tls}
serving = FTPServer(("127.0.0.1", {server.port}), Handler)
serving.max_cons = 5000
serving.serve_forever()
""")]


def libunftp(server):
    return [ROOT / "target/release/examples/libunftp", f"127.0.0.1:{server.port}", server.files, server.certificate, server.key]


SERVERS = {"landfall": landfall, "vsftpd": vsftpd, "proftpd": proftpd, "pure-ftpd": pure_ftpd, "pyftpdlib": pyftpdlib,
           "libunftp": libunftp}


def versions():
    packages = {name: fetch(package) for name, package in
                {"vsftpd": "vsftpd", "proftpd": "proftpd-core", "pure-ftpd": "pure-ftpd"}.items()}
    listed = run(VENV / "bin/pip", "list", "--format=freeze") if VENV.exists() else ""
    python = re.search(r"^pyftpdlib==(\S+)", listed, re.M)
    stock = re.search(r'name = "libunftp"\nversion = "([^"]+)"', (ROOT / "Cargo.lock").read_text())
    return dict(packages, pyftpdlib=python and python[1], libunftp=stock and stock[1])


# ------------------------------------------------------------------------------------------------ client

class Client:
    """An FTP session that costs next to nothing."""

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

    def download(self, name):
        data, received = self.data(f"RETR {name}"), 0
        buffer = bytearray(1 << 20)
        with contextlib.suppress(ssl.SSLEOFError):
            while count := data.recv_into(buffer) if self.tls else data.recv_into(buffer, 0, socket.MSG_TRUNC):
                received += count
        data.close()
        self.reply()
        return received

    def close(self):
        with contextlib.suppress(OSError):
            self.say("QUIT")
        self.control.close()


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


# ------------------------------------------------------------------------------------------------ work

class Bench:
    def __init__(self, options):
        self.smoke, self.sizes = options.smoke, SMOKE if options.smoke else FULL
        self.repeats = 1 if self.smoke else options.repeats
        self.pause = 0.01 if self.smoke else 0.3
        self.failed = False
        self.samples = []
        self.place = Path(tempfile.mkdtemp(prefix="landfall-bench-", dir="/dev/shm"))
        self.place.chmod(0o755)
        self.disk = HOME / "disk"
        self.certificate, self.key = self.place / "certificate.pem", self.place / "key.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-subj", "/CN=localhost", "-keyout", self.key, "-out", self.certificate)
        random = os.urandom(1 << 20)
        self.large = self.place / "large"
        with self.large.open("wb") as file:
            for _ in range(self.sizes["big"] >> 20):
                file.write(random)
        self.small = []
        for number in range(self.sizes["files"]):
            path = self.place / f"image{number:05}.jpg"
            path.write_bytes((random[number:] + random[:number])[: self.sizes["file"]])
            self.small.append(path)

    def close(self):
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.rmtree(self.disk, ignore_errors=True)

    def section(self, name, tls):
        """All servers at once, each in its turn, `repeats` times; every other time backwards."""
        work, makes, where = self.SECTIONS[name]
        if self.smoke:
            makes = {name: make for name, make in makes.items() if name.startswith("landfall")}
        makes = {name: make for name, make in makes.items() if not OPTIONS.servers or name in OPTIONS.servers.split(",")}
        where = self.disk if where == "disk" else self.place
        where.mkdir(parents=True, exist_ok=True)
        self.samples = []
        protocol = "ftps" if tls else "ftp"
        print(f"{name}, {protocol}", flush=True)
        servers = []
        try:
            for label, make in makes.items():
                servers.append(Server(self, label, make, tls, where))
            for repeat in range(self.repeats):
                for server in servers if repeat % 2 == 0 else servers[::-1]:
                    try:
                        work(self, server)
                    except Exception as error:
                        self.failed = True
                        print(f"  {server.name}: FAILED: {type(error).__name__}: {error}", flush=True)
                    server.clean()
        finally:
            for server in servers:
                server.stop()
        if not self.samples:
            self.failed = True
        if not self.smoke:
            (HOME / f"{name}-{protocol}.json").write_text(json.dumps(self.samples, indent=1))

    def note(self, server, what, **values):
        self.samples.append(dict(server=server.name, work=what, **values))
        print(f"  {server.name:12} {what:22} " + "  ".join(f"{key} {value:.4g}" for key, value in values.items()), flush=True)

    def measure(self, server, jobs, port=None):
        """Logs all sessions in, then runs their jobs: seconds, and the server's CPU seconds."""
        steps = together(jobs, lambda: Client(server, port))
        if not next(steps):
            list(steps)
        time.sleep(self.pause)
        before = server.cpu()
        seconds = next(steps)
        time.sleep(self.pause)  # what a server still has to do, its children's ends included
        cpu = server.cpu() - before
        list(steps)
        return seconds, cpu

    def big(self, server):
        size = self.sizes["big"]
        seconds, cpu = self.measure(server, [lambda client: client.upload(self.large, "large")])
        assert server.landed() == {"large": size}, "not what was sent"
        self.note(server, "upload", mb_per_s=size / seconds / 1e6, cpu_per_gib=cpu * GIB / size)

        def fetch_back(client):
            assert client.download("large") == size, "not all came"
        seconds, cpu = self.measure(server, [fetch_back])
        self.note(server, "download", mb_per_s=size / seconds / 1e6, cpu_per_gib=cpu * GIB / size)

    def files(self, server, sessions, count=None, port=None):
        wanted = self.small[:count]
        jobs = [lambda client, mine=wanted[start::sessions]: [client.upload(path, path.name) for path in mine]
                for start in range(sessions)]
        seconds, cpu = self.measure(server, jobs, port)
        assert server.landed() == {path.name: self.sizes["file"] for path in wanted}, "not what was sent"
        server.clean()
        return len(wanted) / seconds, cpu * GIB / (len(wanted) * self.sizes["file"])

    def small_files(self, server):
        for sessions in (1, self.sizes["sessions"]):
            rate, cpu = self.files(server, sessions)
            self.note(server, f"{sessions} session{'s' * (sessions > 1)}", files_per_s=rate, cpu_per_gib=cpu)

    def scale(self, server):
        for sessions in self.sizes["scale"]:
            rate, cpu = self.files(server, sessions)
            self.note(server, f"{sessions} session{'s' * (sessions > 1)}", files_per_s=rate, cpu_per_gib=cpu)

    def delay(self, server):
        relay = Delay(server.port)
        try:
            rate, _ = self.files(server, 1, self.sizes["delayed"], relay.port)
        finally:
            relay.stop()
        self.note(server, "20 ms of delay", files_per_s=rate, ms_per_file=1_000 / rate)

    def login(self, server):
        each = self.sizes["logins"] // 4
        steps = together([lambda _: [Client(server).close() for _ in range(each)]] * 4)
        next(steps)
        before = server.cpu()
        seconds = next(steps)
        time.sleep(self.pause)
        cpu = server.cpu() - before
        list(steps)
        self.note(server, "password", logins_per_s=each * 4 / seconds, cpu_ms=cpu / (each * 4) * 1_000)

    def idle(self, server):
        before, count = server.pss_kib(), self.sizes["idle"]
        sessions = [Client(server) for _ in range(count)]
        time.sleep(2 * self.pause)
        after = server.pss_kib()
        for session in sessions:
            session.control.close()
        time.sleep(10 * self.pause)  # so that the next server finds the machine at rest
        self.note(server, f"{count} idle sessions", kib_per_session=(after - before) / count, before_mib=before / 1_024)

    EVERY = SERVERS
    SECTIONS = {
        "big": (big, EVERY, "memory"),
        "small": (small_files, EVERY, "memory"),
        "disk": (small_files, dict(EVERY, **{"landfall-full": landfall_full}), "disk"),
        "scale": (scale, {name: SERVERS[name] for name in ("landfall", "vsftpd", "pure-ftpd")}, "memory"),
        "delay": (delay, EVERY, "memory"),
        "login": (login, dict({"landfall-argon2": landfall_argon2}, **EVERY), "memory"),
        "idle": (idle, EVERY, "memory"),
    }


# ------------------------------------------------------------------------------------------------ report

HEADS = {"mb_per_s": "MB/s", "cpu_per_gib": "CPU-s/GiB", "files_per_s": "files/s", "ms_per_file": "ms per file",
         "logins_per_s": "logins/s", "cpu_ms": "CPU ms per login", "kib_per_session": "KiB per session",
         "before_mib": "MiB before"}
# section, protocol, work, figure, server, peer, the ratio's limit, and whether it is a lower one; no peer: as it stands.
TARGETS = [
    ("big", "ftp", "upload", "mb_per_s", "landfall", "pure-ftpd", 1.0, True),
    ("big", "ftp", "upload", "cpu_per_gib", "landfall", "vsftpd", 1.0, False),
    ("big", "ftp", "download", "mb_per_s", "landfall", "vsftpd", 1.3, True),
    ("big", "ftp", "download", "cpu_per_gib", "landfall", "vsftpd", 0.6, False),
    ("big", "ftps", "upload", "mb_per_s", "landfall", "pure-ftpd", 1.5, True),
    ("big", "ftps", "upload", "cpu_per_gib", "landfall", "pure-ftpd", 0.9, False),
    ("big", "ftps", "download", "mb_per_s", "landfall", "pure-ftpd", 1.3, True),
    ("big", "ftps", "download", "cpu_per_gib", "landfall", "pure-ftpd", 0.7, False),
    *(("small", "ftp", sessions, figure, "landfall", "pure-ftpd", limit, lower) for sessions in ("1 session", "16 sessions")
      for figure, limit, lower in (("files_per_s", 1.0, True), ("cpu_per_gib", 1.2, False))),
    *(("disk", "ftp", sessions, "files_per_s", "landfall-full", "pure-ftpd", 0.6, True)
      for sessions in ("1 session", "16 sessions")),
    ("idle", "ftp", "500 idle sessions", "kib_per_session", "landfall", None, 20.0, False),
    ("idle", "ftps", "500 idle sessions", "kib_per_session", "landfall", None, 45.0, False),
]


def report():
    lines, known = [], {}
    lines.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()) + "\n")
    for section in Bench.SECTIONS:
        for protocol in ("ftp", "ftps"):
            path = HOME / f"{section}-{protocol}.json"
            if not path.exists():
                continue
            samples = json.loads(path.read_text())
            for work in dict.fromkeys(sample["work"] for sample in samples):
                rows = {}
                for sample in samples:
                    if sample["work"] == work:
                        rows.setdefault(sample["server"], []).append(sample)
                figures = [key for key in HEADS if key in next(iter(rows.values()))[0]]
                medians = {name: {key: statistics.median(sample[key] for sample in row) for key in figures}
                           for name, row in rows.items()}
                known[section, protocol, work] = medians
                most = max(map(len, rows.values()))
                lines.append(f"\n{section}, {protocol}, {work} (medians of {most}; × vsftpd)\n")
                lines.append("| server | " + " | ".join(HEADS[key] for key in figures) + " |")
                lines.append("|---" * (len(figures) + 1) + "|")
                base = medians.get("vsftpd", {})
                for name, row in medians.items():
                    cells = [f"{row[key]:,.4g}" + (f" ({row[key] / base[key]:.2f})" if base.get(key) else "") for key in figures]
                    lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("\nTargets\n\n| work | figure | ratio | target | |\n|---|---|---|---|---|")
    for section, protocol, work, figure, server, peer, limit, lower in TARGETS:
        medians = known.get((section, protocol, work), {})
        if server in medians and (peer is None or peer in medians):
            ratio = medians[server][figure] / (medians[peer][figure] if peer else 1)
            met = ratio >= limit if lower else ratio <= limit
            lines.append(f"| {section}, {protocol}, {work} | {HEADS[figure]} | {ratio:.2f}{f' × {peer}' if peer else ''} | "
                         f"{'≥' if lower else '≤'} {limit} | {'met' if met else 'MISSED'} |")
    text = "\n".join(lines) + "\n"
    (HOME / "report.md").write_text(text)
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(Bench.SECTIONS) + ", report")
    parser.add_argument("--protocols", default="ftp,ftps")
    parser.add_argument("--servers", help="of " + ", ".join(SERVERS) + "; all of them when left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--landfall", type=Path, help="binary; target/release/landfall, built here, when left out")
    global OPTIONS
    OPTIONS = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = OPTIONS.sections or [*Bench.SECTIONS, *([] if OPTIONS.smoke else ["report"])]
    if not OPTIONS.landfall and wanted != ["report"]:
        run("cargo", "build", "--release", "--locked", "-p", "landfall", cwd=ROOT)
        run("cargo", "build", "--release", "--locked", "-p", "landfall-tests", "--example", "libunftp", cwd=ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    new_user = False
    if not OPTIONS.smoke and wanted != ["report"]:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(SYSTEM_USER)
            subprocess.run(["userdel", SYSTEM_USER], capture_output=True)
        run("useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", "--password", cheap_hash(), SYSTEM_USER)
        new_user = True
    bench = Bench(OPTIONS)
    try:
        for name in wanted:
            if name != "report":
                for protocol in OPTIONS.protocols.split(","):
                    bench.section(name, protocol == "ftps")
    finally:
        bench.close()
        if new_user:
            subprocess.run(["userdel", SYSTEM_USER], capture_output=True)
    if "report" in wanted:
        report()
    sys.exit(bench.failed)


if __name__ == "__main__":
    main()

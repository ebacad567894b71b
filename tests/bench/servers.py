"""The servers that are compared, each on a port of its own with a configuration of its own. Knows no client and no work."""
import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
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

    def __init__(self, bench, name, make, protocol, where, **how):
        self.name, self.protocol, self.port = name, protocol, free_port()
        self.tls, self.ssh = protocol == "ftps", protocol.startswith("sftp")
        self.place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=where))
        self.place.chmod(0o755)
        self.files = self.place / "files"
        self.files.mkdir()
        self.log = self.place / "log"
        self.user, self.certificate, self.key = USER, bench.certificate, bench.key
        self.host_key, self.user_key, self.binaries = bench.host_key, bench.user_key, bench.binaries
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
    binary = server.binaries / "landfall"
    listeners = {"ftp": [], "sftp": []} | {"sftp" if server.ssh else "ftp": [f"127.0.0.1:{server.port}"]}
    config = server.write("landfall.toml", f"""data_dir = "{server.place}/data"
[storage]
root = "{server.files}"
durability = "{durability}"
[ftp]
listen = {listeners["ftp"]}
passive_ports = "{PORTS[0]}-{PORTS[1]}"
[sftp]
listen = {listeners["sftp"]}
[http]
listen = []
[tls]
certificate = "{server.certificate}"
key = "{server.key}"
[auth]{argon2}
""")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANDFALL_")}
    environment["LANDFALL_CONFIG"] = str(config)
    run(binary, "user", "add", USER, "--password-stdin", "--key", f"{server.user_key}.pub", input=PASSWORD, env=environment)
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
    if server.ssh:
        return proftpd_on(server, people, f"""ModulePath {PEERS}/usr/lib/proftpd
LoadModule mod_sftp.c
SFTPEngine on
SFTPHostKey {server.host_key}
SFTPAuthorizedUserKeys file:{server.write("keys", run("ssh-keygen", "-e", "-f", f"{server.user_key}.pub"))}
SFTPAuthMethods publickey
""")
    return proftpd_on(server, people, f"""ModulePath {PEERS}/usr/lib/proftpd
LoadModule mod_tls.c
TLSEngine on
TLSProtocol TLSv1.2
TLSCipherSuite {CIPHER}
TLSECCertificateFile {server.certificate}
TLSECCertificateKeyFile {server.key}
TLSRequired on
TLSOptions NoSessionReuseRequired
""" if server.tls else "")


def proftpd_on(server, people, protocol):
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
{protocol}""")]


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
    return [server.binaries / "examples/libunftp", f"127.0.0.1:{server.port}", server.files, server.certificate, server.key]


def openssh(server):
    fetch("openssh-server")
    server.user = SYSTEM_USER
    Path("/run/sshd").mkdir(exist_ok=True)
    return [PEERS / "usr/sbin/sshd", "-D", "-e", "-f", server.write("sshd.conf", f"""Port {server.port}
ListenAddress 127.0.0.1
HostKey {server.host_key}
PidFile {server.place}/pid
AuthorizedKeysFile {server.user_key}.pub
StrictModes no
UsePAM no
UseDNS no
MaxStartups 2000
LogLevel ERROR
PrintMotd no
Subsystem sftp internal-sftp -d {server.files}
ForceCommand internal-sftp -d {server.files}
""")]


def russh_sftp(server):
    return [server.binaries / "examples/russh_sftp", f"127.0.0.1:{server.port}", server.files, server.host_key]


FTP_SERVERS = {"landfall": landfall, "vsftpd": vsftpd, "proftpd": proftpd, "pure-ftpd": pure_ftpd, "pyftpdlib": pyftpdlib,
               "libunftp": libunftp}
SSH_SERVERS = {"landfall": landfall, "openssh": openssh, "proftpd": proftpd, "russh-sftp": russh_sftp}


def versions():
    packages = {name: fetch(package) for name, package in
                {"vsftpd": "vsftpd", "proftpd": "proftpd-core", "pure-ftpd": "pure-ftpd", "openssh": "openssh-server"}.items()}
    listed = run(VENV / "bin/pip", "list", "--format=freeze") if VENV.exists() else ""
    python = re.search(r"^pyftpdlib==(\S+)", listed, re.M)
    lock = (ROOT / "Cargo.lock").read_text()
    stock = {name: re.search(rf'name = "{name}"\nversion = "([^"]+)"', lock)[1] for name in ("libunftp", "russh", "russh-sftp")}
    return dict(packages, pyftpdlib=python and python[1], **stock)

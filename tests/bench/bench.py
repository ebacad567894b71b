#!/usr/bin/env python3
"""Landfall's speed beside other FTP and SFTP servers: the same work, the same client, on one machine, in interleaved runs.

    tests/bench/bench.py                      every section; each also by itself, by name:
    tests/bench/bench.py big small login      one file up and down; many small ones; logins …
    tests/bench/bench.py --smoke              Landfall alone, tiny sizes, seconds: does the script still work?
    tests/bench/bench.py report               the tables of what was measured so far

Installs what is missing (apt, pip: the packages are only unpacked, under target/bench) and starts each server on
127.0.0.1 from a configuration of its own. Needs root, since vsftpd, ProFTPD and OpenSSH do: the user `landfall-bench`, and
`sshd` where it is not there, are made and removed again. Samples go to target/bench/SECTION-PROTOCOL.json, tables to target/bench/report.md.

Only ratios mean something. The clients cost little (clients.py).
CPU is that of the server's whole process tree, children that have ended included; memory is its PSS.
"""
import argparse
import contextlib
import json
import os
import pwd
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clients import Delay, Ftp, Sftp, together
from servers import (FTP_SERVERS, HOME, ROOT, SSH_SERVERS, SYSTEM_USER, Server, cheap_hash, landfall_argon2, landfall_full, run,
                     versions)

GIB = 1 << 30
PROTOCOLS = ("ftp", "ftps", "sftp", "sftp-chacha20")
FULL = dict(big=GIB, files=2_000, file=200 << 10, sessions=16, delayed=16, logins=200, idle=500, scale=(1, 4, 16, 64))
SMOKE = dict(big=8 << 20, files=20, file=20 << 10, sessions=2, delayed=2, logins=4, idle=4, scale=(1, 2))


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
        self.binaries = (options.landfall or ROOT / "target/release/landfall").parent
        self.host_key, self.user_key = self.place / "host_key", self.place / "user_key"
        for key in (self.host_key, self.user_key):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", key)
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

    def section(self, name, protocol):
        """All servers at once, each in its turn, `repeats` times; every other time backwards."""
        work, where = self.SECTIONS[name]
        ssh = protocol.startswith("sftp")
        self.client = Sftp if ssh else Ftp
        makes = dict(SSH_SERVERS if ssh else FTP_SERVERS, **self.MORE.get((name, ssh), {}))
        if self.smoke:
            makes = {name: make for name, make in makes.items() if name.startswith("landfall")}
        makes = {name: make for name, make in makes.items() if not OPTIONS.servers or name in OPTIONS.servers.split(",")}
        where = self.disk if where == "disk" else self.place
        where.mkdir(parents=True, exist_ok=True)
        self.samples = []
        print(f"{name}, {protocol}", flush=True)
        servers = []
        try:
            for label, make in makes.items():
                servers.append(Server(self, label, make, protocol, where))
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
        steps = together(jobs, lambda: self.client(server, port))
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
            assert client.download("large", size) == size, "not all came"
        seconds, cpu = self.measure(server, [fetch_back])
        self.note(server, "download", mb_per_s=size / seconds / 1e6, cpu_per_gib=cpu * GIB / size)

    def files(self, server, sessions, count=None, port=None):
        wanted = self.small[:count]
        jobs = [lambda client, mine=wanted[start::sessions]: client.upload_all(mine) for start in range(sessions)]
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
        count = self.sizes["logins"]
        steps = self.client.logins(server, count)
        next(steps)
        before = server.cpu()
        seconds = next(steps)
        time.sleep(self.pause)
        cpu = server.cpu() - before
        list(steps)
        self.note(server, "key" if server.ssh else "password", logins_per_s=count / seconds, cpu_ms=cpu / count * 1_000)

    def idle(self, server):
        before, count = server.pss_kib(), self.sizes["idle"]
        with self.client.idle(server, count):
            time.sleep(2 * self.pause)
            after = server.pss_kib()
        time.sleep(10 * self.pause)  # so that the next server finds the machine at rest
        self.note(server, f"{count} idle sessions", kib_per_session=(after - before) / count, before_mib=before / 1_024)

    SECTIONS = {
        "big": (big, "memory"),
        "small": (small_files, "memory"),
        "disk": (small_files, "disk"),
        "scale": (scale, "memory"),
        "delay": (delay, "memory"),
        "login": (login, "memory"),
        "idle": (idle, "memory"),
    }
    MORE = {  # of a section, over SSH or not
        ("disk", False): {"landfall-full": landfall_full},
        ("disk", True): {"landfall-full": landfall_full},
        ("login", False): {"landfall-argon2": landfall_argon2},
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
    *((section, "ftp", sessions, *rest) for sessions in ("1 session", "16 sessions") for section, *rest in (
        ("small", "files_per_s", "landfall", "pure-ftpd", 1.0, True),
        ("small", "cpu_per_gib", "landfall", "pure-ftpd", 1.2, False),
        ("disk", "files_per_s", "landfall-full", "pure-ftpd", 0.6, True))),
    ("idle", "ftp", "500 idle sessions", "kib_per_session", "landfall", None, 20.0, False),
    ("idle", "ftps", "500 idle sessions", "kib_per_session", "landfall", None, 45.0, False),
    *((section, protocol, *rest) for protocol in ("sftp", "sftp-chacha20") for section, *rest in (
        ("big", "upload", "mb_per_s", "landfall", "openssh", 1.6, True),
        ("big", "upload", "cpu_per_gib", "landfall", "openssh", 0.7, False),
        ("big", "download", "mb_per_s", "landfall", "openssh", 1.5, True),
        ("big", "download", "cpu_per_gib", "landfall", "openssh", 0.35, False),
        ("small", "1 session", "files_per_s", "landfall", "openssh", 1.5, True),
        ("small", "16 sessions", "files_per_s", "landfall", "openssh", 2.0, True),
        ("small", "1 session", "cpu_per_gib", "landfall", "openssh", 0.6, False),
        ("small", "16 sessions", "cpu_per_gib", "landfall", "openssh", 0.6, False),
        ("disk", "1 session", "files_per_s", "landfall-full", "openssh", 0.8, True),
        ("disk", "16 sessions", "files_per_s", "landfall-full", "openssh", 1.2, True),
        ("login", "key", "logins_per_s", "landfall", "openssh", 15.0, True),
        ("login", "key", "cpu_ms", "landfall", "openssh", 0.05, False),
        ("idle", "500 idle sessions", "kib_per_session", "landfall", None, 40.0, False))),
]


def report():
    lines, known = [], {}
    lines.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()) + "\n")
    for section in Bench.SECTIONS:
        for protocol in PROTOCOLS:
            base_name = "openssh" if protocol.startswith("sftp") else "vsftpd"
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
                lines.append(f"\n{section}, {protocol}, {work} (medians of {most}; × {base_name})\n")
                lines.append("| server | " + " | ".join(HEADS[key] for key in figures) + " |")
                lines.append("|---" * (len(figures) + 1) + "|")
                base = medians.get(base_name, {})
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
    parser.add_argument("--protocols", default=",".join(PROTOCOLS), help="of " + ", ".join(PROTOCOLS))
    parser.add_argument("--servers", help="of " + ", ".join(FTP_SERVERS | SSH_SERVERS) + "; all of them when left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--landfall", type=Path, help="binary, with `examples` beside it; target/release/landfall, built here, when left out")
    global OPTIONS
    OPTIONS = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = OPTIONS.sections or [*Bench.SECTIONS, *([] if OPTIONS.smoke else ["report"])]
    if not OPTIONS.landfall and wanted != ["report"]:
        run("cargo", "build", "--release", "--locked", "-p", "landfall", cwd=ROOT)
        run("cargo", "build", "--release", "--locked", "-p", "landfall-tests", "--examples", cwd=ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    made = []
    if not OPTIONS.smoke and wanted != ["report"]:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(SYSTEM_USER)
            subprocess.run(["userdel", SYSTEM_USER], capture_output=True)
        run("useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", "--password", cheap_hash(), SYSTEM_USER)
        made.append(SYSTEM_USER)
        if "sshd" not in (entry.pw_name for entry in pwd.getpwall()):
            run("useradd", "--system", "--no-create-home", "--home-dir", "/run/sshd", "--shell", "/usr/sbin/nologin", "sshd")
            made.append("sshd")
    bench = Bench(OPTIONS)
    try:
        for name in wanted:
            if name != "report":
                for protocol in OPTIONS.protocols.split(","):
                    bench.section(name, protocol)
    finally:
        bench.close()
        for user in made:
            subprocess.run(["userdel", user], capture_output=True)
    if "report" in wanted:
        report()
    sys.exit(bench.failed)


if __name__ == "__main__":
    main()

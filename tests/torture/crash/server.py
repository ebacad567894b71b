"""A server in a place of its own, with the user acme. Knows processes and commands, not what they should have done."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from . import ROOT

PASSWORD = "secret-of-acme"
START_SECONDS = 30


class Dead(Exception):
    """The server ended by itself, or did not start."""


def binary(profile):
    """The server of that profile (debug, release), built; or the one that TORTURE_BINARY names, as it is."""
    given = os.environ.get("TORTURE_BINARY")
    if given:
        return Path(given)
    options = ["--release"] if profile == "release" else []
    subprocess.run(["cargo", "build", "--locked", "-p", "landfall", *options], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / profile / "landfall"


class Server:
    """`files` holds the storage, `data` all else; the configuration stands beside, so that no fault reaches it."""

    def __init__(self, program, config, files, data, durability="full", extra="", environment=()):
        self.program, self.config = program, Path(config)
        self.files, self.data = Path(files), Path(data)
        self.home = self.files / "acme"
        self.config.write_text(
            f"data_dir = '{self.data}'\n"
            f"storage.root = '{self.files}'\nstorage.durability = '{durability}'\n"
            'ftp.listen = ["127.0.0.1:0"]\nftp.implicit_listen = []\nftp.passive_ports = "0-0"\n'
            'sftp.listen = ["127.0.0.1:0"]\nhttp.listen = []\n'
            "auth.argon2_memory_kib = 64\nauth.argon2_iterations = 1\n" + extra
        )
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LANDFALL_")}
        self.environment = {**clean, "LANDFALL_CONFIG": str(self.config), **dict(environment)}
        self.process, self.addresses, self.log = None, {}, []

    def command(self, *arguments, text=""):
        """Runs a command to its end; what it printed."""
        done = subprocess.run(
            [self.program, *arguments], env=self.environment, input=text, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise Dead(f"landfall {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def add_user(self, *flags):
        self.command("user", "add", "acme", "--password-stdin", *flags, text=PASSWORD)

    def rows(self, *arguments):
        """What a command prints with --json, one object a line."""
        return [json.loads(line) for line in self.command(*arguments, "--json").splitlines() if line]

    def ledger(self):
        return self.rows("uploads", "--limit", "10000")

    def events(self):
        """Identities of the receipts whose landings are told by events."""
        told = self.rows("events", "list", "--type", "landed", "--limit", "10000")
        return [event["data"]["receipt"] for event in told]

    def spawn(self):
        """Starts it and waits for nothing."""
        self.addresses, self.log = {}, []
        self.process = subprocess.Popen(
            [self.program, "serve"], env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.listening = threading.Event()
        threading.Thread(target=self._read, args=(self.process, self.log), daemon=True).start()

    def start(self):
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self.listening.wait(0.05):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Dead("it did not start: " + " | ".join(self.log[-5:]))

    def _read(self, process, log):
        for line in process.stdout:
            log.append(line.rstrip())
            fields = json.loads(line) if line.startswith("{") else {}
            fields = fields.get("fields", fields)
            if fields.get("message") == "listening":
                host, port = fields["address"].rsplit(":", 1)
                self.addresses[fields["protocol"]] = (host, int(port))
                if {"ftp", "sftp"} <= self.addresses.keys():
                    self.listening.set()
        # Wakes who waits for a start that has failed.
        process.stdout.close()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL; true if it still ran until then."""
        ran = self.alive()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return ran

    def stop(self):
        """SIGTERM, and its clean end."""
        self.process.terminate()
        return self.process.wait(60)

    def complaints(self):
        """Lines of the log that no fault excuses."""
        return [line for line in self.log if "panicked" in line]

"""The clients' journal, and the judge who holds tree, ledger and staging against it."""

import hashlib
import json
import random
import threading
from collections import Counter, defaultdict
from pathlib import Path


def content(seed, size):
    """Bytes that stand in no other upload; the same for the same seed."""
    return random.Random(seed).randbytes(size)


class Attempt:
    """One content under one name, sent once or, resumed, several times. A `temporary` one is to be renamed to `final`."""

    def __init__(self, path, seed, size, final=None):
        self.path, self.seed, self.size, self.final = path, seed, size, final
        self.sha256 = hashlib.sha256(self.content()).hexdigest()
        self.acknowledged = self.rename_begun = self.renamed = False
        #: Bytes of which the server has said that it holds them.
        self.held = 0
        self.protocols = []

    def content(self):
        return content(self.seed, self.size)

    def __repr__(self):
        state = {name: getattr(self, name) for name in ("acknowledged", "rename_begun", "renamed", "final", "protocols")}
        return f"{self.path} ({self.size} bytes, {self.sha256[:12]}, {state})"


class Journal:
    """Attempts in the order in which they began; of one name, one supplier sends them one after the other."""

    def __init__(self):
        self.lock = threading.Lock()
        self.attempts = []

    def begin(self, path, seed, size, final=None):
        attempt = Attempt(path, seed, size, final)
        with self.lock:
            self.attempts.append(attempt)
        return attempt

    def acknowledged(self):
        return sum(attempt.acknowledged for attempt in self.attempts)


class Judge:
    """Compares after each restart. `torn`, `lost`, `unaccounted` and `leaked` are lists of sentences; empty is good."""

    def __init__(self, server, journal):
        self.server, self.journal = server, journal
        self.digests = {}
        self.clear()

    def clear(self):
        self.torn, self.lost, self.unaccounted, self.leaked = [], [], [], []

    def failures(self):
        kinds = ("torn", "lost", "unaccounted", "leaked")
        return [f"{kind}: {sentence}" for kind in kinds for sentence in getattr(self, kind)]

    def judge(self, trust_memory=True):
        """True if all is well. `trust_memory`: a file that has not changed has been read before."""
        self.clear()
        if not trust_memory:
            self.digests.clear()
        rows = self.server.ledger()
        assert len(rows) < 10_000, "more rows than the ledger shows at once"
        tree = self.tree()
        landed = Counter((row["path"].lstrip("/"), row["sha256"]) for row in rows if row["status"] == "landed")
        self.judge_tree(tree, landed)
        self.judge_attempts(tree, landed)
        self.judge_staging([row for row in rows if row["status"] == "suspended"], trust_memory)
        self.judge_events([row for row in rows if row["status"] == "landed"])
        return not self.failures()

    def tree(self):
        """Digest of each visible file."""
        home, tree = self.server.home, {}
        for file in home.rglob("*") if home.exists() else []:
            if file.is_file():
                stat = file.stat()
                key = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                if key not in self.digests:
                    self.digests[key] = hashlib.sha256(file.read_bytes()).hexdigest()
                tree[str(file.relative_to(home))] = self.digests[key]
        return tree

    def judge_tree(self, tree, landed):
        """Whatever is visible is whole, and stands in the ledger; a temporary name does not, until it is renamed."""
        sent, temporary = defaultdict(set), set()
        for attempt in self.journal.attempts:
            sent[attempt.path].add(attempt.sha256)
            if attempt.final:
                temporary.add(attempt.path)
            if attempt.rename_begun:
                sent[attempt.final].add(attempt.sha256)
        for path, digest in tree.items():
            receipts = landed[path, digest]
            if digest not in sent[path]:
                self.torn.append(f"{path}: nobody sent these bytes under this name")
            elif receipts != (0 if path in temporary else 1):
                self.unaccounted.append(f"{path} is visible and has {receipts} receipts")

    def judge_attempts(self, tree, landed):
        """Of each name, the last acknowledged content or a later one stands there; what was acknowledged has one receipt."""
        standing, replaced = {}, self.replaced(tree)
        for attempt in self.journal.attempts:
            at_final = attempt.final if attempt.rename_begun else None
            if attempt.final is None:
                self.expect_receipts(attempt, landed[attempt.path, attempt.sha256])
                standing.setdefault(attempt.path, []).append((attempt, attempt.acknowledged))
            elif attempt.acknowledged:
                there = tree.get(attempt.path) == attempt.sha256
                receipts = landed[attempt.final, attempt.sha256]
                if not attempt.rename_begun and not there:
                    self.lost.append(f"{attempt} is not there under its temporary name")
                if attempt.renamed and there:
                    self.lost.append(f"{attempt} is still there under its temporary name")
                if attempt.rename_begun and not (attempt.renamed or there or receipts == 1 or attempt in replaced):
                    self.lost.append(f"{attempt}: neither its old nor its new name has it")
                self.expect_receipts(attempt, receipts)
            if at_final:
                standing.setdefault(at_final, []).append((attempt, attempt.renamed))
        for path, attempts in standing.items():
            last = max((at for at, (_, acknowledged) in enumerate(attempts) if acknowledged), default=None)
            if last is not None and tree.get(path) not in {attempt.sha256 for attempt, _ in attempts[last:]}:
                what = "an older content" if path in tree else "nothing"
                self.lost.append(f"{attempts[last][0]}: {what} stands there")

    def replaced(self, tree):
        """Attempts whose final name a later one has taken: it was acknowledged, or it stands there."""
        replaced, later = set(), set()
        for attempt in reversed(self.journal.attempts):
            if attempt.final in later:
                replaced.add(attempt)
            if attempt.renamed or attempt.final and tree.get(attempt.final) == attempt.sha256:
                later.add(attempt.final)
        return replaced

    def expect_receipts(self, attempt, receipts):
        done = attempt.renamed if attempt.final else attempt.acknowledged
        if receipts > 1 or done and receipts != 1:
            self.unaccounted.append(f"{attempt} has {receipts} receipts")

    def judge_staging(self, suspended, memory_held):
        """Each staging file has its row and each row its file; each is the beginning of what was sent last, and where
        memory held, no shorter than what WRITE was answered for."""
        rows = {row["id"]: row for row in suspended}
        staged = {}
        for file in (self.server.data / "staging").iterdir() if (self.server.data / "staging").exists() else []:
            name, _, suffix = file.name.partition(".")
            if len(name) == 32:
                staged.setdefault(name, {})[suffix] = file
        for name in staged.keys() - rows.keys():
            self.leaked.append(f"{name} is staged, and the ledger does not know it")
        for name in rows.keys() - staged.keys():
            self.leaked.append(f"{name} is suspended in the ledger and not staged")
        since = self.since_acknowledged()
        for name in rows.keys() & staged.keys():
            path = rows[name]["path"].lstrip("/")
            if staged[name].keys() != {"part", "meta"}:
                self.leaked.append(f"{path} is staged as {sorted(staged[name])}")
                continue
            held = staged[name]["part"].read_bytes()
            sent = next((attempt for attempt in since[path] if attempt.content().startswith(held)), None)
            if sent is None:
                self.torn.append(f"{path} is suspended with {len(held)} bytes that nobody sent since the last landing")
            elif memory_held and len(held) < sent.held:
                self.lost.append(f"{path} is suspended with {len(held)} bytes, {sent.held} were acknowledged")
            elif len(held) != rows[name]["size"]:
                self.unaccounted.append(f"{path} is suspended with {len(held)} bytes, the ledger says {rows[name]['size']}")

    def since_acknowledged(self):
        """Of each name, the attempts since the last that was acknowledged, the latest first."""
        since = defaultdict(list)
        for attempt in self.journal.attempts:
            if attempt.acknowledged:
                since[attempt.path].clear()
            else:
                since[attempt.path].insert(0, attempt)
        return since

    def judge_events(self, landed):
        """Each landing has one event, and each such event its landing."""
        counted = Counter(self.server.events())
        for row in landed:
            if counted[row["id"]] != 1:
                self.unaccounted.append(f"{row['path']} landed and has {counted[row['id']]} events")
        for name in counted.keys() - {row["id"] for row in landed}:
            self.unaccounted.append(f"an event tells of the landing {name}, which the ledger does not know")

    def suspended(self):
        """Attempts that can be resumed, with the bytes held."""
        sizes = {row["path"].lstrip("/"): row["size"] for row in self.server.ledger() if row["status"] == "suspended"}
        latest = {attempt.path: attempt for attempt in self.journal.attempts}
        return [(latest[path], size) for path, size in sizes.items() if path in latest]


def dump(journal, path):
    """The journal as JSON, one attempt a line, for whoever looks into a failure."""
    Path(path).write_text("".join(json.dumps(vars(attempt)) + "\n" for attempt in journal.attempts))

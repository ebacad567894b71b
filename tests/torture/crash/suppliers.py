"""Suppliers who upload until their server is gone: new names, overwrites, temporary names, and what is to be resumed."""

import random
import threading

from .clients import BREAKS, PROTOCOLS, REFUSALS, connect

SUPPLIERS = 6
#: Bytes, and how often of ten.
SIZES = ((0, 2_000, 3), (2_000, 200_000, 5), (500_000, 3_000_000, 2))


class Resumed(Exception):
    """What is held under a name is not what the ledger said."""


class Round:
    """All suppliers between one start of the server and its end. `faults` are sentences that no crash explains."""

    def __init__(self, server, journal, seed, suspended=(), protocols=PROTOCOLS):
        self.server, self.journal, self.seed = server, journal, seed
        self.protocols = protocols
        self.suspended = list(suspended)
        self.faults, self.resumed = [], 0
        self.over = threading.Event()
        #: From then on the server has a reason to refuse.
        self.hurt = threading.Event()
        self.threads = [threading.Thread(target=self._supply, args=(number,)) for number in range(SUPPLIERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _supply(self, number):
        protocol = self.protocols[(number + self.seed) % len(self.protocols)]
        chance = random.Random(f"{self.seed} {number}")
        client = None
        try:
            client = connect(self.server, protocol)
            supplier = Supplier(client, protocol, number, chance, self)
            # Its own first: what it sends later under the same name is newer.
            for attempt, held in self.suspended:
                if attempt.path.startswith(f"{number}-"):
                    supplier.resume(attempt, held)
                    self.resumed += 1
            while not self.over.is_set():
                supplier.upload()
        except REFUSALS as refusal:
            if not self.hurt.is_set():
                self.faults.append(f"{protocol}: refused without a reason: {refusal!r}")
        except BREAKS:
            pass  # What it was told before stands in the journal.
        except Resumed as fault:
            self.faults.append(str(fault))
        finally:
            if client:
                client.close()


class Supplier:
    """One connection of one supplier."""

    def __init__(self, client, protocol, number, chance, round):
        self.client, self.protocol, self.number, self.chance, self.round = client, protocol, number, chance, round
        self.turn = 0

    def upload(self):
        self.turn += 1
        way = self.chance.choices(("new", "again", "renamed", "below"), (4, 3, 3, 1))[0]
        unique = f"{self.number}-{self.round.seed}-{self.turn}"
        path = f"{unique}.jpg"
        if way == "again":
            path = f"{self.number}-again{self.chance.randrange(2)}.jpg"
        if way == "below":
            self.client.mkdir(unique)
            path = f"{unique}/{path}"
        low, high, _ = self.chance.choices(SIZES, [often for _, _, often in SIZES])[0]
        size, seed = self.chance.randint(low, high), f"{self.round.seed} {unique}"
        if way != "renamed":
            return self.send(self.round.journal.begin(path, seed, size))
        again = self.chance.random() < 0.5
        final = f"{self.number}-final{self.chance.randrange(2)}.jpg" if again else path
        attempt = self.round.journal.begin(f"{unique}.part", seed, size, final)
        self.send(attempt)
        return self.rename(attempt)

    def resume(self, attempt, held):
        """As a client does: asks what is held, and sends what is missing."""
        size = self.client.size(attempt.path)
        if size != held:
            raise Resumed(f"{self.protocol}: {size} bytes are told of {attempt}, the ledger says {held}")
        self.send(attempt, held, self.chance.choice(("rest", "append")))
        if attempt.final:
            self.rename(attempt)

    def send(self, attempt, offset=0, how=None):
        attempt.protocols.append(self.protocol)

        def held(length):
            attempt.held = max(attempt.held, length)

        self.client.put(attempt.path, attempt.content(), offset, how, held)
        attempt.acknowledged = True

    def rename(self, attempt):
        attempt.rename_begun = True
        self.client.rename(attempt.path, attempt.final)
        attempt.renamed = True

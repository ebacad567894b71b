"""What the crash scripts share: a server to be hurt, suppliers that note what they were told, and one judge."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / "target/fixtures/venv"


def in_fixtures():
    """Goes on in the Python that has paramiko; `tests/run fetch` makes it."""
    if Path(sys.prefix) != VENV:
        python = VENV / "bin/python"
        if not python.exists():
            sys.exit(f"{python} is missing: run tests/run fetch first")
        os.execv(python, [python, *sys.argv])


#: Of what went wrong, so much is told: the first says most.
TOLD = 10


def told(faults):
    """The first of them, a line each."""
    more = [f"and {len(faults) - TOLD} more"] if len(faults) > TOLD else []
    return "\n".join([*faults[:TOLD], *more])

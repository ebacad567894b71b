"""paramiko's own SFTP tests, run against Landfall: paramiko_suite.py UNPACKED PORT [NAME...]

UNPACKED is paramiko's source distribution, unpacked. The working directory is the home of the user `slowdive`, password
`pygmalion`. A test that does not apply stands in UNFIT with its reason, a line that does not in RETOLD; all else is taken
as it is. Prints what failed, then `N of M`; fails as well where N is not what it was.
"""
import contextlib
import importlib
import os
import re
import shutil
import sys
import tempfile
import traceback
import types
from pathlib import Path

unpacked, port, *wanted = sys.argv[1:]

MODULES = ["test_sftp", "test_sftp_big"]

# How many pass when all are run.
PASS = 0

UNFIT = {
    "test_symlink": "links are not made: a file lands, or it does not",
    "test_sftp_attributes_empty_str": "asks nothing of a server",
    "test_sftp_attributes_locale_time": "asks nothing of a server",
    "test_file_with_percent": "paramiko skips it itself",
    "test_write_buffer": "of Python 2; paramiko skips it itself",
}

# Lines of the tests retold: (pattern, what stands there instead, why). Each must be found.
RETOLD = [
    (r"^( +)assert stat.st_atime == atime$", r"\1pass", "the time of the last reading is not kept"),
]


class Skipped(Exception):
    pass


@contextlib.contextmanager
def raises(kind, match=""):
    try:
        yield
    except kind as error:
        assert re.search(match, str(error), re.IGNORECASE), f"{match} expected, not {error}"
    else:
        raise AssertionError(f"{kind} expected, nothing was raised")


def skip(reason):
    """Both as a call in a test, and as a decorator of one."""
    raise Skipped(reason)


def stand_in():
    """As much of pytest as these tests use."""
    same = lambda it: it
    marked = lambda reason: lambda test: lambda *_: skip(reason)
    skip_if = lambda condition, reason: marked(reason) if condition else same
    mark = types.SimpleNamespace(slow=same, skip=marked, skipif=skip_if)
    return types.SimpleNamespace(raises=raises, skip=skip, mark=mark)


def retell(folder):
    """Copies the tests, with the lines of RETOLD in place of theirs."""
    shutil.copytree(Path(unpacked) / "tests", folder / "tests")
    found = set()
    for name in MODULES:
        path = folder / "tests" / f"{name}.py"
        text = path.read_text()
        for pattern, instead, _ in RETOLD:
            text, count = re.subn(pattern, instead, text, flags=re.MULTILINE)
            found |= {pattern} if count else set()
        path.write_text(text)
    missing = [pattern for pattern, *_ in RETOLD if pattern not in found]
    assert not missing, f"not in the tests: {missing}"


def load(retold):
    sys.modules["pytest"] = stand_in()
    sys.path[:0] = [retold, unpacked]
    found = {}
    for name in MODULES:
        module = importlib.import_module(f"tests.{name}")
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                found.update((method, kind) for method in vars(kind) if method.startswith("test"))
    return found


def run(kind, method):
    """One test in a connection and a folder of its own: '' or what went wrong."""
    import paramiko

    folder = "paramiko-test-target"
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    transport = paramiko.Transport(("127.0.0.1", int(port)))
    # What it prefers by itself, AES-CTR, takes ten times as long in a server that is built without optimisation.
    transport.get_security_options().ciphers = ["aes128-gcm@openssh.com"]
    try:
        transport.connect(username="slowdive", password="pygmalion")
        sftp = paramiko.SFTPClient.from_transport(transport)
        sftp.FOLDER = folder
        getattr(kind(), method)(sftp)
    except Skipped as reason:
        return f"skips itself: {reason}"
    except Exception:
        return traceback.format_exc()
    finally:
        transport.close()
    return ""


def main():
    with tempfile.TemporaryDirectory() as retold:
        retell(Path(retold))
        found = load(retold)
        missing = set(UNFIT).difference(found)
        assert not missing, f"not in the tests: {missing}"
        if wanted:
            found = {method: kind for method, kind in found.items() if method in wanted}
        fit = {method: kind for method, kind in found.items() if method not in UNFIT}
        outcomes = {method: run(kind, method) for method, kind in fit.items()}
    skipped = {method: told for method, told in outcomes.items() if told.startswith("skips itself")}
    failed = {method: told for method, told in outcomes.items() if told and method not in skipped}
    print("\n".join(f"--- {method}\n{told}" for method, told in (failed | skipped).items()))
    good = len(fit) - len(failed) - len(skipped)
    print(
        f"{good} of {len(found)} pass, {len(failed)} fail, {len(found) - len(fit)} do not apply, "
        f"{len(skipped)} skip themselves"
    )
    sys.exit(bool(failed) or not wanted and good < PASS)


main()

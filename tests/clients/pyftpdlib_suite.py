"""pyftpdlib's own functional tests, run against Landfall: pyftpdlib_suite.py UNPACKED PORT PORT_WITH_TLS_REQUIRED [NAME...]

UNPACKED is pyftpdlib's source distribution, unpacked. The working directory is the home of the user `user`, password
`12345`, since the tests look at the files as well. A test that does not apply stands in UNFIT with its reason; what it
tells about the server is taken as it is, but for sentences: pyftpdlib's words are its own, so replies are compared by
their codes. Prints what failed, then `N of M`.
"""
import contextlib
import ftplib
import itertools
import re
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest.mock import MagicMock

unpacked, port, port_with_tls_required, *wanted = sys.argv[1:]

# Where a class or test is named alone, all of that name are meant, those under TLS as well.
UNFIT = {
    # About pyftpdlib's inside
    "TestCallbacks": "hooks of pyftpdlib's handler classes",
    "TestThrottleBandwidth": "a handler class of pyftpdlib's",
    "TestConfigurableOptions": "settings of pyftpdlib's; Landfall's own are others, with their own tests",
    "TestTimeouts": "timeouts of a tenth of a second, set inside pyftpdlib; Landfall's are seconds, with their own tests",
    "ThreadedFTPTests": "pyftpdlib's handlers and file system replaced while it runs",
    "TestFtpStoreDataNoSendfile": "the tests above again, with a switch inside pyftpdlib",
    "TestFtpRetrieveDataNoSendfile": "the tests above again, with a switch inside pyftpdlib",
    "TestFtpStoreDataWithCustomIO": "the tests above again, with another file object inside the client",
    "TestFtpRetrieveDataCustomIO": "the tests above again, with another file object inside the client",
    "test_unforeseen_time_event": "pyftpdlib's file system replaced while it runs",
    "test_error_on_callback": "pyftpdlib's event loop",
    "test_ioloop_fileno": "pyftpdlib's event loop",
    "test_repr": "pyftpdlib's objects printed",
    # Another reading of the RFCs, or a rule of Landfall's own
    "test_anon_auth": "there is no anonymous login",
    "test_stou_orphaned_file": "logs in as anonymous",
    "test_user": "a logged-in session stays its user's; REIN comes before another USER",
    "test_user_during_transfer": "a logged-in session stays its user's; REIN comes before another USER",
    "test_rein_during_transfer": "commands that cannot be answered during a transfer wait for its end, REIN too",
    "test_allo": "ALLO takes a number here, and the upload must have it",
    "test_port_race_condition": "wants the data connection at PORT; it is made when the transfer begins (RFC 959, 3.2)",
    "test_active_conn_error": "wants the data connection at PORT; it is made when the transfer begins (RFC 959, 3.2)",
    "test_stou": "sends STOU before PASV and PORT, which have to come first",
    "test_site_chmod": "a mode never shuts out the programs that read what landed, and never lets others write",
    "test_mlsd_all_facts": "wants a size for a directory, and numbers of users and groups of the host",
    "TestFtpStoreDataTLSMixin.test_quit_during_transfer": "ends an upload without close_notify",
    "TestFTPS.test_feat": "wants AUTH SSL, the name for what came before TLS",
}

# Lines of the tests retold: (pattern, what stands there instead, why). Each must be found.
SENTENCE = "pyftpdlib's own sentence; the code is compared"
AT_TRANSFER = "the data connection is made when the transfer begins"
RETOLD = [
    (r"assert resp == \"550 Globbing not supported.\"", "assert resp[:3] == '212'", "STAT takes patterns here"),
    (r'error_temp, match="Can\'t (STOU|APPE) while REST"', 'error_perm, match="503"', "503 is the code for a bad sequence"),
    (r"assert resp == (expected|\"\d{3} [^\"]*\")$", r"assert resp[:3] == \1[:3]", SENTENCE),
    (r"assert self\.cmdresp\((.*)\) == msg", r"assert self.cmdresp(\1)[:3] == msg[:3]", SENTENCE),
    (r"assert \"(privileged port|foreign address|Network protocol not supported)\" in resp(, resp)?$", "", SENTENCE),
    (r"\"550 SSL/TLS required on the (control|data) channel.\"", r'"5"', "530 and 521 are the codes of the RFCs"),
    (r"\"503 PROT not allowed", r'"', "see test_prot"),
    (r'(\s+)self.client.sendcmd\("type l7"\)', "", "L 7 is no local byte size that anybody uses"),
    (r'== "200 MLST OPTS "', '== "200 MLST OPTS"', "RFC 3659, 7.9: no space after it"),
    (r'assert "([a-z*;]+)" in mlst\(\)', r'assert all(fact in mlst().split(";") for fact in "\1".split(";"))', "in any order"),
    (r"random\.choice\(.*\)$", '"STOR"', "some names that it draws from stand for a word after SITE"),
    (r'"noop",\n(\s+"pasv",)', r"\1", "NOOP may say something"),
    (r"(\n\s+)(self.client.login\(secure=True\)|self.client.login\(\)\n\s+assert)", r'\1self.client.sendcmd("rein")\1\2', "AUTH comes before the login, and REIN before AUTH"),
    (r'(\s+)self.client.sendcmd\("cwd"\)\n', r'\1self.client.sendcmd("cwd /")\n', "CWD takes a path (RFC 959, 5.3.1)"),
    (r'"help", "noop", "stat", "syst", "site help"\)', r'"help", "noop", "syst")', "the rest is for those who are logged in"),
    (r'("feat",\n(\s+)"help",\n)', r'\1\2"opts", "cwd", "xcwd", "rein",\n', "OPTS and REIN need no login, and CWD takes a path"),
    (r'(\n\s+)(self.client.sendcmd\(f"rest \{file_size \+ 1\}"\))', r"\1self.client.makepasv()\1\2", "PASV first"),
    (r'self.client.sendcmd\("quit"\)\n(\s+conn.sendall)', r'self.client.putcmd("quit")\n\1', "221 comes after 226"),
    (r'(# expect the response \(transfer ok\)(\n\s+)assert .*)', r'\1\2assert self.client.getline()[:3] == "221"', "221 comes after 226"),
    (r'(\n\s+self.client.sendcmd\(f"eprt \|(?:1|\{self.proto\})\|\{ip\}.*)', r'\1; self.client.putcmd("nlst")', AT_TRANSFER),
    (r'(s\[0\]|sock2)\.close\(\)', r'\1.close(); self.client.getline(); self.client.getline()', AT_TRANSFER),
]


class raises:
    """As pytest's, but for the sentence: of what is to match only the code counts."""

    def __init__(self, kind, match=""):
        self.kind, self.code = kind, re.match(r"(\d{3})?", match).group()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        assert kind is not None, f"{self.kind} expected, nothing was raised"
        assert not issubclass(kind, self.kind) or str(error).startswith(self.code), f"{self.code} expected, not {error}"
        return issubclass(kind, self.kind)


class Landfall:
    """Stands where the tests start a server of their own."""

    lock = contextlib.nullcontext()

    def __init__(self, address=("127.0.0.1", 0)):
        self.host, self.port = "::1" if address[0] == "::1" else "127.0.0.1", int(port)
        self.server = types.SimpleNamespace()

    def start(self):
        if getattr(self.handler, "tls_control_required", False) or getattr(self.handler, "tls_data_required", False):
            self.port = int(port_with_tls_required)

    def stop(self):
        pass


def come_from_elsewhere(tests):
    """Tests of wrong passwords come from an address of their own each: the server counts guesses by network."""
    addresses, connect, set_up = itertools.count(2), ftplib.FTP.connect, tests.setUp

    def new_set_up(self):
        address = f"127.0.1.{next(addresses)}"
        ftplib.FTP.connect = lambda *given, **named: connect(*given, **named, source_address=(address, 0))
        self.addCleanup(setattr, ftplib.FTP, "connect", connect)
        set_up(self)

    tests.setUp = new_set_up


def retell(folder):
    """Writes the tests anew, with the lines of RETOLD in place of theirs."""
    (folder / "tests").mkdir()
    found = set()
    for name in ["__init__.py", "test_functional.py", "test_functional_ssl.py"]:
        text = (Path(unpacked) / "tests" / name).read_text()
        for pattern, instead, _ in RETOLD:
            text, count = re.subn(pattern, instead, text, flags=re.MULTILINE)
            found |= {pattern} if count else set()
        (folder / "tests" / name).write_text(text)
    missing = [pattern for pattern, *_ in RETOLD if pattern not in found]
    assert not missing, f"not in the tests: {missing}"


def load(retold):
    """Imports the tests, with stand-ins for what they do not need here."""
    mark = types.SimpleNamespace(skip=unittest.skip, skipif=unittest.skipIf, xdist_group=lambda name: lambda it: it)
    sys.modules["pytest"] = types.SimpleNamespace(raises=raises, mark=mark)
    sys.modules["psutil"] = sys.modules["OpenSSL"] = MagicMock()
    retell(Path(retold))
    sys.path[:0] = [retold, unpacked]
    import tests
    from pyftpdlib.handlers import FTPHandler

    Landfall.handler = FTPHandler
    tests.FtpdThreadWrapper = Landfall
    tests.GLOBAL_TIMEOUT = 10
    from tests import test_functional, test_functional_ssl

    come_from_elsewhere(test_functional.TestFtpAuthentication)
    return [test_functional, test_functional_ssl]


def names_of(test):
    """What a test may be called: by its module, class, or own name; a class under TLS as the one that it repeats, too."""
    module, kind, own = type(test).__module__.split(".")[-1], type(test).__name__, test._testMethodName
    plain = kind.replace("TLSMixin", "").replace("TestTFtp", "TestFtp")
    return {module, kind, plain, own, f"{kind}.{own}", f"{plain}.{own}"}


def main():
    with tempfile.TemporaryDirectory() as retold:
        modules = load(retold)
    found = {}
    for module in modules:
        for test in itertools.chain(*unittest.defaultTestLoader.loadTestsFromModule(module)):
            if type(test).__module__ == module.__name__:
                found[test] = names_of(test)
    missing = set(UNFIT).difference(*found.values())
    assert not missing, f"not in the tests: {missing}"
    if wanted:
        found = {test: names for test, names in found.items() if names & set(wanted)}
    fit = [test for test, names in found.items() if not names & set(UNFIT)]
    result = unittest.TextTestRunner(stream=sys.stdout).run(unittest.TestSuite(fit))
    bad, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    good = result.testsRun - bad - skipped
    print(f"{good} of {len(found)} pass, {bad} fail, {len(found) - len(fit)} do not apply, {skipped} skip themselves")
    sys.exit(bool(bad))


main()

"""OpenSSH's own tests of sftp and scp, run against Landfall: openssh_suite.py REGRESS PORT USER KEY SCRIPT...

REGRESS is where Debian's package openssh-tests keeps its scripts. The working directory is the home of USER on disk, who
logs in with the private key KEY; `$LANDFALL` is the command line tool of the same server.

The scripts take the machine under test and their own for the same, and call files by one name on both. So they work in a
directory that is, by a symbolic link, the landing directory: `/tmp/x/obj/copy` is the same file here and over SFTP. Where
they start an sftp-server of their own (`sftp -D`), they get a connection by ssh to Landfall. What they call options of that
server becomes permissions of the user.

A check that does not apply stands in UNFIT with its reason, a line that does not in RETOLD. Prints what failed, then
`N of M`.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

regress, port, user, key, *scripts = sys.argv[1:]

NO_LINKS = "links are not made: a file lands, or it does not"

# By the words in which a script announces a check.
UNFIT = {
    "sftp commands: ln": NO_LINKS,
    "sftp commands: ln -s": NO_LINKS,
    "sftp permissions: read-only symlink": NO_LINKS,
    "sftp permissions: read-only hardlink": NO_LINKS,
    "sftp permissions: explicit symlink": NO_LINKS,
    "sftp permissions: explicit hardlink": NO_LINKS,
    "sftp permissions: explicit statvfs": "how much room is left is told to everybody who may log in",
}

# Lines of the scripts retold: (script, pattern, what stands there instead, why). Each must be found.
OLD_PROTOCOL = "the old protocol of scp, which these scripts try without any server"
RETOLD = [
    ("scp.sh", r"^for mode in scp sftp", "for mode in sftp", OLD_PROTOCOL),
    ("scp3.sh", r"^for mode in scp sftp", "for mode in sftp", OLD_PROTOCOL),
    ("scp-uri.sh", r"^for mode in scp sftp", "for mode in sftp", OLD_PROTOCOL),
    ("sftp-chroot.sh", r"/var/run", "$LANDING", "the home is what the user takes for the root"),
    ("sftp-cmds.sh", r"-r \$i ", "-r $LANDING/bin/$i ", "of what is in /bin, what stands in the landing directory too"),
]

# What the scripts take from their own test-exec.sh. Descriptor 3 is ours.
PRELUDE = """
verbose() { echo "check $*" >&3; }
fail() { echo "fail $*" >&3; }
fatal() { fail "$*"; exit 1; }
skip() { echo "skip $*" >&3; exit 0; }
trace() { :; }
start_sshd() { :; }
maybe_add_scp_path_to_sshd() { :; }
config_defined() { false; }
"""

# In the form that the scripts look for: some take Port and User out again.
SSH_CONFIG = """\
Host *
\tHostName\t127.0.0.1
\tPort\t{port}
\tUser\t{user}
\tIdentityFile\t{key}
\tIdentitiesOnly\tyes
\tIdentityAgent\tnone
\tStrictHostKeyChecking\tno
\tUserKnownHostsFile\t/dev/null
\tGlobalKnownHostsFile\t/dev/null
\tLogLevel\tERROR
\tBatchMode\tyes
"""

# In place of sftp-server. With its options come -R, -P and -p, see `permissions`.
SERVER = """\
#!/bin/sh
[ $# = 0 ] || "{python}" "{script}" allow "{user}" "$@" || exit 1
exec ssh -F "{config}" -s landfall sftp
"""

VERBS = ["list", "read", "write", "overwrite", "delete", "rename", "mkdir"]
# Each verb with the requests that sftp-server lets or forbids one by one: all of a row are needed.
NEEDED = [
    ("list", {"stat", "lstat"}),
    ("read", {"open", "read"}),
    ("write", {"open", "write"}),
    ("write", {"setstat"}),
    ("overwrite", {"setstat"}),
    ("delete", {"remove"}),
    ("delete", {"rmdir"}),
    ("rename", {"rename"}),
    ("mkdir", {"mkdir"}),
]
LISTING = {"opendir", "readdir"}


def permissions(options):
    """sftp-server's options in Landfall's words."""
    option = next((option for option in options if option in ("-R", "-P", "-p")), None)
    if option is None:
        return VERBS
    if option == "-R":
        return ["list", "read"]
    named = set(options[options.index(option) + 1].split(","))
    if option == "-P":
        denied = {verb for verb, needed in NEEDED if needed & named}
        return [verb for verb in VERBS if verb not in denied and not (verb == "list" and LISTING & named)]
    allowed = {verb for verb, needed in NEEDED if needed <= named}
    # Landfall has one verb for seeing names and seeing facts: a directory that is half readable is not.
    if len(named & LISTING) == 1:
        allowed.discard("list")
    return sorted(allowed) or ["none"]


def set_up(place):
    """The directory in which a script works, here and in the landing directory."""
    home = Path.cwd()
    landed = home / place.relative_to("/") / "obj"
    landed.mkdir(parents=True)
    here = place / "obj"
    here.symlink_to(landed)
    (home / "bin").mkdir(exist_ok=True)
    for file in Path("/bin").glob("l?"):
        shutil.copy(file, home / "bin")
    # A little more than the largest buffer that a script asks for; some send it in pieces of five bytes.
    (here / "data").write_bytes(Path("/bin/sh").read_bytes()[:66_000])
    (here / "check-perm").write_text("#!/bin/sh\n")
    (here / "ssh_config").write_text(SSH_CONFIG.format(port=port, user=user, key=key))
    config = place / "ssh_config"
    shutil.copy(here / "ssh_config", config)
    server = place / "sftp-server"
    server.write_text(SERVER.format(python=sys.executable, script=Path(__file__).resolve(), user=user, config=config))
    for program in [server, here / "check-perm"]:
        program.chmod(0o755)
    return here, server


def retell(script, place):
    shutil.copytree(regress, place / "regress", dirs_exist_ok=True, ignore=shutil.ignore_patterns("misc", "unittests"))
    path = place / "regress" / script
    text = path.read_text()
    for name, pattern, instead, _ in RETOLD:
        if name == script:
            text, count = re.subn(pattern, instead, text, flags=re.MULTILINE)
            assert count, f"not in {script}: {pattern}"
    path.write_text(text)
    return path


def run(script):
    """One script: its checks in order, each with what failed in it."""
    with tempfile.TemporaryDirectory() as place:
        place = Path(place).resolve()
        here, server = set_up(place)
        path = retell(script, place)
        prelude = place / "prelude.sh"
        prelude.write_text(PRELUDE)
        environment = os.environ | {
            "USER": user, "PORT": port, "OBJ": str(here), "SCRIPT": str(path), "SRC": str(path.parent),
            "LANDING": os.getcwd(), "DATANAME": "data", "DATA": f"{here}/data", "COPY": f"{here}/copy",
            "SSH": "ssh", "SFTP": "sftp", "SCP": "scp", "SFTPSERVER": str(server), "TEST_SHELL": "sh",
            "TEST_REGRESS_LOGFILE": f"{place}/regress.log", "SUDO": "", "EXEEXT": "",
        }  # fmt: skip
        told = place / "told"
        with told.open("w") as mine, (place / "said").open("w") as said:
            code = f'. "{prelude}"; . "{path}"; echo end >&3'
            command = ["sh", "-c", f'exec 3>&{mine.fileno()}; {code}']
            subprocess.run(command, cwd=here, env=environment, stdin=subprocess.DEVNULL, stdout=said,
                           stderr=subprocess.STDOUT, pass_fds=[mine.fileno()])  # fmt: skip
        lines = told.read_text().splitlines()
        said = (place / "said").read_text(errors="replace")
    checks, ended = [[f"{script}: up to the first check", []]], False
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "check":
            checks.append([rest, []])
        elif word == "end":
            ended = True
        else:
            checks[-1][1].append(rest)
    if not ended:
        checks[-1][1].append("the script did not come to its end")
    return checks if checks[0][1] else checks[1:], said


def main():
    if regress == "allow":
        name, *options = sys.argv[2:]
        subprocess.run([os.environ["LANDFALL"], "user", "set", name, "--permissions", ",".join(permissions(options))],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        return
    good, all_of_them, unfit, bad = 0, 0, 0, []
    for script in scripts:
        checks, said = run(script)
        wrong = False
        for name, failures in checks:
            all_of_them += 1
            if name in UNFIT and failures:
                unfit += 1
            elif failures:
                wrong = True
                bad.append(f"{script}: {name}: {'; '.join(failures)}")
            else:
                good += 1
        print(f"{script}: {len(checks)} checks")
        if wrong:
            print(said)
    print("\n".join(bad))
    print(f"{good} of {all_of_them} pass, {len(bad)} fail, {unfit} do not apply")
    sys.exit(bool(bad))


main()

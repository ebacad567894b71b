//! SFTP clients beyond a plain put and get: what their own commands ask of the server, resumes and trees included.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use landfall_tests::{Outcome, Run, Sftp, pattern, repository, sha256, tool, wait_until};

use super::{PASSWORD, SSH, Stage};

/// Seconds since 1970 of some day in 2020.
const LONG_AGO: u64 = 1_600_000_000;

/// Two files, the second one level down, with times and modes of their own.
const TREE: [(&str, usize, u32); 2] = [("tree/a.jpg", 100_000, 0o640), ("tree/below/b.jpg", 7, 0o600)];

impl Stage {
    /// Options that let OpenSSH's clients in by key.
    fn by_key(&self) -> Vec<String> {
        let key = self.server.add_key("acme");
        let mut options: Vec<_> = SSH.iter().map(|option| (*option).to_owned()).collect();
        options.extend(["-oIdentitiesOnly=yes", "-i", key.to_str().unwrap()].map(str::to_owned));
        options
    }

    /// OpenSSH's `sftp` with commands; those that begin with `-` may fail.
    fn sftp(&self, options: &[String], commands: &[String]) -> Outcome {
        let options = options.iter().map(String::as_str);
        let port = self.server.port("sftp");
        let arguments: Vec<_> = options.chain(["-P", &port, "-b", "-", "acme@127.0.0.1"]).collect();
        self.feed("sftp", &arguments, &(commands.join("\n") + "\n"))
    }

    /// What may fail.
    fn try_to(&self, program: &str, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(program);
        Run::start(command.args(arguments).current_dir(self.home.path()).env("HOME", self.home.path())).outcome()
    }

    /// Half of a file, and then the line goes dead.
    fn suspend(&self, name: &str, bytes: &[u8]) {
        let sftp = Sftp::connect(self.server.address("sftp"), "acme", PASSWORD);
        let mut upload = sftp.create(name).unwrap();
        upload.write(&bytes[..bytes.len() / 2]).unwrap();
        sftp.cut();
        wait_until("the upload to be suspended", || {
            self.server.ledger().iter().any(|row| row.status == "suspended").then_some(())
        });
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.server.home("acme").join(path)
    }

    /// The first photograph: name and bytes.
    fn first(&self) -> (String, Vec<u8>) {
        (self.photographs[0].name.clone(), self.photographs[0].bytes.clone())
    }

    fn script_of_ours(&self, interpreter: &str, script: &str, arguments: &[&str]) {
        let script = repository().join("tests/clients").join(script);
        self.run(interpreter, &[&[script.to_str().unwrap()], arguments].concat());
    }
}

fn dress(path: &Path, mode: u32) {
    File::options().write(true).open(path).unwrap().set_modified(long_ago()).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(LONG_AGO)
}

/// Bytes, time and mode.
#[track_caller]
fn wears(path: &Path, bytes: &[u8], mode: u32) {
    let facts = std::fs::metadata(path).unwrap();
    assert_eq!((facts.mtime(), facts.mode() & 0o777), (i64::try_from(LONG_AGO).unwrap(), mode), "{}", path.display());
    assert!(std::fs::read(path).unwrap() == bytes, "{}", path.display());
}

fn text(commands: &[&str]) -> Vec<String> {
    commands.iter().map(|command| (*command).to_owned()).collect()
}

#[test]
fn openssh_sftp_commands() {
    let stage = Stage::new(1);
    let (name, bytes) = stage.first();
    dress(&stage.home.path().join("out").join(&name), 0o640);
    std::fs::write(stage.home.path().join("text"), "some text").unwrap();
    let heard = stage.sftp(
        &stage.by_key(),
        &text(&[
            "mkdir d",
            &format!("put -p out/{name} d/a.jpg"),
            "put -f text d/t",
            "df",
            "df -i",
            "ls -l d",
            "ls -la d",
            "-ln d/a.jpg d/b.jpg",
            "-ln -s d/a.jpg d/b.jpg",
            "cp d/a.jpg d/c.jpg",
            "rename d/a.jpg d/e.jpg",
            "chmod 600 d/e.jpg",
            &format!("get -p d/e.jpg back/{name}"),
            "rm d/t",
            "-rmdir d",
            "mkdir x",
            "rmdir x",
        ]),
    );
    for expected in ["Avail", "Inodes", "acme", " d/t", " d/..", "-rw-r-----"] {
        assert!(heard.stdout.contains(expected), "{expected} is missing in {}", heard.text());
    }
    for refused in ["hardlink", "symlink", "d\": Failure"] {
        assert!(heard.stderr.contains(refused), "{refused} is missing in {}", heard.stderr);
    }
    wears(&stage.on_disk("d/e.jpg"), &bytes, 0o600);
    wears(&stage.home.path().join("back").join(&name), &bytes, 0o600);
    assert!(std::fs::read(stage.on_disk("d/c.jpg")).unwrap() == bytes);
    assert_eq!(std::fs::read_dir(stage.on_disk("d")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(stage.on_disk("")).unwrap().count(), 1);
    let landed = stage.server.landed();
    let receipts: Vec<_> = landed.iter().map(|row| (row.path.as_str(), row.sha256.clone().unwrap())).collect();
    let digest = || sha256(&bytes);
    assert_eq!(receipts, [("/d/a.jpg", digest()), ("/d/t", sha256(b"some text")), ("/d/c.jpg", digest())]);
}

#[test]
fn openssh_sftp_resume() {
    let stage = Stage::new(1);
    let (name, bytes) = stage.first();
    stage.suspend(&name, &bytes);
    std::fs::write(stage.home.path().join("back").join(&name), &bytes[..bytes.len() / 3]).unwrap();
    let commands = [format!("reput out/{name} {name}"), format!("reget {name} back/{name}")];
    stage.sftp(&stage.by_key(), &commands);
    stage.check("sftp");
}

#[test]
fn openssh_sftp_many() {
    let count = 1_000;
    let stage = Stage::new(0);
    let folder = stage.home.path().join("many");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..count {
        std::fs::write(folder.join(format!("{number:05}")), number.to_string()).unwrap();
    }
    stage.sftp(&stage.by_key(), &text(&["put -r many"]));
    for number in 0..count {
        let path = stage.on_disk(&format!("many/{number:05}"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), number.to_string());
    }
    let landed = stage.server.landed();
    assert_eq!(landed.len(), count);
    for row in landed {
        let number: usize = row.path.strip_prefix("/many/").unwrap().parse().unwrap();
        assert_eq!(row.sha256, Some(sha256(number.to_string().as_bytes())));
    }
}

#[test]
fn openssh_scp_tree() {
    let stage = Stage::new(0);
    std::fs::create_dir_all(stage.home.path().join("tree/below")).unwrap();
    for (path, size, mode) in TREE {
        std::fs::write(stage.home.path().join(path), pattern(size)).unwrap();
        dress(&stage.home.path().join(path), mode);
    }
    let (options, port) = (stage.by_key(), stage.server.port("sftp"));
    let scp = |arguments: &[&str]| {
        let options: Vec<_> = ["-P", &port].into_iter().chain(options.iter().map(String::as_str)).collect();
        stage.run("scp", &[&options, arguments].concat())
    };
    scp(&["-rp", "tree", "acme@127.0.0.1:/"]);
    scp(&["-rp", "acme@127.0.0.1:/tree", "back/"]);
    for (path, size, mode) in TREE {
        wears(&stage.on_disk(path), &pattern(size), mode);
        wears(&stage.home.path().join("back").join(path), &pattern(size), mode);
    }
    assert_eq!(stage.server.landed().len(), TREE.len());
    // Without SFTP, as before OpenSSH 9.0, it wants a command to be run.
    let options: Vec<_> = ["-O", "-P", &port].into_iter().chain(options.iter().map(String::as_str)).collect();
    let legacy = stage.try_to("scp", &[&options, &["tree/a.jpg", "acme@127.0.0.1:/legacy"][..]].concat());
    assert!(!legacy.status.success());
    assert!(legacy.stderr.contains("exec request failed"), "{}", legacy.stderr);
    assert!(!stage.on_disk("legacy").exists());
}

#[test]
fn rclone_sftp() {
    let stage = Stage::odd();
    let obscured = tool("rclone", &["obscure", PASSWORD]).ok().stdout;
    let (port, password) = (stage.server.port("sftp"), obscured.trim());
    let remote = ["--sftp-host", "127.0.0.1", "--sftp-port", &port, "--sftp-user", "acme", "--sftp-pass", password];
    let settings = ["--config", "", "--retries", "1", "--transfers", "4"];
    for arguments in [
        // The second compares sizes and times: for digests it wants a shell, which it does not get.
        ["copy", "out", ":sftp:"],
        ["check", "out", ":sftp:"],
        ["check", "--download", "out :sftp:"],
        ["sync", "out", ":sftp:"],
        ["copy", ":sftp:", "back"],
    ] {
        let arguments: Vec<_> = arguments.iter().flat_map(|argument| argument.split(' ')).collect();
        stage.run("rclone", &[&remote, &settings[..], &arguments].concat());
    }
    stage.check("sftp");
}

#[test]
fn lftp_sftp_mirror() {
    let mut stage = Stage::odd();
    let (name, bytes) = ("cut off.jpg".to_owned(), pattern(3_000_000));
    stage.suspend(&name, &bytes);
    let path = stage.home.path().join("out").join(&name);
    stage.add(vec![landfall_tests::Photograph { sha256: sha256(&bytes), name, path, bytes }]);
    stage.lftp(
        &format!("sftp://127.0.0.1:{}", stage.server.port("sftp")),
        "",
        "put -c \"out/cut off.jpg\"; mirror -R --parallel=8 out /; mirror --parallel=8 / back",
    );
    stage.check("sftp");
}

#[test]
fn putty_psftp() {
    let stage = Stage::new(3);
    let (name, bytes) = stage.first();
    stage.suspend(&name, &bytes);
    let port = stage.server.port("sftp");
    let keys = tool("ssh-keyscan", &["-p", &port, "-t", "ed25519", "127.0.0.1"]).ok().stdout;
    std::fs::write(stage.home.path().join("keys"), keys).unwrap();
    let fingerprint = stage.run("ssh-keygen", &["-l", "-f", "keys"]).stdout;
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    let mut commands = vec![format!("reput out/{name} {name}")];
    commands.extend(stage.names()[1..].iter().map(|name| format!("put out/{name} d-{name}\nren d-{name} {name}")));
    commands.extend(text(&["mkdir d", "ls", "rmdir d", &format!("chmod 600 {name}")]));
    commands.extend(stage.names().iter().map(|name| format!("get {name} back/{name}")));
    std::fs::write(stage.home.path().join("commands"), commands.join("\n") + "\n").unwrap();
    let login = ["-batch", "-P", &port, "-pw", PASSWORD, "-hostkey", fingerprint, "-b", "commands", "acme@127.0.0.1"];
    let heard = stage.run("psftp", &login).stdout;
    for name in stage.names() {
        assert!(heard.contains(name), "{name} is not listed in {heard}");
    }
    assert_eq!(std::fs::metadata(stage.on_disk(&name)).unwrap().mode() & 0o777, 0o600);
    for photograph in &stage.photographs {
        for path in [stage.on_disk(&photograph.name), stage.home.path().join("back").join(&photograph.name)] {
            assert!(std::fs::read(&path).unwrap() == photograph.bytes, "{}", path.display());
        }
    }
    assert_eq!(stage.server.landed().len(), stage.photographs.len());
}

#[test]
fn python_paramiko_whole() {
    let stage = Stage::odd();
    stage.python("paramiko_whole.py", &["127.0.0.1", &stage.server.port("sftp"), "acme", PASSWORD]);
    stage.check("sftp");
}

#[test]
fn python_asyncssh() {
    let stage = Stage::odd();
    stage.python("asyncssh_client.py", &["127.0.0.1", &stage.server.port("sftp"), "acme", PASSWORD]);
    stage.check("sftp");
}

#[test]
fn perl_net_sftp_foreign() {
    let stage = Stage::odd();
    let key = stage.server.add_key("acme");
    let port = stage.server.port("sftp");
    stage.script_of_ours("perl", "net_sftp_foreign.pl", &["127.0.0.1", &port, "acme", key.to_str().unwrap()]);
    stage.check("sftp");
}

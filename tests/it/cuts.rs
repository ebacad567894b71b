//! Pull the plug on the client: SIGKILL in the middle of an upload, on each protocol. Nothing is published; the owner,
//! and nobody else, sees what is held; the same client goes on from there, and what lands is what was meant.

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_tests::{Ftp, Run, Server, Watcher, pattern, repository, sha256, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

const PASSWORD: &str = "secret-of-acme";
const NAME: &str = "raw.tif";
const LENGTH: usize = 2_500_000;

struct Stage {
    server: Server,
    home: TempDir,
    bytes: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let server = Server::start();
        // A second supplier who shares the folder: sees what landed there, and never what is suspended.
        let other = ["user", "add", "neighbour", "--password-stdin", "--home", "/acme"];
        server.cli_with(&other, "secret-of-neighbour").ok();
        let stage = Self { server, home: TempDir::new().unwrap(), bytes: pattern(LENGTH) };
        std::fs::write(stage.home.path().join(NAME), &stage.bytes).unwrap();
        stage
    }

    fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(self.home.path()).env("HOME", self.home.path());
        command
    }

    fn held(&self, user: &str, password: &str) -> Option<usize> {
        let mut ftp = Ftp::connect(self.server.address("ftp"));
        ftp.login(user, password).expect(230);
        ftp.command("TYPE I").expect(200);
        ftp.command(&format!("SIZE {NAME}")).text.strip_prefix("213 ")?.parse().ok()
    }

    fn suspended(&self) -> bool {
        let rows = self.server.ledger();
        let status = rows.iter().find(|row| row.path == format!("/{NAME}")).map(|row| row.status.as_str());
        assert_ne!(status, Some("landed"), "an upload landed whose client was killed in the middle of it");
        status == Some("suspended")
    }

    /// The whole story, with two command lines of one client: a slow upload, and how it goes on.
    fn story(&self, slow: &mut Command, resume: &mut Command, input: &str) {
        let watcher = Watcher::start(&self.server.files());
        let client = Run::with_input(slow, input.as_bytes());
        wait_until("bytes to arrive", || self.held("acme", PASSWORD).filter(|held| *held > 0));
        client.signal(Signal::KILL);
        drop(client);
        wait_until("the upload to be suspended", || self.suspended().then_some(()));

        let held = self.held("acme", PASSWORD).expect("its owner sees what is held");
        assert!(held > 0 && held < LENGTH, "{held} of {LENGTH} bytes are held");
        assert_eq!(self.held("neighbour", "secret-of-neighbour"), None, "somebody else sees it");
        watcher.rounds(1);
        assert!(!self.path().exists(), "it was published");
        assert!(self.server.landed().is_empty());

        Run::with_input(resume, input.replace("put ", "reput ").as_bytes()).outcome().ok();
        assert!(std::fs::read(self.path()).unwrap() == self.bytes, "other bytes landed than were meant");
        watcher.rounds(1);
        let whole = (PathBuf::from("acme").join(NAME), LENGTH as u64, sha256(&self.bytes));
        assert_eq!(watcher.sights().into_iter().collect::<Vec<_>>(), [whole]);
        let landed = self.server.landed();
        assert_eq!(landed.len(), 1, "{landed:?}");
        assert_eq!(landed[0].sha256.as_deref(), Some(sha256(&self.bytes).as_str()));
        assert_eq!(self.server.ledger(), landed, "something is left of the upload that was cut");
    }

    fn path(&self) -> PathBuf {
        self.server.home("acme").join(NAME)
    }

    fn curl(&self, options: &[&str], url: &str) {
        let login = format!("acme:{PASSWORD}");
        let common = ["-sS", "--insecure", "-u", &login, "-T", NAME];
        let slow = [&common[..], options, &["--limit-rate", "400k", url]].concat();
        let resume = [&common[..], options, &["-C", "-", url]].concat();
        self.story(&mut self.command("curl", &slow), &mut self.command("curl", &resume), "");
    }

    fn lftp(&self, settings: &str) {
        let script = |rate: &str, put: &str| {
            format!(
                "set cmd:fail-exit yes; set ssl:verify-certificate no; set net:max-retries 2; {settings}; {rate}; \
                 open -u acme,{PASSWORD} ftp://127.0.0.1:{}; {put} {NAME}; bye",
                self.server.port("ftp")
            )
        };
        let slow = script("set net:limit-rate 0:400000", "put");
        let resume = script("set net:limit-rate 0:0", "put -c");
        self.story(
            &mut self.command("lftp", &["--norc", "-c", &slow]),
            &mut self.command("lftp", &["--norc", "-c", &resume]),
            "",
        );
    }

    fn python(&self, script: &str, mode: &str, port: &str) {
        let python = repository().join("target/fixtures/venv/bin/python");
        let script = repository().join("tests/clients").join(script);
        let arguments = |verb| [script.to_str().unwrap(), verb, mode, "127.0.0.1", port, "acme", PASSWORD, ".", NAME];
        self.story(
            &mut self.command(&python, &arguments("crawl")),
            &mut self.command(&python, &arguments("resume")),
            "",
        );
    }
}

#[test]
fn curl_over_ftp() {
    let stage = Stage::new();
    stage.curl(&[], &format!("ftp://127.0.0.1:{}/", stage.server.port("ftp")));
}

#[test]
fn curl_over_explicit_ftps() {
    let stage = Stage::new();
    stage.curl(&["--ssl-reqd"], &format!("ftp://127.0.0.1:{}/", stage.server.port("ftp")));
}

#[test]
fn curl_over_implicit_ftps() {
    let stage = Stage::new();
    stage.curl(&[], &format!("ftps://127.0.0.1:{}/", stage.server.port("ftps")));
}

#[test]
fn lftp_over_ftp() {
    Stage::new().lftp("set ftp:ssl-allow no");
}

#[test]
fn lftp_over_explicit_ftps() {
    Stage::new().lftp("set ftp:ssl-force yes; set ftp:ssl-protect-data yes");
}

#[test]
fn openssh_sftp() {
    let stage = Stage::new();
    let (port, key) = (stage.server.port("sftp"), stage.server.add_key("acme"));
    let common = [
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
        "-oIdentityAgent=none",
        "-i",
        key.to_str().unwrap(),
        "-P",
        &port,
    ];
    // Kilobits per second.
    let slow = [&common[..], &["-l", "4000", "-b", "-", "acme@127.0.0.1"]].concat();
    let resume = [&common[..], &["-b", "-", "acme@127.0.0.1"]].concat();
    stage.story(&mut stage.command("sftp", &slow), &mut stage.command("sftp", &resume), &format!("put {NAME}\n"));
}

#[test]
fn ftplib() {
    let stage = Stage::new();
    stage.python("ftplib_client.py", "clear", &stage.server.port("ftp"));
}

#[test]
fn ftplib_tls() {
    let stage = Stage::new();
    stage.python("ftplib_client.py", "tls", &stage.server.port("ftp"));
}

#[test]
fn paramiko() {
    let stage = Stage::new();
    stage.python("paramiko_client.py", "password", &stage.server.port("sftp"));
}

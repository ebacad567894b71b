//! Ways into SSH, with the OpenSSH client: keys, certificates, several factors in a row, codes. What it asks its user is
//! answered by a program of ours (SSH_ASKPASS), which writes down what was asked.

mod certificates;
mod codes;
mod factors;
mod tokens;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_tests::{Outcome, Run, Server, tool};
use tempfile::TempDir;

const PASSWORD: &str = "secret-of-acme";

/// A user of OpenSSH's client, with a directory for keys.
struct Person {
    directory: TempDir,
}

/// What a login came to.
struct Attempted {
    outcome: Outcome,
    /// What the client asked, one line a question.
    asked: Vec<String>,
}

impl Attempted {
    fn came_in(&self) -> bool {
        self.outcome.status.success()
    }
}

impl Person {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let ask = directory.path().join("ask");
        // Answers are files of their own: `1` to the first question, `2` to the second.
        let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\" && echo \"$1\" >>asked && cat \"answer-$(wc -l <asked)\"\n";
        std::fs::write(&ask, script).unwrap();
        std::fs::set_permissions(&ask, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a key pair; the private half's path.
    fn key(&self, name: &str, kind: &[&str]) -> PathBuf {
        let path = self.path(name);
        let made = [&["-q", "-N", "", "-C", name, "-f", path.to_str().unwrap(), "-t"], kind].concat();
        tool("ssh-keygen", &made).ok();
        path
    }

    /// Logs in over SFTP, to the user `acme`, and asks where it is.
    fn log_in(&self, server: &Server, options: &[&str], answers: &[&str]) -> Attempted {
        self.log_in_as("acme", server, options, answers)
    }

    fn log_in_as(&self, user: &str, server: &Server, options: &[&str], answers: &[&str]) -> Attempted {
        let asked = self.path("asked");
        drop(std::fs::remove_file(&asked));
        for number in 1..4_usize {
            let path = self.path(&format!("answer-{number}"));
            match answers.get(number - 1) {
                Some(answer) => std::fs::write(path, format!("{answer}\n")).unwrap(),
                None => drop(std::fs::remove_file(path)),
            }
        }
        let fixed = [
            "-oBatchMode=no",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oNumberOfPasswordPrompts=1",
            "-F",
            "none",
        ];
        let port = server.port("sftp");
        let to = format!("{user}@127.0.0.1");
        let mut command = Command::new("sftp");
        // The first value of an option counts: what is asked for comes before what is usual.
        command.args(options).args(fixed).args(["-oIdentityAgent=none", "-P", &port, "-b", "-", &to]);
        command.env("SSH_ASKPASS", self.path("ask")).env("SSH_ASKPASS_REQUIRE", "force").env_remove("SSH_AUTH_SOCK");
        let outcome = Run::with_input(&mut command, b"pwd\n").outcome();
        let asked = std::fs::read_to_string(asked).unwrap_or_default().lines().map(str::to_owned).collect();
        Attempted { outcome, asked }
    }
}

/// The one way in: this key, nothing typed.
fn by_key(key: &Path) -> [String; 4] {
    let identity = format!("-oIdentityFile={}", key.display());
    ["-oIdentitiesOnly=yes", "-oPreferredAuthentications=publickey", "-oPasswordAuthentication=no", &identity]
        .map(str::to_owned)
}

fn shown(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// The text of a public key.
fn public(key: &Path) -> String {
    std::fs::read_to_string(key.with_extension("pub")).unwrap().trim().to_owned()
}

const KINDS: [(&str, &[&str]); 5] = [
    ("ed25519", &["ed25519"]),
    ("p256", &["ecdsa", "-b", "256"]),
    ("p384", &["ecdsa", "-b", "384"]),
    ("p521", &["ecdsa", "-b", "521"]),
    ("rsa", &["rsa", "-b", "2048"]),
];

#[test]
fn keys_of_every_kind_open_the_door() {
    let (server, person) = (Server::start(), Person::new());
    for (name, kind) in KINDS {
        let key = person.key(name, kind);
        let refused = person.log_in(&server, &shown(&by_key(&key)), &[]);
        assert!(!refused.came_in(), "{name}: nobody knows it yet");
        server.cli(&["key", "add", "acme", key.with_extension("pub").to_str().unwrap()]).ok();
        person.log_in(&server, &shown(&by_key(&key)), &[]).outcome.ok();
    }
    // With SHA-1 an RSA key opens nothing.
    let mut options = by_key(&person.path("rsa")).to_vec();
    options.push("-oPubkeyAcceptedAlgorithms=ssh-rsa".to_owned());
    assert!(!person.log_in(&server, &shown(&options), &[]).came_in());
}

#[test]
fn a_text_before_the_login() {
    let banner = "Acme Ltd.\\n\\tGuests: grüß Gott 😀";
    let server = Server::builder().set("sftp.banner", &format!("\"{banner}\"")).start();
    server.add_user("acme", PASSWORD);
    let by_password = ["-oPubkeyAuthentication=no", "-oPreferredAuthentications=password"];
    let attempted = Person::new().log_in(&server, &by_password, &[PASSWORD]);
    let text = attempted.outcome.ok().stderr;
    assert!(text.contains("Acme Ltd.\r\n\tGuests: grüß Gott 😀\r\n"), "{text:?}");
    let wrong = Server::builder().set("sftp.banner", "\"\\u001B[2J\"").prepare(server.directory());
    assert!(wrong.cli(&["config", "check"]).stderr.contains("sftp.banner"));
}

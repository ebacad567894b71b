//! Real clients, as people call them: each sends files, fetches them back, and is compared with the disk and the ledger.
//! `tests/CLIENTS.md` lists them all.

mod ftp;
mod judge;
mod listings;
mod mount;
mod replayed;
mod replayed_sftp;
mod sftp;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use landfall_tests::{Outcome, Photograph, Run, Server, pattern, photographs, repository, sha256};
use tempfile::TempDir;

const PASSWORD: &str = "secret-of-acme";

/// Names that people give their files, and sizes that they have.
fn odd_files() -> Vec<(String, Vec<u8>)> {
    let names = ["two words.jpg", "größe 😀 [1] {2} #%&;'.jpg", "-dash.jpg", &format!("{}.jpg", "n".repeat(251)), "Ω"];
    let mut files: Vec<_> = names.iter().zip(1..).map(|(name, size)| ((*name).to_owned(), pattern(size))).collect();
    files.push(("empty.txt".to_owned(), Vec::new()));
    files.push(("one MiB and a byte.bin".to_owned(), pattern(1024 * 1024 + 1)));
    files
}

/// A server, some photographs, and a home for the client.
struct Stage {
    server: Server,
    photographs: Vec<Photograph>,
    home: TempDir,
}

impl Stage {
    fn new(count: usize) -> Self {
        let mut stage = Self { server: Server::start(), photographs: Vec::new(), home: TempDir::new().unwrap() };
        for folder in ["out", "back"] {
            std::fs::create_dir(stage.home.path().join(folder)).unwrap();
        }
        stage.add(photographs().into_iter().take(count).collect());
        stage
    }

    /// Two photographs and the odd files.
    fn odd() -> Self {
        let mut stage = Self::new(2);
        let file = |(name, bytes): (String, Vec<u8>)| {
            let path = stage.home.path().join("out").join(&name);
            Photograph { sha256: sha256(&bytes), name, path, bytes }
        };
        let files = odd_files().into_iter().map(file).collect();
        stage.add(files);
        stage
    }

    fn add(&mut self, files: Vec<Photograph>) {
        for file in files {
            std::fs::write(self.home.path().join("out").join(&file.name), &file.bytes).unwrap();
            self.photographs.push(file);
        }
    }

    /// Runs a program in the client's home.
    fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        self.feed(program, arguments, "")
    }

    /// The same with something on stdin.
    fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.home.path()).env("HOME", self.home.path());
        Run::with_input(&mut command, input.as_bytes()).outcome().ok()
    }

    fn names(&self) -> Vec<&str> {
        self.photographs.iter().map(|photograph| photograph.name.as_str()).collect()
    }

    /// `out/a,out/b` and so on.
    fn joined(&self, before: &str, between: &str) -> String {
        self.names().iter().map(|name| format!("{before}{name}")).collect::<Vec<_>>().join(between)
    }

    fn back(&self) -> &Path {
        self.home.path()
    }

    /// Everything stands on disk, in the client's `back` folder and in the ledger, and nothing else does.
    fn check(&self, protocol: &str) {
        let mut landed: Vec<_> = self.server.landed();
        landed.sort_by(|a, b| a.path.cmp(&b.path));
        let mut expected = self.photographs.clone();
        expected.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(landed.len(), expected.len(), "{landed:?}");
        for (row, photograph) in landed.iter().zip(&expected) {
            assert_eq!(row.path.trim_start_matches('/'), photograph.name);
            assert_eq!(row.sha256.as_deref(), Some(photograph.sha256.as_str()), "{}", photograph.name);
            assert_eq!((row.size, row.protocol.as_str()), (photograph.bytes.len() as u64, protocol));
            let on_disk = std::fs::read(self.server.home("acme").join(&photograph.name)).unwrap();
            assert!(on_disk == photograph.bytes, "{} on disk", photograph.name);
            let back = std::fs::read(self.back().join("back").join(&photograph.name)).unwrap();
            assert!(back == photograph.bytes, "{} fetched back", photograph.name);
        }
    }

    fn curl(&self, options: &[&str], base: &str) {
        let login = format!("acme:{PASSWORD}");
        let common = ["-sS", "--fail", "--insecure", "-u", &login];
        let out = format!("{{{}}}", self.joined("out/", ","));
        self.run("curl", &[&common, options, &["-T", &out, base]].concat());
        let url = format!("{base}{{{}}}", self.joined("", ","));
        self.run("curl", &[&common, options, &["-o", "back/#1", &url]].concat());
    }

    fn lftp(&self, url: &str, settings: &str, commands: &str) {
        let script = format!(
            "set cmd:fail-exit yes; set net:max-retries 2; set net:timeout 30; set ssl:verify-certificate no; \
             set sftp:auto-confirm yes; set sftp:connect-program \"ssh -a -x -oUserKnownHostsFile=/dev/null \
             -oStrictHostKeyChecking=no\"; {settings}; open -u acme,{PASSWORD} {url}; {commands}; bye"
        );
        self.run("lftp", &["--norc", "-c", &script]);
    }

    fn lftp_mput(&self, url: &str, settings: &str) {
        let puts = self.joined("out/", " ");
        let gets = self.joined("", " ");
        self.lftp(url, settings, &format!("mput {puts}; lcd back; mget {gets}"));
    }

    fn sftp_script(&self) -> String {
        let lines = |verb: &str, from: &str, to: &str| {
            self.names()
                .into_iter()
                .map(|name| [verb, " ", from, name, " ", to, name, "\n"].concat())
                .collect::<Vec<_>>()
                .concat()
        };
        lines("put", "out/", "") + &lines("get", "", "back/")
    }

    fn python(&self, script: &str, arguments: &[&str]) {
        let python = repository().join("target/fixtures/venv/bin/python");
        let script = repository().join("tests/clients").join(script);
        let (python, script) = (python.to_str().unwrap(), script.to_str().unwrap());
        self.run(python, &[&[script], arguments].concat());
    }

    fn python_round_trip(&self, script: &str, mode: &str, port: &str, secret: &str) {
        for (verb, folder) in [("put", "out"), ("get", "back")] {
            let arguments = [verb, mode, "127.0.0.1", port, "acme", secret, folder];
            self.python(script, &[&arguments[..], &self.names()].concat());
        }
    }

    fn readme_script(&self, script: &str, port: &str) {
        self.python(script, &["127.0.0.1", port, "acme", PASSWORD, "out"]);
        self.no_way_back();
    }

    /// For what only sends: takes the files from the disk.
    fn no_way_back(&self) {
        for photograph in &self.photographs {
            let landed = self.server.home("acme").join(&photograph.name);
            std::fs::copy(landed, self.home.path().join("back").join(&photograph.name)).unwrap();
        }
    }

    /// A listing names all files and no other.
    fn lists_all(&self, listing: &str) {
        assert_eq!(listing.lines().collect::<BTreeSet<_>>(), self.names().into_iter().collect());
    }
}

const SSH: [&str; 4] =
    ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR", "-oIdentityAgent=none"];
const BY_PASSWORD: [&str; 2] = ["-oPubkeyAuthentication=no", "-oPreferredAuthentications=password"];

#[test]
fn curl_ftp() {
    let stage = Stage::new(4);
    stage.curl(&[], &format!("ftp://127.0.0.1:{}/", stage.server.port("ftp")));
    stage.check("ftp");
}

#[test]
fn curl_ftps_explicit() {
    let stage = Stage::new(4);
    stage.curl(&["--ssl-reqd"], &format!("ftp://127.0.0.1:{}/", stage.server.port("ftp")));
    stage.check("ftps");
}

#[test]
fn curl_ftps_implicit() {
    let stage = Stage::new(4);
    stage.curl(&[], &format!("ftps://127.0.0.1:{}/", stage.server.port("ftps")));
    stage.check("ftps");
}

#[test]
fn curl_sftp() {
    let version = landfall_tests::tool("curl", &["--version"]).ok().stdout;
    let speaks_sftp = version.lines().any(|line| line.starts_with("Protocols:") && line.contains(" sftp"));
    if !speaks_sftp {
        eprintln!("curl_sftp: this curl is built without SFTP");
        return;
    }
    let stage = Stage::new(4);
    stage.curl(&[], &format!("sftp://127.0.0.1:{}/", stage.server.port("sftp")));
    stage.check("sftp");
}

#[test]
fn lftp_put() {
    let stage = Stage::new(4);
    stage.lftp_mput(&format!("ftp://127.0.0.1:{}", stage.server.port("ftp")), "set ftp:ssl-allow no");
    stage.check("ftp");
}

#[test]
fn lftp_put_tls() {
    let stage = Stage::new(4);
    let settings = "set ftp:ssl-force yes; set ftp:ssl-protect-data yes";
    stage.lftp_mput(&format!("ftp://127.0.0.1:{}", stage.server.port("ftp")), settings);
    stage.check("ftps");
}

#[test]
fn lftp_mirror() {
    let mut stage = Stage::odd();
    stage.add(photographs().split_off(2));
    let url = format!("ftp://127.0.0.1:{}", stage.server.port("ftp"));
    stage.lftp(
        &url,
        "set ftp:ssl-force yes; set ftp:ssl-protect-data yes",
        "mirror -R --parallel=8 out /; mirror --parallel=8 / back",
    );
    stage.check("ftps");
}

#[test]
fn lftp_sftp() {
    let stage = Stage::new(4);
    stage.lftp_mput(&format!("sftp://127.0.0.1:{}", stage.server.port("sftp")), "");
    stage.check("sftp");
}

#[test]
fn openssh_sftp_password() {
    let stage = Stage::new(6);
    let port = stage.server.port("sftp");
    // BatchMode comes before -b, which would switch it on: the password comes from sshpass.
    let arguments = [
        &["-p", PASSWORD, "sftp", "-oBatchMode=no"],
        &SSH[..],
        &BY_PASSWORD,
        &["-P", &port, "-b", "-", "acme@127.0.0.1"],
    ];
    stage.feed("sshpass", &arguments.concat(), &stage.sftp_script());
    stage.check("sftp");
}

#[test]
fn openssh_sftp_key() {
    let stage = Stage::new(6);
    let (port, key) = (stage.server.port("sftp"), stage.server.add_key("acme"));
    let identity = ["-oIdentitiesOnly=yes", "-i", key.to_str().unwrap()];
    stage.feed(
        "sftp",
        &[&SSH[..], &identity, &["-P", &port, "-b", "-", "acme@127.0.0.1"]].concat(),
        &stage.sftp_script(),
    );
    stage.check("sftp");
}

#[test]
fn openssh_scp() {
    let stage = Stage::new(6);
    let port = stage.server.port("sftp");
    let scp = [&["-p", PASSWORD, "scp", "-q", "-s"], &SSH[..], &BY_PASSWORD, &["-P", &port]].concat();
    let out: Vec<String> = stage.names().iter().map(|name| format!("out/{name}")).collect();
    let out: Vec<&str> = out.iter().map(String::as_str).collect();
    stage.run("sshpass", &[&scp[..], &out, &["acme@127.0.0.1:/"]].concat());
    // One by one: each remote source is a connection of its own, and sshpass answers once.
    for name in stage.names() {
        stage.run("sshpass", &[&scp[..], &[&format!("acme@127.0.0.1:/{name}"), "back/"]].concat());
    }
    stage.check("sftp");
}

#[test]
fn python_ftplib() {
    let stage = Stage::new(4);
    stage.python_round_trip("ftplib_client.py", "clear", &stage.server.port("ftp"), PASSWORD);
    stage.check("ftp");
}

#[test]
fn python_ftplib_tls() {
    let stage = Stage::new(4);
    stage.python_round_trip("ftplib_client.py", "tls", &stage.server.port("ftp"), PASSWORD);
    stage.check("ftps");
}

#[test]
fn python_paramiko_password() {
    let stage = Stage::new(4);
    stage.python_round_trip("paramiko_client.py", "password", &stage.server.port("sftp"), PASSWORD);
    stage.check("sftp");
}

#[test]
fn python_paramiko_key() {
    let stage = Stage::new(4);
    let key = stage.server.add_key("acme");
    stage.python_round_trip("paramiko_client.py", "key", &stage.server.port("sftp"), key.to_str().unwrap());
    stage.check("sftp");
}

#[test]
fn readme_script_ftp() {
    let stage = Stage::new(usize::MAX);
    stage.readme_script("push_ftp.py", &stage.server.port("ftp"));
    stage.check("ftp");
}

#[test]
fn readme_script_sftp() {
    let stage = Stage::new(usize::MAX);
    stage.readme_script("push_sftp.py", &stage.server.port("sftp"));
    stage.check("sftp");
}

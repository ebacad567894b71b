//! The first start without any configuration: it serves, and what it prints can be pasted.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use landfall_tests::{Run, Server, photographs, wait_until};
use tempfile::TempDir;

/// The file that the printed lines send.
const PHOTOGRAPH: &str = "photo.jpg";

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn what_the_first_start_prints_can_be_pasted() {
    let place = TempDir::new().unwrap();
    // Nothing but the ports is set: the usual ones may be taken on the machine that runs the tests.
    let (ftp, sftp, http) = (free_port(), free_port(), free_port());
    let bare = Server::builder().prepare(TempDir::new().unwrap().into());
    let mut serve = bare.command(&["serve"]);
    serve.env_remove("LANDFALL_CONFIG").current_dir(place.path());
    serve.env("LANDFALL_FTP__LISTEN", format!("127.0.0.1:{ftp}"));
    serve.env("LANDFALL_FTP__PASSIVE_PORTS", "0-0");
    serve.env("LANDFALL_SFTP__LISTEN", format!("127.0.0.1:{sftp}"));
    serve.env("LANDFALL_HTTP__LISTEN", format!("127.0.0.1:{http}"));
    let printed = place.path().join("printed");
    let out = std::fs::File::create(&printed).unwrap();
    serve.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    let _server = Killed(serve.spawn().unwrap());

    let text = wait_until("the lines to paste", || {
        let text = std::fs::read_to_string(&printed).unwrap();
        text.contains("landfall user add").then_some(text)
    });
    let password = password(&text);
    std::fs::write(place.path().join(PHOTOGRAPH), &photographs()[0].bytes).unwrap();
    for program in ["curl", "lftp", "sftp"] {
        let lines: Vec<_> =
            text.lines().map(str::trim).filter(|line| line.starts_with(&format!("{program} "))).collect();
        assert!(!lines.is_empty(), "no line for {program}:\n{text}");
        for line in lines {
            paste(line, &password, place.path());
        }
    }
    let files = place.path().join("landfall-data/files");
    let mut landed = Vec::new();
    for home in std::fs::read_dir(&files).unwrap().flatten() {
        landed.extend(std::fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.path()));
    }
    assert!(!landed.is_empty(), "nothing landed:\n{text}");
    for path in landed {
        assert!(std::fs::read(&path).unwrap() == photographs()[0].bytes, "{}", path.display());
    }
}

/// The password that was printed once.
fn password(text: &str) -> String {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = words.into_iter().find_map(|words| (words.len() == 2 && words[0] == "password").then(|| words[1]));
    found.expect("a line with the password").to_owned()
}

/// Runs a line in a shell, in a folder with the file that it names.
fn paste(line: &str, password: &str, place: &Path) {
    let mut command = Command::new("sh");
    if line.starts_with("sftp ") {
        command = Command::new("sshpass");
        command.args(["-p", password, "sh"]);
    }
    // Nobody is there to say yes to a new host key.
    let careless = "sftp -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null ";
    command.args(["-c", &line.replacen("sftp ", careless, 1)]).current_dir(place).env("HOME", place);
    let outcome = Run::with_input(&mut command, format!("put {PHOTOGRAPH}\nbye\n").as_bytes()).outcome();
    assert!(outcome.status.success(), "{line}\n{}", outcome.text());
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

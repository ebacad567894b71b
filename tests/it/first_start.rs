//! The first start without any configuration: it serves, and what it prints can be pasted.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use landfall_tests::{Run, Server, photographs, wait_until};
use tempfile::TempDir;

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

    let lines = wait_until("the lines to paste", || {
        let text = std::fs::read_to_string(&printed).unwrap();
        let find = |program: &str| {
            text.lines()
                .map(|line| line.trim().trim_start_matches("$ "))
                .find(|line| line.starts_with(&format!("{program} ")))
                .map(str::to_owned)
        };
        Some([find("curl")?, find("lftp")?, find("sftp")?])
    });
    let text = std::fs::read_to_string(&printed).unwrap();
    let password = password(&text);
    for line in &lines {
        paste(line, &password, place.path());
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
    let line = text.lines().find(|line| line.to_lowercase().contains("password")).expect("a password");
    line.split_whitespace().last().unwrap().trim_matches(['"', '\'', ',']).to_owned()
}

/// Runs a line in a shell, in a folder with the file that it names.
fn paste(line: &str, password: &str, place: &std::path::Path) {
    for word in line.split([' ', '"', '\'', ';', '@']).filter(|word| word.ends_with(".jpg") && !word.contains('/')) {
        std::fs::write(place.join(word), &photographs()[0].bytes).unwrap();
    }
    let mut command = if line.starts_with("sftp ") {
        let mut command = Command::new("sshpass");
        command.args(["-p", password, "sh", "-c"]);
        // Nobody is there to say yes to a new host key.
        command.arg(line.replacen("sftp ", "sftp -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null ", 1));
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    };
    command.current_dir(place).env("HOME", place);
    drop(Run::with_input(&mut command, b"put photo.jpg\nbye\n").outcome().ok());
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

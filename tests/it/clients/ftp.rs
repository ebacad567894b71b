//! FTP clients beyond curl, lftp and ftplib, each with the names and sizes that people's files have.

use landfall_tests::{repository, tool};

use super::{PASSWORD, Stage};

impl Stage {
    /// A script of ours for an interpreter: `SCRIPT [clear|tls] HOST PORT USER PASSWORD`.
    fn script(&self, interpreter: &str, script: &str, mode: &[&str]) {
        let script = repository().join("tests/clients").join(script);
        let login = ["127.0.0.1", &self.server.port("ftp"), "acme", PASSWORD];
        self.run(interpreter, &[&[script.to_str().unwrap()], mode, &login].concat());
    }

    /// `rclone`, with everything on the command line.
    pub(super) fn rclone(&self, arguments: &[&str]) -> String {
        let obscured = tool("rclone", &["obscure", PASSWORD]).ok().stdout;
        let (port, password) = (self.server.port("ftp"), obscured.trim());
        let remote = ["--ftp-host", "127.0.0.1", "--ftp-port", &port, "--ftp-user", "acme", "--ftp-pass", password];
        let settings = ["--config", "", "--retries", "1", "--transfers", "4"];
        self.run("rclone", &[&remote, &settings[..], arguments].concat()).stdout
    }

    fn rclone_round_trip(&self, settings: &[&str]) {
        for arguments in [
            ["copy", "out", ":ftp:"],
            ["check", "--download", "out :ftp:"],
            ["sync", "out", ":ftp:"],
            ["copy", ":ftp:", "back"],
        ] {
            let arguments: Vec<_> = arguments.iter().flat_map(|argument| argument.split(' ')).collect();
            self.rclone(&[settings, &arguments].concat());
        }
    }
}

#[test]
fn ncftp() {
    let stage = Stage::odd();
    let port = stage.server.port("ftp");
    let login = ["-u", "acme", "-p", PASSWORD, "-P", &port];
    let out: Vec<_> = stage.names().iter().map(|name| format!("out/{name}")).collect();
    let out: Vec<_> = out.iter().map(String::as_str).collect();
    stage.run("ncftpput", &[&["-V"], &login[..], &["127.0.0.1", "/"], &out].concat());
    stage.lists_all(&stage.run("ncftpls", &[&["-1"], &login[..], &["ftp://127.0.0.1/"]].concat()).stdout);
    stage.run("ncftpget", &[&["-V"], &login[..], &["127.0.0.1", "back", "/*"]].concat());
    stage.check("ftp");
}

#[test]
fn tnftp() {
    let stage = Stage::odd();
    let commands = ["prompt off", "lcd out", "mput *", "lcd ../back", "mget *", "nlist . ../names", "bye"];
    let login = format!("open 127.0.0.1 {}\nuser acme {PASSWORD}\n", stage.server.port("ftp"));
    stage.feed("tnftp", &["-n", "-v"], &(login + &commands.join("\n") + "\n"));
    stage.lists_all(&std::fs::read_to_string(stage.home.path().join("names")).unwrap().replace("./", ""));
    stage.check("ftp");
}

/// Text goes up and comes down as text: on the disk its lines end as they do here.
#[test]
fn tnftp_text() {
    let stage = Stage::new(0);
    let text = "eins\nzwei\n\ndrei ohne Ende";
    std::fs::write(stage.home.path().join("text"), text).unwrap();
    let login = format!("open 127.0.0.1 {}\nuser acme {PASSWORD}\n", stage.server.port("ftp"));
    let heard = stage.feed("tnftp", &["-n", "-v"], &(login + "ascii\nput text\nget text back/text\nbye\n")).stdout;
    assert!(heard.contains("200 TYPE A") || heard.contains("Landed as /text: 23 bytes"), "{heard}");
    for path in [stage.server.home("acme").join("text"), stage.home.path().join("back/text")] {
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }
}

/// In clear: its TLS takes the session ticket of TLS 1.3 for an error, whatever the server.
#[test]
fn wput() {
    let stage = Stage::odd();
    let url = format!("ftp://acme:{PASSWORD}@127.0.0.1:{}/", stage.server.port("ftp"));
    let out: Vec<_> = stage.names().iter().map(|name| format!("out/{name}")).collect();
    let out: Vec<_> = out.iter().map(String::as_str).collect();
    stage.run("wput", &[&["-nv", "--disable-tls", "-t", "1", "--basename=out/"], &out[..], &[&url]].concat());
    stage.no_way_back();
    stage.check("ftp");
}

#[test]
fn busybox() {
    let stage = Stage::odd();
    let port = stage.server.port("ftp");
    for name in stage.names() {
        let login = ["-u", "acme", "-p", PASSWORD, "-P", &port, "--", "127.0.0.1"];
        stage.run("busybox", &[&["ftpput"], &login[..], &[name, &format!("out/{name}")]].concat());
        stage.run("busybox", &[&["ftpget"], &login[..], &[&format!("back/{name}"), name]].concat());
    }
    stage.check("ftp");
}

#[test]
fn rclone() {
    let stage = Stage::odd();
    stage.rclone_round_trip(&[]);
    stage.check("ftp");
}

#[test]
fn rclone_tls() {
    let stage = Stage::odd();
    stage.rclone_round_trip(&["--ftp-explicit-tls", "--ftp-no-check-certificate"]);
    stage.check("ftps");
}

#[test]
fn python_aioftp() {
    let stage = Stage::odd();
    stage.python("aioftp_client.py", &["127.0.0.1", &stage.server.port("ftp"), "acme", PASSWORD]);
    stage.check("ftp");
}

#[test]
fn perl_net_ftp() {
    let stage = Stage::odd();
    stage.script("perl", "net_ftp.pl", &["clear"]);
    stage.check("ftp");
}

#[test]
fn perl_net_ftp_tls() {
    let stage = Stage::odd();
    stage.script("perl", "net_ftp.pl", &["tls"]);
    stage.check("ftps");
}

#[test]
fn php() {
    let stage = Stage::odd();
    stage.script("php", "ftp_functions.php", &["clear"]);
    stage.check("ftp");
}

#[test]
fn php_tls() {
    let stage = Stage::odd();
    stage.script("php", "ftp_functions.php", &["tls"]);
    stage.check("ftps");
}

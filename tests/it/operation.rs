//! A server in an operator's hands: start, stop, reload, backup, and what must not work.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use landfall_tests::{Ftp, Run, Server, Sftp, pattern, sha256, tool, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

const PASSWORD: &str = "secret-of-acme";

fn login(server: &Server) -> Ftp {
    let mut ftp = Ftp::connect(server.address("ftp"));
    ftp.login("acme", PASSWORD).expect(230);
    ftp
}

fn host_keys(server: &Server) -> String {
    let port = server.port("sftp");
    let scanned = tool("ssh-keyscan", &["-p", &port, "127.0.0.1"]).ok().stdout;
    let mut keys: Vec<&str> = scanned.lines().filter_map(|line| line.split_once(' ').map(|(_, key)| key)).collect();
    keys.sort_unstable();
    assert!(!keys.is_empty());
    keys.join("\n")
}

#[test]
fn a_restart_keeps_host_key_certificate_users_and_files() {
    let mut server = Server::start();
    login(&server).upload("STOR a.jpg", &pattern(50_000)).expect(226);
    let key = server.add_key("acme");
    let (keys, certificate) = (host_keys(&server), certificate(&server));
    server.stop();
    server.start_again();
    assert_eq!(host_keys(&server), keys);
    assert_eq!(self::certificate(&server), certificate);
    let (bytes, reply) = login(&server).download("RETR a.jpg");
    reply.expect(226);
    assert!(bytes == pattern(50_000));
    assert!(Sftp::connect_key(server.address("sftp"), "acme", &key).get("a.jpg").unwrap() == pattern(50_000));
    assert_eq!(server.landed().len(), 1);
}

fn certificate(server: &Server) -> Vec<u8> {
    let mut ftp = Ftp::connect_implicit(server.address("ftps"));
    ftp.command("NOOP");
    ftp.certificate().expect("a certificate")
}

#[test]
fn sigterm_lets_a_transfer_end_and_nobody_new_in() {
    let mut server = Server::start();
    let mut ftp = login(&server);
    let mut data = ftp.begin("STOR a.jpg");
    data.write(&pattern(500_000));
    let address = server.address("ftp");
    server.signal(Signal::TERM);
    // New connections are refused at once or turned away with 421; the transfer goes on.
    wait_until("the door to close", || TcpStream::connect(address).map_or(Some(()), |_| turned_away(address)));
    assert!(server.is_running(), "it ended in the middle of a transfer");
    data.write(&pattern(100_000));
    data.finish();
    ftp.reply().expect(226);
    let status = server.wait();
    assert!(status.success(), "{status}");
    let landed = std::fs::read(server.home("acme").join("a.jpg")).unwrap();
    assert_eq!(landed.len(), 600_000);
    server.start_again();
    assert_eq!(server.landed()[0].sha256, Some(sha256(&landed)));
}

fn turned_away(address: std::net::SocketAddr) -> Option<()> {
    matches!(Ftp::try_connect(address)?.greeting().code, 0 | 421).then_some(())
}

#[test]
fn sigterm_ends_idle_sessions() {
    let mut server = Server::start();
    let mut ftp = login(&server);
    server.signal(Signal::TERM);
    let reply = ftp.reply();
    assert!(matches!(reply.code, 0 | 421), "{}", reply.text);
    assert!(server.wait().success());
}

#[test]
fn a_second_signal_cuts_and_what_was_held_can_be_resumed() {
    let mut server = Server::start();
    let mut ftp = login(&server);
    let mut data = ftp.begin("STOR a.jpg");
    data.write(&pattern(500_000));
    server.signal(Signal::TERM);
    let address = server.address("ftp");
    wait_until("the door to close", || TcpStream::connect(address).map_or(Some(()), |_| turned_away(address)));
    assert!(server.is_running());
    server.signal(Signal::TERM);
    server.wait();
    assert!(!server.home("acme").join("a.jpg").exists());

    server.start_again();
    let mut ftp = login(&server);
    ftp.command("TYPE I").expect(200);
    let size = ftp.command("SIZE a.jpg").expect(213).text;
    let held: usize = size.strip_prefix("213 ").unwrap().parse().unwrap();
    assert!(held > 0 && held <= 500_000);
    ftp.command(&format!("REST {held}")).expect(350);
    ftp.upload("STOR a.jpg", &pattern(600_000)[held..]).expect(226);
    assert!(std::fs::read(server.home("acme").join("a.jpg")).unwrap() == pattern(600_000));
}

#[test]
fn sighup_takes_a_new_certificate_and_drops_nobody() {
    let directory = Arc::new(TempDir::new().unwrap());
    let (certificate_file, key_file) = (directory.path().join("certificate.pem"), directory.path().join("key.pem"));
    let first = new_certificate(&certificate_file, &key_file);
    let server = Server::builder()
        .set("tls.certificate", &format!("'{}'", certificate_file.display()))
        .set("tls.key", &format!("'{}'", key_file.display()))
        .start_in(Arc::clone(&directory));
    server.add_user("acme", PASSWORD);
    assert_eq!(certificate(&server), first);
    let mut session = Ftp::connect_explicit(server.address("ftp"), "acme", PASSWORD);
    let second = new_certificate(&certificate_file, &key_file);
    assert_ne!(first, second);
    server.signal(Signal::HUP);
    wait_until("the new certificate", || (certificate(&server) == second).then_some(()));
    session.upload("STOR a.jpg", &pattern(50_000)).expect(226);
}

#[test]
fn sighup_takes_other_files_and_keeps_the_old_certificate_when_they_are_bad() {
    let server = Server::start();
    let place = server.directory().path().to_owned();
    let (certificate_file, key_file) = (place.join("other.pem"), place.join("other.key"));
    let made = new_certificate(&certificate_file, &key_file);
    let own = certificate(&server);
    let config = place.join("landfall.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    let naming = |certificate: &Path| {
        format!("{before}\ntls.certificate = '{}'\ntls.key = '{}'\n", certificate.display(), key_file.display())
    };
    let times = |words: &str| server.log().matches(words).count();

    std::fs::write(place.join("garbage.pem"), "garbage").unwrap();
    std::fs::write(&config, naming(&place.join("garbage.pem"))).unwrap();
    server.signal(Signal::HUP);
    wait_until("the complaint", || (times("garbage.pem") > 0).then_some(()));
    assert!(certificate(&server) == own && times("\"reloaded\"") == 0, "{}", server.log());

    std::fs::write(&config, naming(&certificate_file)).unwrap();
    server.signal(Signal::HUP);
    wait_until("the new certificate", || (certificate(&server) == made).then_some(()));

    // Listeners wait for a restart; going back to what the server runs with is no change of them.
    std::fs::write(&config, before.replacen("sftp.listen = [", "sftp.listen = [\"127.0.0.1:1\", ", 1)).unwrap();
    server.signal(Signal::HUP);
    wait_until("the own certificate", || (certificate(&server) == own).then_some(()));
    wait_until("the warning", || (times("at a restart only") == 1).then_some(()));
    let reloaded = times("\"reloaded\"");
    std::fs::write(&config, before).unwrap();
    server.signal(Signal::HUP);
    wait_until("the reload", || (times("\"reloaded\"") > reloaded).then_some(()));
    assert_eq!(times("at a restart only"), 1, "{}", server.log());
}

#[test]
fn a_fault_in_the_file_does_not_make_a_running_server_unwell() {
    let server = Server::start();
    let _session = login(&server);
    let config = server.directory().path().join("landfall.toml");
    let sound = std::fs::read_to_string(&config).unwrap();
    for broken in [format!("{sound}\nftp.tsl = 1\n"), format!("{sound}\n[oops\n")] {
        std::fs::write(&config, broken).unwrap();
        let outcome = server.cli(&["health"]).ok();
        assert!(outcome.stderr.contains("warning"), "{}", outcome.text());
        let sessions = server.cli(&["sessions", "--json"]).ok().stdout;
        let since = serde_json::from_str::<serde_json::Value>(&sessions).unwrap()[0]["since"].clone();
        let since = since.as_str().unwrap();
        assert!(since.len() == 24 && since.ends_with('Z') && since.contains('T'), "{since}");
        assert_eq!(server.cli(&["user", "list"]).status.code(), Some(1));
    }
}

#[test]
fn a_start_that_fails_says_so_in_the_form_of_the_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let server = Server::builder()
        .set("ftp.implicit_listen", &format!("[\"{address}\"]"))
        .prepare(Arc::new(TempDir::new().unwrap()));
    let failed = server.cli(&["serve"]);
    assert_eq!(failed.status.code(), Some(1));
    let last: serde_json::Value = serde_json::from_str(failed.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains("ftp.implicit_listen"), "{last}");
    let human = server.command(&["serve"]).env("LANDFALL_LOG_FORMAT", "human").output().unwrap();
    assert!(String::from_utf8_lossy(&human.stderr).contains("\nlandfall: cannot listen"));
}

/// Writes a certificate and its key; the certificate's DER.
fn new_certificate(certificate: &Path, key: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["landfall.test".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().to_vec()
}

#[test]
fn a_backup_restored_elsewhere_logs_the_same_people_in() {
    let server = Server::start();
    login(&server).upload("STOR a.jpg", &pattern(50_000)).expect(226);
    let key = server.add_key("acme");
    let keys = host_keys(&server);
    let file = server.directory().path().join("backup.tar");
    let file = file.to_str().unwrap();
    server.cli(&["backup", file]).ok();

    let mut other = Server::builder().prepare(Arc::new(TempDir::new().unwrap()));
    other.cli(&["restore", file]).ok();
    other.start_again();
    assert_eq!(host_keys(&other), keys);
    drop(login(&other));
    drop(Sftp::connect_key(other.address("sftp"), "acme", &key));
    assert_eq!(other.landed().len(), 1);
    // Over a data directory that is in use, nothing is restored.
    assert_eq!(server.cli(&["restore", file]).status.code(), Some(1));
}

#[test]
fn two_servers_do_not_share_a_data_directory() {
    let server = Server::start();
    let second = Server::builder().prepare(server.directory());
    let outcome = Run::start(&mut second.command(&["serve"])).outcome();
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.text());
    assert!(outcome.text().contains("in use") || outcome.text().contains("another"), "{}", outcome.text());
    drop(login(&server));
}

#[test]
fn an_unknown_key_stops_the_start_with_the_nearest_known_name() {
    let server =
        Server::builder().set("ftp.pasive_ports", "\"50000-50009\"").prepare(Arc::new(TempDir::new().unwrap()));
    for arguments in [&["serve"][..], &["config", "check"]] {
        let outcome = server.cli(arguments);
        assert_eq!(outcome.status.code(), Some(1), "{}", outcome.text());
        assert!(
            outcome.text().contains("pasive_ports") && outcome.text().contains("passive_ports"),
            "{}",
            outcome.text()
        );
    }
}

#[test]
fn an_unknown_variable_stops_the_start_with_the_nearest_known_name() {
    let builder = Server::builder().environment("LANDFALL_SFTP__LISTN", "127.0.0.1:0");
    let outcome = builder.prepare(Arc::new(TempDir::new().unwrap())).cli(&["serve"]);
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.text());
    assert!(outcome.text().contains("LANDFALL_SFTP__LISTEN"), "{}", outcome.text());
}

#[test]
fn health_tells_a_running_server_from_none() {
    let mut server = Server::start();
    server.cli(&["health"]).ok();
    let mut http = TcpStream::connect(server.address("http")).unwrap();
    http.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let answer = std::io::read_to_string(http).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop();
    assert_eq!(server.cli(&["health"]).status.code(), Some(1));
}

#[test]
fn wrong_usage_ends_with_2() {
    let server = Server::builder().prepare(Arc::new(TempDir::new().unwrap()));
    assert_eq!(server.cli(&["user", "add"]).status.code(), Some(2));
    assert_eq!(server.cli(&["frobnicate"]).status.code(), Some(2));
    for command in
        ["serve", "user", "key", "uploads", "sessions", "config", "health", "backup", "restore", "completions"]
    {
        let help = server.cli(&[command, "--help"]).ok().stdout;
        assert!(help.contains("xample"), "{command} --help has no example:\n{help}");
    }
}

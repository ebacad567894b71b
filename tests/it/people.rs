//! Users that change while the server runs, sessions that are listed and ended.

use std::time::Duration;

use landfall_tests::{Ftp, Server, Sftp, Stranger, pattern, wait_until};

fn login(server: &Server, password: &str) -> u16 {
    Ftp::connect(server.address("ftp")).login("acme", password).code
}

fn sftp_login(server: &Server, password: &str) -> bool {
    Stranger::connect(server.address("sftp")).is_ok_and(|mut stranger| stranger.password("acme", password))
}

#[test]
fn a_user_added_while_the_server_runs_can_log_in() {
    let server = Server::builder().start();
    assert_eq!(login(&server, "secret-of-acme"), 530);
    server.add_user("acme", "secret-of-acme");
    assert_eq!(login(&server, "secret-of-acme"), 230);
    assert!(sftp_login(&server, "secret-of-acme"));
}

#[test]
fn a_new_password_counts_from_the_next_login() {
    let server = Server::start();
    let mut before = Ftp::connect(server.address("ftp"));
    before.login("acme", "secret-of-acme").expect(230);
    server.cli_with(&["user", "passwd", "acme", "--password-stdin"], "another-secret").ok();
    assert_eq!(login(&server, "secret-of-acme"), 530);
    assert_eq!(login(&server, "another-secret"), 230);
    assert!(sftp_login(&server, "another-secret"));
    before.command("NOOP").expect(200);
}

#[test]
fn a_changed_right_counts_from_the_next_login() {
    let server = Server::start();
    server.cli(&["user", "set", "acme", "--max-file-bytes", "1000"]).ok();
    let mut ftp = Ftp::connect(server.address("ftp"));
    ftp.login("acme", "secret-of-acme").expect(230);
    assert!(ftp.upload("STOR large.jpg", &pattern(2_000)).code >= 500);
    ftp.upload("STOR small.jpg", &pattern(900)).expect(226);
    assert!(!server.home("acme").join("large.jpg").exists());
}

#[test]
fn a_disabled_user_is_out_and_stays_out_until_enabled() {
    let server = Server::start();
    let mut ftp = Ftp::connect(server.address("ftp"));
    ftp.login("acme", "secret-of-acme").expect(230);
    let sftp = Sftp::connect(server.address("sftp"), "acme", "secret-of-acme");
    server.cli(&["user", "disable", "acme"]).ok();
    // The session ends by itself: 421 or the end of the connection, without anything being sent.
    let reply = ftp.reply();
    assert!(matches!(reply.code, 0 | 421), "{}", reply.text);
    wait_until("the SFTP session to end", || (!sftp.is_open()).then_some(()));
    assert_eq!(login(&server, "secret-of-acme"), 530);
    assert!(!sftp_login(&server, "secret-of-acme"));
    server.cli(&["user", "enable", "acme"]).ok();
    assert_eq!(login(&server, "secret-of-acme"), 230);
}

#[test]
fn a_disabled_users_upload_is_suspended() {
    let server = Server::start();
    let mut ftp = Ftp::connect(server.address("ftp"));
    ftp.login("acme", "secret-of-acme").expect(230);
    let mut data = ftp.begin("STOR a.jpg");
    data.write(&pattern(500_000));
    server.cli(&["user", "disable", "acme"]).ok();
    wait_until("the upload to be suspended", || {
        server.ledger().iter().any(|row| row.status == "suspended").then_some(())
    });
    assert!(!server.home("acme").join("a.jpg").exists());
}

#[test]
fn a_removed_key_opens_nothing() {
    let server = Server::start();
    let key = server.add_key("acme");
    assert!(Stranger::connect(server.address("sftp")).unwrap().key("acme", &key));
    let listed = server.cli(&["key", "list", "acme"]).ok().stdout;
    let fingerprint =
        listed.split_whitespace().find(|word| word.starts_with("SHA256:")).expect("a fingerprint").to_owned();
    server.cli(&["key", "remove", "acme", &fingerprint]).ok();
    assert!(!Stranger::connect(server.address("sftp")).unwrap().key("acme", &key));
}

#[test]
fn sessions_are_listed_and_can_be_ended() {
    let server = Server::start();
    let mut ftp = Ftp::connect(server.address("ftp"));
    ftp.login("acme", "secret-of-acme").expect(230);
    let sftp = Sftp::connect(server.address("sftp"), "acme", "secret-of-acme");
    let listed = server.cli(&["sessions", "--json"]).ok().stdout;
    let sessions: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(sessions.len(), 2, "{listed}");
    for session in &sessions {
        assert_eq!(session["user"], "acme");
        server.cli(&["sessions", "kick", &session["id"].to_string()]).ok();
    }
    ftp.patience(Duration::from_secs(30));
    assert!(matches!(ftp.reply().code, 0 | 421));
    wait_until("the SFTP session to end", || (!sftp.is_open()).then_some(()));
    assert_eq!(server.cli(&["sessions", "kick", "4711"]).status.code(), Some(1));
}

#[test]
fn users_from_the_environment_log_in() {
    let server = Server::builder().environment("LANDFALL_USERS", "acme:first-secret beta:second-secret:1001").start();
    assert_eq!(login(&server, "first-secret"), 230);
    assert!(sftp_login(&server, "first-secret"));
    assert_eq!(Ftp::connect(server.address("ftp")).login("beta", "second-secret").code, 230);
    assert!(!server.log().contains("first-secret"), "a secret stands in the log");
}

#[test]
fn declared_users_log_in_and_cannot_be_changed_by_command() {
    let server = Server::start();
    let key = std::fs::read_to_string(server.add_key("acme").with_extension("pub")).unwrap();
    let tables = format!("\n[[users]]\nname = \"delta\"\npublic_keys = [\"{}\"]\n", key.trim());
    let declared = Server::builder().tables(&tables).start();
    let mut stranger = Stranger::connect(declared.address("sftp")).unwrap();
    assert!(stranger.key("delta", &server.directory().path().join("key-of-acme")));
    let outcome = declared.cli(&["user", "disable", "delta"]);
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.text());
}

//! Random requests over SFTP by paramiko and asyncssh, several sessions side by side, against a shadow copy. Few here;
//! `tests/torture/shadow OPERATIONS` for more.

use std::process::Command;
use std::time::Duration;

use landfall_tests::{Run, Server, repository};

const PASSWORD: &str = "secret-of-acme";

#[test]
fn sessions_see_what_their_shadows_say() {
    let (operations, patience) = match std::env::var("TORTURE_OPERATIONS") {
        Ok(operations) => (operations, Duration::from_hours(1)),
        Err(_) => ("250".to_owned(), Duration::from_mins(2)),
    };
    let server = Server::start();
    let home = server.home("acme");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(repository().join("target/fixtures/venv/bin/python"));
    command.arg(repository().join("tests/clients/shadow.py")).current_dir(home);
    let seed = std::process::id().to_string();
    command.args([&server.port("sftp"), "acme", PASSWORD, &seed, &operations]);
    let heard = Run::start(&mut command).outcome_within(patience).ok().stdout;
    eprintln!("{}", heard.trim());
    // Every landing has its receipt.
    assert!(server.landed().iter().all(|row| row.sha256.is_some()));
}

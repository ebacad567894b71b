//! Deep pipelines in both directions at once, by paramiko: nothing stands still, and the server's memory stays what it was.
//! Small here; `tests/torture/pipelines` does it with a GiB each way.

use std::process::Command;
use std::time::Duration;

use landfall_tests::{Run, Server, repository};

const PASSWORD: &str = "secret-of-acme";

/// A bound against hanging, which is what this is about.
const PATIENCE: Duration = Duration::from_mins(4);

/// `clients/pipelines.py` compares every byte, and fails where the server's memory grows by more than 64 MiB.
fn pipelines(kind: &str, mebibytes: &str) {
    let server = Server::start();
    let home = server.home("acme");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(repository().join("target/fixtures/venv/bin/python"));
    command.arg(repository().join("tests/clients/pipelines.py")).current_dir(home);
    command.args([kind, &server.port("sftp"), "acme", PASSWORD, &server.pid().to_string(), mebibytes]);
    let heard = Run::start(&mut command).outcome_within(PATIENCE).ok().stdout;
    eprintln!("{}", heard.trim());
}

#[test]
fn one_handle_is_written_while_another_is_asked_for_all_it_has() {
    let mebibytes = std::env::var("TORTURE_MEBIBYTES").unwrap_or_else(|_| "64".to_owned());
    pipelines("both", &mebibytes);
}

#[test]
fn ten_thousand_reads_wait_for_a_slow_reader() {
    pipelines("slow", "32");
}

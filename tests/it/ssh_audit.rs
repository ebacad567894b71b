//! What an outside judge finds about SSH: which algorithms are offered, and what is to be said against them.

use landfall_tests::{Server, repository, tool};

#[test]
fn an_outside_judge_finds_what_is_argued_for() {
    let server = Server::start();
    let python = repository().join("target/fixtures/venv/bin/python");
    let script = repository().join("tests/clients/ssh_judge.py");
    tool(python.to_str().unwrap(), &[script.to_str().unwrap(), &server.port("sftp")]).ok();
}

//! A little of what `tests/torture` does for hours: the server is killed, its power is cut, its clients die, its system
//! calls fail, its disk is full. What cannot be done here is said in the output, and does not fail.

use std::process::Command;
use std::time::Duration;

use landfall_tests::{Run, binary, repository};

/// Runs a script of `tests/torture` on the binary under test; what it said.
#[track_caller]
fn torture(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(repository().join("tests/torture").join(script));
    command.args(arguments).env("TORTURE_BINARY", binary());
    // The machine is shared with the other tests: how soon things go on is for the long runs to say.
    command.env("TORTURE_PATIENCE", "30");
    let said = Run::start(&mut command).outcome_within(Duration::from_mins(4)).ok().stdout;
    eprintln!("{}", said.trim());
    said
}

#[test]
fn the_server_killed_during_uploads_loses_and_tears_nothing() {
    let said = torture("kill9", &["10"]);
    assert!(said.contains("10 kills"), "{said}");
}

#[test]
fn a_power_cut_loses_and_tears_nothing() {
    torture("powercut", &["3"]);
}

#[test]
fn a_client_that_dies_publishes_nothing() {
    torture("clientdies", &[]);
}

#[test]
fn no_upload_is_acknowledged_whose_system_calls_failed() {
    torture("syscalls", &["60"]);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    torture("diskfull", &["ext4", "tmpfs"]);
}

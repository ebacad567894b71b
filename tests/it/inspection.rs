//! The inspection of images beside Pillow's, over Pillow's own images and over photographs that are cut off: fewer than in
//! `tests/IMAGES.md`, where the judge's whole run is told.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use landfall_tests::{Run, repository};

/// Some hundred pictures, without optimisation, and on a machine that does something else too.
const PATIENCE: Duration = Duration::from_mins(5);

/// What cargo builds beside the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join("examples").join(name)
}

#[test]
fn pillow_agrees() {
    let fixtures = repository().join("target/fixtures");
    let mut command = Command::new(fixtures.join("venv/bin/python"));
    command.arg(repository().join("tests/clients/image_judge.py")).arg(example("examine"));
    command
        .args([fixtures.join("pillow"), fixtures.join("photographs"), repository().join("tests/IMAGES.md")])
        .arg("--short");
    eprintln!("{}", Run::start(&mut command).outcome_within(PATIENCE).ok().stdout);
}

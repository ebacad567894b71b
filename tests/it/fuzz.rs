//! The fuzzers' corpora, replayed through the same functions: what they hold, holds in every test run.

use landfall_tests::{fuzz, repository};

fn replay(target: &str, check: impl Fn(&[u8])) {
    let corpus = repository().join("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{target}: the corpus is not where it was");
    for file in files {
        let input = std::fs::read(&file).unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&input)));
        assert!(outcome.is_ok(), "{} (see above)", file.display());
    }
}

#[test]
fn the_corpus_of_commands() {
    replay("commands", fuzz::commands::check);
}

#[test]
fn the_corpus_of_sessions() {
    replay("session", fuzz::session::check);
}

#[test]
fn the_corpus_of_packets() {
    replay("packets", fuzz::packets::check);
}

#[test]
fn the_corpus_of_pumps() {
    replay("pump", fuzz::pump::check);
}

#[test]
fn the_corpus_of_inspected_files() {
    replay("inspect", fuzz::inspect::check);
}

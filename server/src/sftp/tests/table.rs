//! `REQUESTS.md` beside the engine: it names what the engine knows and VERSION announces, no more and no less, and tests
//! that are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::sftp::{extensions, requests};

const TABLE: &str = include_str!("../REQUESTS.md");

/// The cells of the rows of the table whose first column is headed so.
fn rows(head: &str) -> Vec<Vec<String>> {
    let mut lines = TABLE.lines().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    let mut rows = Vec::new();
    while let Some(line) = lines.next().filter(|line| line.starts_with("| ")) {
        let cells = line.trim_matches('|').split(" | ");
        rows.push(cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    }
    assert!(!rows.is_empty(), "there is no table headed {head}");
    rows
}

fn pairs(rows: &[Vec<String>]) -> BTreeSet<(String, String)> {
    let pairs: BTreeSet<_> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(pairs.len(), rows.len(), "something stands there twice");
    pairs
}

#[test]
fn it_names_every_request() {
    let mut known: BTreeSet<_> =
        requests::REQUESTS.iter().map(|row| (row.number.to_string(), row.name.to_uppercase())).collect();
    // The pump reads these itself.
    known.extend([("1", "INIT"), ("6", "WRITE")].map(|(number, name)| (number.to_owned(), name.to_owned())));
    assert_eq!(pairs(&rows("number")), known, "the left stands in REQUESTS.md");
}

#[test]
fn it_names_what_version_announces() {
    let printable = |value: &str| if value.contains('\0') { "Landfall".to_owned() } else { value.to_owned() };
    let announced = extensions::announced().map(|(name, value)| (name.to_owned(), printable(value))).collect();
    assert_eq!(pairs(&rows("extension")), announced, "the left stands in REQUESTS.md");
}

#[test]
fn its_tests_are_there() {
    let named = ["number", "extension", "subject"].map(rows).concat();
    let named: BTreeSet<String> = named
        .iter()
        .flat_map(|row| row.last().unwrap().split_whitespace().map(|name| name.trim_matches('`').to_owned()))
        .collect();
    let mut sources = Vec::new();
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sftp");
    for folder in [engine.clone(), engine.join("tests"), engine.join("../../../tests/it/clients")] {
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "rs")).collect();
        assert!(!files.is_empty(), "{}", folder.display());
        sources.extend(files.iter().map(|path| std::fs::read_to_string(path).unwrap()));
    }
    let is_there = |name: &str| sources.iter().any(|source| source.contains(&format!("fn {name}(")));
    let missing: Vec<_> = named.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty() && named.len() > 20, "no such tests: {missing:?}");
}

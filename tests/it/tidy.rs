//! The house rules that a compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use landfall_tests::{repository, tool};

/// What each crate may name among its own and among the heavy parts: arrows point one way.
const OWN: [(&str, &[&str]); 4] = [
    ("landfall-storage", &[]),
    ("landfall-auth", &[]),
    ("landfall", &["landfall-storage", "landfall-auth"]),
    ("landfall-tests", &["landfall", "landfall-storage", "landfall-auth"]),
];

/// What a crate must do without.
const FOREIGN: [(&str, &[&str]); 3] = [
    ("landfall-storage", &["sqlx", "axum", "russh", "russh-sftp", "rustls", "tokio"]),
    ("landfall-auth", &["cap-std", "cap-fs-ext", "axum", "russh", "russh-sftp", "rustls"]),
    ("landfall", &["cap-std", "cap-fs-ext", "libunftp", "unftp-sbe-fs", "openssl"]),
];

/// Words that must not stand in the sources of a room: what it refuses to know.
const REFUSED: [(&str, &[&str]); 6] = [
    (
        "server/src/ftp",
        &["crate::sftp", "crate::http", "crate::cli", "russh", "sqlx", "std::fs", "landfall_storage::Store"],
    ),
    ("server/src/sftp", &["crate::ftp", "crate::http", "crate::cli", "sqlx", "std::fs", "landfall_storage::Store"]),
    ("server/src/delivery", &["crate::ftp", "crate::sftp", "crate::http", "crate::cli", "russh", "axum"]),
    ("server/src/config", &["crate::ftp", "crate::sftp", "crate::delivery", "crate::cli", "sqlx"]),
    ("storage/src", &["landfall_auth", "russh", "sqlx", "std::env"]),
    ("auth/src", &["landfall_storage", "russh", "cap_std", "std::env"]),
];

/// Longest source file, in lines.
const MAX_LINES: usize = 600;

fn metadata() -> serde_json::Value {
    let manifest = repository().join("Cargo.toml");
    let manifest = manifest.to_str().expect("a path in UTF-8");
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", manifest];
    serde_json::from_str(&tool("cargo", &arguments).ok().stdout).expect("cargo prints JSON")
}

/// Every crate of the workspace with the names of what it depends on outside its own tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let text = |value: &serde_json::Value| value.as_str().expect("a name").to_owned();
    let named = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|one| one["kind"] != "dev").map(|one| text(&one["name"])).collect()
    };
    packages.iter().map(|package| (text(&package["name"]), named(package))).collect()
}

fn sources_in(folder: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                // The fuzzers' own, with what build scripts write.
                if path.file_name().is_some_and(|name| name != "target") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository().join(folder), &mut found);
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let files = ["storage", "auth", "server", "tests"].into_iter().flat_map(sources_in);
    let files: Vec<_> = files.map(|path| (path.clone(), std::fs::read_to_string(path).expect("UTF-8"))).collect();
    assert!(files.len() > 30, "the sources are not where they were: {} found", files.len());
    files
}

#[test]
fn arrows_between_crates_point_one_way() {
    let dependencies = dependencies();
    let ours: BTreeSet<_> = dependencies.keys().cloned().collect();
    assert_eq!(ours, OWN.iter().map(|(name, _)| (*name).to_owned()).collect());
    for (name, allowed) in OWN {
        let named: BTreeSet<_> = dependencies[name].intersection(&ours).map(String::as_str).collect();
        assert!(named.is_subset(&allowed.iter().copied().collect()), "{name} depends on {named:?}");
    }
    for (name, refused) in FOREIGN {
        let named: Vec<_> = refused.iter().filter(|one| dependencies[name].contains(**one)).collect();
        assert!(named.is_empty(), "{name} depends on {named:?}");
    }
}

#[test]
fn rooms_do_not_name_what_they_refuse_to_know() {
    let mut found = Vec::new();
    for (folder, words) in REFUSED {
        for path in sources_in(folder) {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            // What a room's own tests set up is not what the room knows.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let below = path.strip_prefix(repository()).expect("a file of ours");
            let is_tests = below
                .components()
                .any(|part| ["tests", "tests.rs", "conformance.rs"].iter().any(|name| part.as_os_str() == *name));
            for (number, line) in text.lines().enumerate().filter(|_| !is_tests) {
                let code = line.split("//").next().unwrap_or_default();
                for word in words.iter().filter(|word| names(code, word)) {
                    found.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Does `code` name `word`, and not a longer word that begins with it?
fn names(code: &str, word: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| code.as_bytes().get(at));
        let after = code.as_bytes().get(at + word.len());
        !before.is_some_and(|byte| part(*byte)) && !after.is_some_and(|byte| part(*byte))
    })
}

#[test]
fn every_source_says_what_it_holds() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    let silent: Vec<_> = silent.map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "the first line is no `//! …`: {silent:?}");
}

#[test]
fn no_source_is_too_long() {
    let long = sources().into_iter().filter(|(_, text)| text.lines().count() > MAX_LINES);
    let long: Vec<_> = long.map(|(path, _)| path).collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:?}");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["unimple", "mented!("], ["#[ig", "nore"]]
        .map(|parts| parts.concat());
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                found.push(format!("{}:{}: {mark}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_table_of_clients_is_complete() {
    let table = std::fs::read_to_string(repository().join("tests/CLIENTS.md")).expect("the table");
    let last_column = |row: &str| row.rsplit('|').nth(1).unwrap_or_default().to_owned();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let listed: BTreeSet<String> = rows
        .skip(1)
        .flat_map(|row| last_column(row).split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut there = BTreeSet::new();
    for path in sources_in("tests/it/clients") {
        let text = std::fs::read_to_string(path).expect("a source of ours");
        let tests =
            text.split("#[test]\nfn ").skip(1).filter_map(|rest| Some(format!("`{}`", rest.split_once('(')?.0)));
        there.extend(tests);
    }
    assert_eq!(listed, there, "the left stands in tests/CLIENTS.md");
}

#[test]
fn the_script_is_the_same_over_both_protocols() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect("a file of ours");
    let (ftp, sftp) = (read("tests/clients/push_ftp.py"), read("tests/clients/push_sftp.py"));
    assert_eq!((ftp.lines().count(), sftp.lines().count()), (10, 10));
    let changed: Vec<_> = ftp.lines().zip(sftp.lines()).filter(|(ftp, sftp)| ftp != sftp).collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(changed[0].0.starts_with("from ftplib import ") && changed[1].0.contains(".login(user, password)"));
    let readme = read("README.md");
    assert!(readme.contains(&ftp), "README.md does not show tests/clients/push_ftp.py as it is");
    for (_, line) in changed {
        assert!(readme.contains(line), "README.md does not show the line {line}");
    }
}

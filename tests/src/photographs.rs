//! The real images that tests send: what `tests/run` fetched, checked against the list of digests that is kept.

use std::path::PathBuf;

use crate::{repository, sha256};

/// One photograph.
#[derive(Debug, Clone)]
pub struct Photograph {
    /// File name.
    pub name: String,
    /// Where it stands.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its SHA-256.
    pub sha256: String,
}

/// All photographs, in the order of `tests/photographs.sha256`.
#[track_caller]
#[must_use]
pub fn photographs() -> Vec<Photograph> {
    let list = include_str!("../photographs.sha256");
    let folder = repository().join("target/fixtures/photographs");
    let load = |line: &str| {
        let (digest, name) = line.split_once("  ").expect("digest, two spaces, name");
        let path = folder.join(name);
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{name}: {error}; `tests/run fetch` gets the photographs"));
        assert_eq!(sha256(&bytes), digest, "{name} is not the photograph it was");
        Photograph { name: name.to_owned(), path, bytes, sha256: digest.to_owned() }
    };
    list.lines().map(load).collect()
}

/// `length` bytes that do not compress and differ at every place: for uploads whose content does not matter.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

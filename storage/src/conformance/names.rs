//! Names: every one that a path can spell is kept as it is, and apart from every other.

use super::{Check, land, must, names, path, read};
use crate::{Store, VirtualPath};

pub(super) const CHECKS: &[Check] = &[
    ("names are kept apart and as they are", kept_apart),
    ("the longest name", longest),
    ("the deepest directory", deepest),
];

/// Each of them twice the same to somebody: to a normaliser, a shell, a case folder, a trimmer, another system.
const NAMES: &[&str] = &[
    "caf\u{e9}.jpg",
    "cafe\u{301}.jpg",
    "photo.jpg",
    "Photo.jpg",
    "PHOTO.JPG",
    "stra\u{df}e",
    "strasse",
    "\u{130}stanbul",
    "istanbul",
    "\u{65e5}\u{672c}\u{8a9e}.png",
    "\u{1f4f7}.jpg",
    "-rf",
    "--help",
    " ",
    " leading",
    "trailing ",
    "trailing.",
    "a b",
    "a\u{a0}b",
    "a\\b",
    "a\\..\\b",
    "*",
    "?",
    "~",
    "$HOME",
    "`id`",
    "\"quoted\"",
    "'",
    "...",
    ".hidden",
    "..hidden",
    "CON",
    "nul.txt",
    "a:b",
    "%2e%2e",
    "%00",
    "\u{200b}",
    "\u{202e}gpj.exe",
    "\u{feff}bom",
];

fn kept_apart(store: &dyn Store) {
    for (number, name) in NAMES.iter().enumerate() {
        land(store, &format!("/{name}"), number.to_string().as_bytes());
    }
    let listed = names(store, "/");
    assert_eq!(listed.len(), NAMES.len(), "two names became one, or one two: {listed:?}");
    for (number, name) in NAMES.iter().enumerate() {
        assert!(listed.contains(*name), "{name:?} is not listed as it was given");
        assert_eq!(read(store, &format!("/{name}")), number.to_string().as_bytes(), "{name:?} has other content");
    }
    for name in NAMES {
        must(store.remove_file(&path(&format!("/{name}"))), name);
    }
    for name in NAMES {
        must(store.create_dir(&path(&format!("/{name}"))), name);
    }
    assert_eq!(names(store, "/").len(), NAMES.len(), "two directories became one");
}

fn longest(store: &dyn Store) {
    let ascii = "x".repeat(255);
    let wide = "\u{20ac}".repeat(85);
    for name in [&ascii, &wide] {
        assert_eq!(name.len(), crate::path::MAX_COMPONENT_BYTES);
        land(store, &format!("/{name}"), b"long");
        assert_eq!(read(store, &format!("/{name}")), b"long");
    }
    assert_eq!(names(store, "/"), [ascii, wide].into());
}

fn deepest(store: &dyn Store) {
    let mut directory = VirtualPath::root();
    for _ in 1..crate::path::MAX_DEPTH_COMPONENTS {
        directory = must(directory.resolve("deep"), "a component more");
    }
    must(store.create_dir_all(&directory), "make the deepest directory");
    let file = format!("{directory}/file");
    land(store, &file, b"deep");
    assert_eq!(read(store, &file), b"deep");
}

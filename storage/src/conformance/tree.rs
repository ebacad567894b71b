//! Files and directories: facts, listings, reading, names that change. No upload but to have a file.

use std::time::{Duration, SystemTime};

use super::{Check, is_free, land, must, names, path, read, refused};
use crate::{Error, Kind, Replace, Store, VirtualPath};

pub(super) const CHECKS: &[Check] = &[
    ("an empty store has a root", root),
    ("what is missing is not found", missing),
    ("directories are made", making),
    ("directories are made with those above", making_all),
    ("removal", removal),
    ("removal of a directory with all in it", removal_of_trees),
    ("reading", reading),
    ("a reader keeps the file that it opened", reader_keeps),
    ("a listing shows each name once, with facts", listing),
    ("rename", rename),
    ("rename and what stands in the way", rename_onto),
    ("rename of directories", rename_directories),
    ("times and permission bits", facts),
    ("room left", space),
];

fn root(store: &dyn Store) {
    let root = VirtualPath::root();
    assert_eq!(must(store.stat(&root), "stat of the root").kind, Kind::Directory, "the root is no directory");
    assert!(names(store, "/").is_empty(), "a new store lists something");
    assert!(store.create_dir(&root).is_err(), "the root was made a second time");
    must(store.create_dir_all(&root), "make the root as far as it is missing");
    assert!(store.remove_dir(&root).is_err(), "the root was removed");
    assert!(store.remove_file(&root).is_err(), "the root was removed");
    assert!(store.rename(&root, &path("/a"), Replace::Yes).is_err(), "the root was renamed");
    refused!(store.open(&root), Error::IsADirectory, "opening the root");
}

fn missing(store: &dyn Store) {
    for at in ["/none", "/none/deeper"] {
        let at = path(at);
        refused!(store.stat(&at), Error::NotFound, "stat");
        refused!(store.list(&at), Error::NotFound, "list");
        refused!(store.open(&at), Error::NotFound, "open");
        refused!(store.remove_file(&at), Error::NotFound, "remove file");
        refused!(store.remove_dir(&at), Error::NotFound, "remove directory");
        refused!(store.rename(&at, &path("/other"), Replace::Yes), Error::NotFound, "rename");
        refused!(store.set_modified(&at, SystemTime::UNIX_EPOCH), Error::NotFound, "set time");
        refused!(store.set_mode(&at, 0o644), Error::NotFound, "set mode");
    }
}

fn making(store: &dyn Store) {
    must(store.create_dir(&path("/a")), "make /a");
    assert_eq!(must(store.stat(&path("/a")), "stat").kind, Kind::Directory);
    assert_eq!(must(store.stat(&path("/a")), "stat").size, 0, "a directory has a size");
    refused!(store.create_dir(&path("/a")), Error::AlreadyExists, "making it again");
    refused!(store.create_dir(&path("/b/c")), Error::NotFound, "making one in none");
    land(store, "/file", b"x");
    refused!(store.create_dir(&path("/file")), Error::AlreadyExists, "making one over a file");
    refused!(store.create_dir(&path("/file/c")), Error::NotADirectory, "making one in a file");
}

fn making_all(store: &dyn Store) {
    must(store.create_dir(&path("/a")), "make /a");
    must(store.create_dir_all(&path("/a/b/c/d")), "make all");
    must(store.create_dir_all(&path("/a/b/c/d")), "make all again");
    assert_eq!(must(store.stat(&path("/a/b/c/d")), "stat").kind, Kind::Directory);
    land(store, "/a/file", b"x");
    refused!(store.create_dir_all(&path("/a/file")), Error::NotADirectory, "making all over a file");
    refused!(store.create_dir_all(&path("/a/file/c")), Error::NotADirectory, "making all through a file");
    assert_eq!(read(store, "/a/file"), b"x");
}

fn removal_of_trees(store: &dyn Store) {
    must(store.create_dir_all(&path("/a/b/c")), "make all");
    for name in ["/a/1", "/a/b/22", "/a/b/c/333", "/keep"] {
        land(store, name, b"12345");
    }
    let mut none = |_| true;
    refused!(store.remove_tree(&path("/none"), &mut none), Error::NotFound, "removing none");
    refused!(store.remove_tree(&path("/keep"), &mut none), Error::NotADirectory, "removing a file as a directory");
    assert!(store.remove_tree(&VirtualPath::root(), &mut none).is_err(), "the root was removed");
    let mut gone = Vec::new();
    let stopped = store.remove_tree(&path("/a"), &mut |one| {
        gone.push(one);
        false
    });
    assert!(!must(stopped, "begin to remove"), "it is gone, though it was stopped");
    assert_eq!(gone.len(), 1, "it went on after the stop");
    let all = store.remove_tree(&path("/a"), &mut |one| {
        gone.push(one);
        true
    });
    assert!(must(all, "remove the rest"), "it is not gone");
    let bytes: u64 = gone.iter().filter(|one| one.kind == Kind::File).map(|one| one.size).sum();
    assert_eq!((gone.len(), bytes), (5, 15), "other names were told than there were");
    assert!(is_free(store, "/a") && !is_free(store, "/keep"), "too much was removed, or too little");
}

fn removal(store: &dyn Store) {
    must(store.create_dir(&path("/a")), "make /a");
    land(store, "/a/file", b"x");
    refused!(store.remove_dir(&path("/a")), Error::DirectoryNotEmpty, "removing a directory with a file");
    refused!(store.remove_file(&path("/a")), Error::IsADirectory, "removing a directory as a file");
    refused!(store.remove_dir(&path("/a/file")), Error::NotADirectory, "removing a file as a directory");
    refused!(store.remove_file(&path("/a/file/x")), Error::NotADirectory, "removing a name below a file");
    must(store.remove_file(&path("/a/file")), "remove the file");
    assert!(is_free(store, "/a/file"), "a removed file is there");
    must(store.remove_dir(&path("/a")), "remove the directory");
    assert!(is_free(store, "/a") && names(store, "/").is_empty(), "a removed directory is there");
}

fn reading(store: &dyn Store) {
    let data: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    let landed = land(store, "/a", &data);
    assert_eq!(read(store, "/a"), data);
    let file = must(store.open(&path("/a")), "open");
    assert_eq!((file.size(), file.stat()), (40_000, &landed), "facts of an open file");
    let mut buf = [0; 8];
    assert_eq!(must(file.read_at(39_998, &mut buf), "read"), 2, "read across the end");
    assert_eq!(must(file.read_at(40_000, &mut buf), "read"), 0, "read at the end");
    assert_eq!(must(file.read_at(u64::MAX, &mut buf), "read"), 0, "read far beyond the end");
    assert_eq!(must(file.read_at(0, &mut []), "read"), 0, "read of nothing");
    must(store.create_dir(&path("/d")), "make /d");
    refused!(store.open(&path("/d")), Error::IsADirectory, "opening a directory");
    refused!(store.list(&path("/a")), Error::NotADirectory, "listing a file");
    refused!(store.names(&path("/a")), Error::NotADirectory, "listing a file");
}

fn reader_keeps(store: &dyn Store) {
    let old = land(store, "/a", b"old content");
    let file = must(store.open(&path("/a")), "open");
    let new = land(store, "/a", b"new");
    assert!(old.inode == 0 || old.inode != new.inode, "a file and its replacement have one number");
    let mut buf = [0; 32];
    let count = must(file.read_at(0, &mut buf), "read of a replaced file");
    assert_eq!(buf.get(..count), Some(&b"old content"[..]), "a replaced file changed under its reader");
    assert_eq!(read(store, "/a"), b"new");
}

fn listing(store: &dyn Store) {
    must(store.create_dir(&path("/d")), "make /d");
    must(store.create_dir(&path("/d/sub")), "make /d/sub");
    for number in 0..200 {
        land(store, &format!("/d/{number}"), b"four");
    }
    land(store, "/d/sub/inner", b"x");
    let listed: Vec<_> = must(store.list(&path("/d")), "list").map(|entry| must(entry, "entry")).collect();
    assert_eq!(listed.len(), 201, "a listing has another length than the directory");
    for entry in &listed {
        let at = must(path("/d").resolve(&entry.name), "listed name");
        assert_eq!(entry.stat, must(store.stat(&at), "stat"), "list and stat differ about {at}");
    }
    assert_eq!(names(store, "/d").len(), 201);
}

fn rename(store: &dyn Store) {
    must(store.create_dir(&path("/d")), "make /d");
    let landed = land(store, "/a", b"content");
    must(store.rename(&path("/a"), &path("/b"), Replace::No), "rename");
    assert!(is_free(store, "/a"), "the old name is still there");
    assert_eq!(must(store.stat(&path("/b")), "stat"), landed, "a rename changed the file");
    must(store.rename(&path("/b"), &path("/d/b"), Replace::Yes), "rename into a directory");
    assert_eq!(read(store, "/d/b"), b"content");
    refused!(store.rename(&path("/d/b"), &path("/none/b"), Replace::Yes), Error::NotFound, "into none");
    refused!(store.rename(&path("/d/b"), &path("/d/b/c"), Replace::Yes), Error::NotADirectory, "into a file");
    assert_eq!(read(store, "/d/b"), b"content");
}

fn rename_onto(store: &dyn Store) {
    land(store, "/a", b"of a");
    land(store, "/b", b"of b");
    refused!(store.rename(&path("/a"), &path("/b"), Replace::No), Error::AlreadyExists, "onto a file");
    assert_eq!((read(store, "/a"), read(store, "/b")), (b"of a".to_vec(), b"of b".to_vec()), "a refused rename");
    must(store.rename(&path("/a"), &path("/b"), Replace::Yes), "rename in place of a file");
    assert!(is_free(store, "/a"));
    assert_eq!(read(store, "/b"), b"of a");
    must(store.create_dir(&path("/d")), "make /d");
    for replace in [Replace::Yes, Replace::No] {
        refused!(store.rename(&path("/b"), &path("/d"), replace), Error::IsADirectory, "a file over a directory");
    }
    refused!(store.rename(&path("/d"), &path("/b"), Replace::Yes), Error::NotADirectory, "a directory over a file");
    assert_eq!(read(store, "/b"), b"of a");
}

fn rename_directories(store: &dyn Store) {
    must(store.create_dir_all(&path("/d/e")), "make /d/e");
    land(store, "/d/e/file", b"x");
    must(store.rename(&path("/d"), &path("/f"), Replace::No), "rename of a directory");
    assert_eq!(read(store, "/f/e/file"), b"x");
    assert!(is_free(store, "/d"));
    assert!(store.rename(&path("/f"), &path("/f/e/g"), Replace::Yes).is_err(), "a directory into itself");
    assert!(store.rename(&path("/f"), &path("/f/e/g"), Replace::No).is_err(), "a directory into itself");
    must(store.create_dir(&path("/h")), "make /h");
    refused!(store.rename(&path("/h"), &path("/f"), Replace::No), Error::AlreadyExists, "onto a directory");
    refused!(store.rename(&path("/h"), &path("/f"), Replace::Yes), Error::DirectoryNotEmpty, "onto a full directory");
    assert_eq!(read(store, "/f/e/file"), b"x");
}

fn facts(store: &dyn Store) {
    land(store, "/a", b"x");
    must(store.create_dir(&path("/d")), "make /d");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890);
    for at in [path("/a"), path("/d")] {
        must(store.set_modified(&at, time), "set time");
        assert_eq!(must(store.stat(&at), "stat").modified, time, "the time of {at}");
    }
    must(store.set_mode(&path("/a"), 0o7640), "set mode");
    assert_eq!(
        must(store.stat(&path("/a")), "stat").mode,
        0o640,
        "set-id and sticky bits are dropped, the others kept"
    );
    must(store.set_mode(&path("/a"), 0), "set mode");
    assert_eq!(read(store, "/a"), b"x", "a file with no permission left cannot be read by the store");
    must(store.set_mode(&path("/d"), 0), "set mode");
    land(store, "/d/inner", b"x");
    assert_eq!(names(store, "/d").len(), 1, "a directory with no permission left cannot be used by the store");
}

fn space(store: &dyn Store) {
    let space = must(store.space(), "space");
    assert!(space.total_bytes >= space.free_bytes, "more room free than there is");
    assert!(space.total_bytes > 0, "no room at all");
}

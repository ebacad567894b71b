//! The jail: links, special files and names that somebody with a shell has put there, still or in the middle of a call.
//! A canary outside is never read, written, listed, or removed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use landfall_storage::{Begin, Durability, Error, Kind, Replace, Store};
use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use crate::tests::support::{Place, land, names_on_disk, path};

const CANARY: &[u8] = b"outside: nobody may read this";

fn with_canary() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.outside()).unwrap();
    std::fs::write(place.outside().join("canary"), CANARY).unwrap();
    place
}

fn check_canary(place: &Place) {
    assert_eq!(std::fs::read(place.outside().join("canary")).unwrap(), CANARY, "the canary was written to");
    assert_eq!(names_on_disk(&place.outside()), ["canary".to_owned()].into(), "something was made outside");
}

#[test]
fn links_out_of_the_root_lead_nowhere() {
    let place = with_canary();
    let store = place.open(Durability::Process);
    store.create_dir(&path("/d")).unwrap();
    let outside = place.outside();
    let links = [
        ("absolute", outside.clone()),
        ("relative", "../outside".into()),
        ("winding", "d/../../outside".into()),
        ("proc", "/proc/self/cwd".into()),
    ];
    for (name, target) in &links {
        symlink(target, place.root().join(name)).unwrap();
        symlink(target.join("canary"), place.root().join(format!("{name}-file"))).unwrap();
    }
    symlink("chain2", place.root().join("chain1")).unwrap();
    symlink("absolute", place.root().join("chain2")).unwrap();
    symlink("loop", place.root().join("loop")).unwrap();
    for name in ["absolute", "relative", "winding", "proc", "chain1", "chain2", "loop"] {
        let link = path(&format!("/{name}"));
        let canary = link.resolve("canary").unwrap();
        assert_eq!(store.stat(&link).unwrap().kind, Kind::Other, "{name}");
        assert!(store.list(&link).is_err() && store.open(&link).is_err(), "{name}");
        assert!(matches!(store.stat(&canary), Err(Error::NotPermitted)), "{name}: {:?}", store.stat(&canary));
        assert!(store.open(&canary).is_err() && store.remove_file(&canary).is_err(), "{name}");
        assert!(store.stage("acme", &canary, Begin::Fresh).is_err(), "{name}");
        assert!(store.stage("acme", &canary, Begin::Append).is_err(), "{name}");
        assert!(store.create_dir(&link.resolve("x").unwrap()).is_err(), "{name}");
        assert!(store.create_dir_all(&link.resolve("x/y").unwrap()).is_err(), "{name}");
        assert!(store.rename(&canary, &path("/stolen"), Replace::Yes).is_err(), "{name}");
        assert!(store.set_mode(&link, 0o777).is_err() && store.set_modified(&link, SystemTime::UNIX_EPOCH).is_err());
    }
    for name in ["absolute-file", "relative-file", "winding-file", "proc-file"] {
        let link = path(&format!("/{name}"));
        assert!(matches!(store.open(&link), Err(Error::NotPermitted)), "{name}");
        assert_eq!(store.stat(&link).unwrap().kind, Kind::Other, "{name}");
        assert!(store.stage("acme", &link, Begin::Append).is_err(), "{name}: its target was copied");
        // A landing takes the link's place; it does not go through it.
        land(&store, link.as_str(), b"landed");
        assert_eq!(store.stat(&link).unwrap().kind, Kind::File, "{name}");
    }
    assert!(store.list(&path("/")).unwrap().all(|entry| entry.is_ok()));
    check_canary(&place);
}

#[test]
fn links_inside_the_root_are_followed_by_reading_verbs() {
    let place = Place::new();
    let store = place.open(Durability::Process);
    store.create_dir(&path("/d")).unwrap();
    land(&store, "/d/a", b"content");
    symlink("d", place.root().join("folder")).unwrap();
    symlink("d/a", place.root().join("file")).unwrap();
    assert_eq!(store.stat(&path("/folder")).unwrap().kind, Kind::Directory);
    assert_eq!(store.stat(&path("/file")).unwrap(), store.stat(&path("/d/a")).unwrap());
    assert_eq!(store.open(&path("/file")).unwrap().size(), 7);
    assert_eq!(store.open(&path("/folder/a")).unwrap().size(), 7);
    assert_eq!(store.list(&path("/folder")).unwrap().count(), 1);
    for entry in store.list(&path("/")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.stat, store.stat(&path(&entry.name)).unwrap(), "{}", entry.name);
    }
    assert!(matches!(store.stage("acme", &path("/folder"), Begin::Fresh), Err(Error::IsADirectory)));
    store.remove_file(&path("/file")).unwrap();
    assert_eq!(store.stat(&path("/d/a")).unwrap().size, 7, "the link's target was removed");
}

#[test]
fn only_regular_files_open() {
    let place = Place::new();
    let store = place.open(Durability::Process);
    let fifo = place.root().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.root().join("socket")).unwrap();
    for name in ["/fifo", "/socket"] {
        let name = path(name);
        assert_eq!(store.stat(&name).unwrap().kind, Kind::Other);
        assert!(matches!(store.open(&name), Err(Error::NotPermitted)), "{name}");
        assert!(matches!(store.stage("acme", &name, Begin::Append), Err(Error::NotPermitted)), "{name}");
        assert!(matches!(store.set_mode(&name, 0o777), Err(Error::NotPermitted)), "{name}");
    }
    assert_eq!(store.list(&path("/")).unwrap().count(), 2);
}

#[test]
fn names_that_no_path_can_spell_are_left_out() {
    let place = Place::new();
    let store = place.open(Durability::Process);
    for name in [&b"latin-\xe9"[..], b"line\nfeed", b"esc\x1b[2J", b"del\x7f", b"\xff", b"c1-\xc2\x85"] {
        std::fs::write(place.root().join(OsStr::from_bytes(name)), b"x").unwrap();
    }
    land(&store, "/seen", b"x");
    let listed: Vec<_> = store.list(&path("/")).unwrap().map(|entry| entry.unwrap().name).collect();
    assert_eq!(listed, ["seen"]);
}

#[test]
fn a_directory_swapped_for_a_link_at_any_instant_leads_nowhere() {
    const ROUNDS: usize = 3_000;
    let place = with_canary();
    let store = place.open(Durability::Process);
    store.create_dir(&path("/d")).unwrap();
    land(&store, "/d/canary", b"inside");
    let (inner, link) = (place.root().join("d"), place.root().join("link"));
    symlink(place.outside(), &link).unwrap();

    let over = AtomicBool::new(false);
    let mut outcomes = BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &inner, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        // Even when an assertion fails, the other thread must end.
        let _end = EndOnDrop(&over);
        for _ in 0..ROUNDS {
            outcomes.insert(attack(&store));
        }
    });
    assert_eq!(outcomes, [false, true].into(), "the race never went both ways: it proves nothing");
    check_canary(&place);
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every verb once, on names that the swap may lead astray; true if the directory was seen.
fn attack(store: &dyn Store) -> bool {
    let canary = path("/d/canary");
    if let Ok(stat) = store.stat(&canary) {
        assert_ne!(stat.size, CANARY.len() as u64, "the canary's facts were told");
    }
    let opened = store.open(&canary);
    if let Ok(file) = &opened {
        let mut buf = [0; 64];
        let count = file.read_at(0, &mut buf).unwrap();
        assert_ne!(&buf[..count], CANARY, "the canary was read");
    }
    if let Ok(mut upload) = store.stage("acme", &canary, Begin::Append) {
        let mut buf = [0; 64];
        let count = upload.read_at(0, &mut buf).unwrap();
        assert_ne!(&buf[..count], CANARY, "the canary was copied");
        upload.write_at(0, b"x").unwrap();
        let _ = upload.truncate(1);
        let _ = upload.publish(&path("/d/landed"), Replace::Yes, &mut |_| Ok(()));
        upload.discard().unwrap();
    }
    let _ = store.create_dir(&path("/d/made"));
    let _ = store.remove_dir(&path("/d/made"));
    let _ = store.set_mode(&canary, 0o600);
    let _ = store.set_modified(&canary, SystemTime::UNIX_EPOCH);
    let _ = store.rename(&canary, &path("/d/moved"), Replace::Yes);
    let _ = store.rename(&path("/d/moved"), &canary, Replace::Yes);
    let _ = store.remove_file(&path("/d/landed"));
    if let Ok(entries) = store.list(&path("/d")) {
        for entry in entries.flatten() {
            assert_ne!(entry.stat.size, CANARY.len() as u64, "the canary was listed");
        }
    }
    opened.is_ok()
}

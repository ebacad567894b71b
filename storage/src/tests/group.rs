//! Group commit, seen through the disk: landings share directory syncs, and each is covered by one that began after its
//! own rename.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;
use std::{io, thread};

use landfall_storage::disk::{Call, Faults};
use landfall_storage::{Begin, Durability, Replace, Store};

use crate::tests::support::{Place, path};

const LANDINGS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Renamed(ThreadId),
    SyncBegan,
    SyncEnded,
    Answered(ThreadId),
}

/// Remembers the order of events; the first directory sync lasts until all renames are done, the others a while.
#[derive(Default)]
struct SlowDisk {
    events: Mutex<Vec<Event>>,
    changed: Condvar,
}

impl SlowDisk {
    fn log(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.changed.notify_all();
    }

    fn count(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
        events.iter().filter(|event| wanted(event)).count()
    }
}

impl Faults for SlowDisk {
    fn before(&self, call: Call) -> io::Result<()> {
        if call == Call::SyncDirectory {
            self.log(Event::SyncBegan);
            let events = self.events.lock().unwrap();
            let renames =
                |events: &mut Vec<Event>| Self::count(events, |event| matches!(event, Event::Renamed(_))) < LANDINGS;
            drop(self.changed.wait_while(events, renames).unwrap());
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn after(&self, call: Call, done: bool) {
        match call {
            Call::Rename if done => self.log(Event::Renamed(thread::current().id())),
            Call::SyncDirectory => self.log(Event::SyncEnded),
            _ => {}
        }
    }
}

#[test]
fn landings_share_directory_syncs_that_began_after_their_renames() {
    let place = Place::new();
    let disk = Arc::new(SlowDisk::default());
    let store = place.open_on(Durability::Full, disk.clone());
    thread::scope(|scope| {
        for number in 0..LANDINGS {
            let (store, disk) = (&store, &disk);
            scope.spawn(move || {
                let at = path(&format!("/{number}"));
                let mut upload = store.stage("acme", &at, Begin::Fresh).unwrap();
                upload.write_at(0, b"x").unwrap();
                upload.publish(&at, Replace::No, &mut |_| Ok(())).unwrap();
                disk.log(Event::Answered(thread::current().id()));
            });
        }
    });
    let events = disk.events.lock().unwrap().clone();
    let syncs = SlowDisk::count(&events, |event| *event == Event::SyncBegan);
    assert!(syncs <= LANDINGS / 4, "{syncs} directory syncs for {LANDINGS} landings");
    let counts = store.sync_counts();
    assert_eq!((counts.directory_syncs, counts.landings), (syncs as u64, LANDINGS as u64));
    assert_eq!(counts.file_syncs, LANDINGS as u64);

    let mut answered = 0;
    for (end, event) in events.iter().enumerate() {
        let Event::Answered(thread) = event else { continue };
        answered += 1;
        let begin = events.iter().position(|event| *event == Event::Renamed(*thread)).unwrap();
        let between = &events[begin..end];
        let covered = between.iter().position(|event| *event == Event::SyncBegan);
        let covered = covered.is_some_and(|began| between[began..].contains(&Event::SyncEnded));
        assert!(covered, "{thread:?} was answered without a sync that began after its rename");
    }
    assert_eq!(answered, LANDINGS);
}

#[test]
fn without_device_syncs_there_are_none() {
    let place = Place::new();
    let store = place.open(Durability::Process);
    crate::tests::support::land(&store, "/a", b"x");
    store.create_dir(&path("/d")).unwrap();
    store.rename(&path("/a"), &path("/d/a"), Replace::No).unwrap();
    let counts = store.sync_counts();
    assert_eq!((counts.file_syncs, counts.directory_syncs, counts.landings), (0, 0, 1));
}

#[test]
fn every_change_of_names_is_synced() {
    let place = Place::new();
    let store = place.open(Durability::Full);
    let mut before = store.sync_counts().directory_syncs;
    let mut synced = |what: &str, directories: u64| {
        let now = store.sync_counts().directory_syncs;
        assert_eq!(now - before, directories, "{what}");
        before = now;
    };
    store.create_dir(&path("/d")).unwrap();
    synced("a directory made", 1);
    store.create_dir_all(&path("/d/e/f")).unwrap();
    synced("two directories made", 2);
    crate::tests::support::land(&store, "/a", b"x");
    synced("a landing", 1);
    store.rename(&path("/a"), &path("/b"), Replace::No).unwrap();
    synced("a rename in one directory", 1);
    store.rename(&path("/b"), &path("/d/b"), Replace::Yes).unwrap();
    synced("a rename from one directory to another", 2);
    store.remove_file(&path("/d/b")).unwrap();
    synced("a file removed", 1);
    store.remove_dir(&path("/d/e/f")).unwrap();
    synced("a directory removed", 1);
}

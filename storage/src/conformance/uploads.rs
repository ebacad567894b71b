//! Uploads: invisible until they land, kept for their owner when they do not.

use std::time::{Duration, SystemTime};

use super::{Check, held, is_free, land, must, names, path, publish, read, refused, staged, suspended};
use crate::{Begin, Error, Replace, Store};

pub(super) const CHECKS: &[Check] = &[
    ("an upload is invisible until it lands", invisible),
    ("an upload lands with its own facts", dressed),
    ("the step before visibility", before_visible),
    ("an upload called off can land later", called_off),
    ("overwrite policies", policies),
    ("where nothing can land", no_place),
    ("writing inside and beyond what is held", writing),
    ("copying from a landed file", copying),
    ("an empty upload", empty),
    ("an upload that is over", over),
    ("suspended uploads are their owner's", owners),
    ("resume", resume),
    ("resume without anything held", resume_nothing),
    ("append to a suspended upload", append_suspended),
    ("append to a landed file", append_landed),
    ("a fresh upload gives up the suspended one", fresh),
    ("discard", discard),
    ("two sessions send one file", two_sessions),
    ("an outdated upload is not kept", outdated),
    ("rename of a suspended upload", rename_staged),
    ("sweep", sweep),
    ("many land at once", at_once),
    ("of many that must not replace, one lands", one_wins),
];

fn invisible(store: &dyn Store) {
    must(store.create_dir(&path("/d")), "make /d");
    land(store, "/d/old", b"old");
    let mut new = staged(store, "acme", "/d/new", b"new");
    let mut old = staged(store, "acme", "/d/old", b"replacement");
    assert_eq!(names(store, "/d"), ["old".to_owned()].into(), "an upload under way is listed");
    assert_eq!(names(store, "/"), ["d".to_owned()].into(), "an upload under way is listed");
    assert!(is_free(store, "/d/new"), "an upload under way has a name");
    assert_eq!(read(store, "/d/old"), b"old", "the landed file changed before the landing");
    must(publish(&mut *new, "/d/new", Replace::No), "publish");
    must(publish(&mut *old, "/d/old", Replace::Yes), "publish");
    assert_eq!((read(store, "/d/new"), read(store, "/d/old")), (b"new".to_vec(), b"replacement".to_vec()));
    assert!(store.all_staged().is_empty(), "a landed upload is still staged");
    drop((new, old));
    assert_eq!(read(store, "/d/new"), b"new", "dropping a landed upload did something");
}

fn dressed(store: &dyn Store) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut upload = staged(store, "acme", "/a", b"12345");
    upload.set_modified(time);
    upload.set_mode(0o6600);
    let stat = must(publish(&mut *upload, "/a", Replace::No), "publish");
    assert_eq!((stat.size, stat.modified, stat.mode), (5, time, 0o600), "size, time and mode of the landing");
    assert_eq!(must(store.stat(&path("/a")), "stat"), stat, "publish and stat differ");
}

fn before_visible(store: &dyn Store) {
    land(store, "/a", b"old");
    let mut upload = staged(store, "acme", "/a", b"newer");
    let (id, mut calls, mut inode) = (upload.id().clone(), 0, 0);
    let stat = upload.publish(&path("/a"), Replace::Yes, &mut |sealed| {
        calls += 1;
        inode = sealed.inode;
        assert_eq!((&sealed.id, &sealed.path, sealed.size), (&id, &path("/a"), 5), "what is told before visibility");
        assert_eq!(read(store, "/a"), b"old", "visible before the step before visibility");
        Ok(())
    });
    let stat = must(stat, "publish");
    assert_eq!((calls, inode), (1, stat.inode), "calls, and the number told");
}

fn called_off(store: &dyn Store) {
    land(store, "/a", b"old");
    let mut upload = staged(store, "acme", "/a", b"new");
    let result = upload.publish(&path("/a"), Replace::Yes, &mut |_| Err("the ledger is full".into()));
    match result {
        Err(Error::CalledOff(cause)) => assert_eq!(cause.to_string(), "the ledger is full"),
        other => panic!("a landing called off: {other:?}"),
    }
    assert_eq!(read(store, "/a"), b"old", "a landing called off is visible");
    must(upload.write_at(3, b"er"), "write after a landing called off");
    must(publish(&mut *upload, "/a", Replace::Yes), "publish after a landing called off");
    assert_eq!(read(store, "/a"), b"newer");
}

fn policies(store: &dyn Store) {
    land(store, "/a", b"first");
    let mut upload = staged(store, "acme", "/a", b"second");
    refused!(publish(&mut *upload, "/a", Replace::No), Error::AlreadyExists, "landing onto a file");
    assert_eq!(read(store, "/a"), b"first");
    must(publish(&mut *upload, "/a~2", Replace::No), "publish under another name");
    assert_eq!((read(store, "/a"), read(store, "/a~2")), (b"first".to_vec(), b"second".to_vec()));
    let mut upload = staged(store, "acme", "/a", b"third");
    must(publish(&mut *upload, "/a", Replace::Yes), "replace");
    assert_eq!(read(store, "/a"), b"third");
}

fn no_place(store: &dyn Store) {
    must(store.create_dir(&path("/d")), "make /d");
    land(store, "/file", b"x");
    for begin in [Begin::Fresh, Begin::Resume { offset: 0 }, Begin::Append] {
        refused!(store.stage("acme", &path("/none/a"), begin), Error::NotFound, "staging for a missing directory");
        refused!(store.stage("acme", &path("/d"), begin), Error::IsADirectory, "staging for a directory");
        refused!(store.stage("acme", &path("/"), begin), Error::IsADirectory, "staging for the root");
        refused!(store.stage("acme", &path("/file/a"), begin), Error::NotADirectory, "staging below a file");
    }
    assert!(store.all_staged().is_empty(), "a refused upload is staged");
    let mut upload = staged(store, "acme", "/a", b"x");
    for replace in [Replace::Yes, Replace::No] {
        refused!(publish(&mut *upload, "/d", replace), Error::IsADirectory, "landing on a directory");
        refused!(publish(&mut *upload, "/none/a", replace), Error::NotFound, "landing in a missing directory");
    }
    must(publish(&mut *upload, "/d/a", Replace::No), "publish elsewhere");
    assert_eq!(read(store, "/d/a"), b"x");
}

fn writing(store: &dyn Store) {
    let mut upload = staged(store, "acme", "/a", b"0123456789");
    refused!(upload.write_at(11, b"x"), Error::BeyondEnd { offset: 11, held: 10 }, "writing beyond the end");
    refused!(upload.write_at(u64::MAX, b"x"), Error::BeyondEnd { .. }, "writing at the end of all numbers");
    refused!(upload.truncate(11), Error::BeyondEnd { offset: 11, held: 10 }, "cutting to more than is held");
    assert_eq!(upload.size(), 10, "a refused write changed the size");
    must(upload.write_at(2, b"ab"), "write inside");
    must(upload.write_at(8, b"cdef"), "write across the end");
    must(upload.write_at(12, b""), "write nothing");
    assert_eq!(upload.size(), 12);
    let mut buf = [0; 16];
    let count = must(upload.read_at(0, &mut buf), "read back");
    assert_eq!(buf.get(..count), Some(&b"01ab4567cdef"[..]), "staged bytes");
    must(upload.truncate(4), "truncate");
    assert_eq!((upload.size(), held(store, "acme", "/a")), (4, Some((4, true))), "after a cut");
    must(upload.sync(), "sync");
    must(publish(&mut *upload, "/a", Replace::No), "publish");
    assert_eq!(read(store, "/a"), b"01ab");
}

fn copying(store: &dyn Store) {
    // Longer than what is copied at a time.
    let data: Vec<u8> = (0..40_000_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    land(store, "/from", &data);
    let source = must(store.open(&path("/from")), "open");
    let mut upload = staged(store, "acme", "/to", b"before");
    let mut copied = 0;
    while let count @ 1.. = must(upload.copy_at(6 + copied, &*source, 10 + copied, u64::MAX - copied), "copy") {
        copied += count;
    }
    assert_eq!((copied, upload.size()), (data.len() as u64 - 10, data.len() as u64 - 4), "bytes copied up to the end");
    assert_eq!(must(upload.copy_at(0, &*source, 0, 3), "copy inside"), 3);
    assert_eq!(must(upload.copy_at(0, &*source, 5, 0), "copy nothing"), 0);
    assert_eq!(must(upload.copy_at(0, &*source, u64::MAX, 1), "copy from beyond the end"), 0);
    let size = upload.size();
    refused!(upload.copy_at(size + 1, &*source, 0, 1), Error::BeyondEnd { .. }, "copying beyond the end");
    assert_eq!(upload.size(), size, "a refused copy changed the size");
    must(publish(&mut *upload, "/to", Replace::No), "publish");
    let landed = read(store, "/to");
    let whole = landed.iter().eq(data.iter().take(3).chain(b"ore").chain(data.iter().skip(10)));
    assert!(whole, "what landed is not what was copied");
    assert_eq!(read(store, "/from").len(), data.len(), "the source changed");
}

fn empty(store: &dyn Store) {
    let mut upload = must(store.stage("acme", &path("/a"), Begin::Fresh), "stage");
    assert_eq!((upload.size(), upload.began_at()), (0, 0));
    assert_eq!(must(publish(&mut *upload, "/a", Replace::No), "publish").size, 0);
    assert_eq!(read(store, "/a"), b"");
    drop(must(store.stage("acme", &path("/b"), Begin::Fresh), "stage"));
    assert!(store.all_staged().is_empty(), "an upload that got no byte is kept");
}

fn over(store: &dyn Store) {
    let mut upload = staged(store, "acme", "/a", b"landed");
    must(publish(&mut *upload, "/a", Replace::No), "publish");
    assert!(upload.write_at(0, b"XXX").is_err(), "a landed file was written to");
    assert!(upload.truncate(0).is_err(), "a landed file was cut");
    assert!(upload.as_file().is_none(), "a landed file is handed out for writing");
    assert!(publish(&mut *upload, "/b", Replace::No).is_err(), "one upload landed twice");
    must(upload.discard(), "discard of what has landed");
    assert_eq!(read(store, "/a"), b"landed");
}

fn owners(store: &dyn Store) {
    must(store.create_dir_all(&path("/d/e")), "make /d/e");
    suspended(store, "acme", "/d/a", b"123");
    suspended(store, "acme", "/d/e/b", b"1234");
    suspended(store, "acme", "/d-c", b"12345");
    suspended(store, "beta", "/d/a", b"1");
    assert_eq!(held(store, "acme", "/d/a"), Some((3, false)));
    assert_eq!(held(store, "beta", "/d/a"), Some((1, false)));
    assert_eq!(held(store, "gamma", "/d/a"), None, "somebody else's upload is seen");
    assert!(names(store, "/d") == ["e".to_owned()].into() && is_free(store, "/d/a"), "suspended uploads are public");
    let within = |owner: &str, at: &str| -> Vec<_> {
        store.staged_in(owner, &path(at)).into_iter().map(|upload| upload.path.to_string()).collect()
    };
    assert_eq!(within("acme", "/d"), ["/d/a"]);
    assert_eq!(within("acme", "/"), ["/d-c"]);
    assert_eq!(within("acme", "/d/e"), ["/d/e/b"]);
    assert_eq!(within("beta", "/d"), ["/d/a"]);
    assert!(within("gamma", "/d").is_empty());
    assert_eq!(store.all_staged().len(), 4);
    refused!(store.discard_staged("beta", &path("/d/e/b")), Error::NotFound, "discarding somebody else's");
    for owner in ["", "a/b", "a\nb", "a\0b"] {
        assert!(store.stage(owner, &path("/x"), Begin::Fresh).is_err(), "an owner named {owner:?}");
    }
}

fn resume(store: &dyn Store) {
    suspended(store, "acme", "/a", b"0123456789");
    let id = store.staged("acme", &path("/a")).map(|upload| upload.id);
    let beyond = store.stage("acme", &path("/a"), Begin::Resume { offset: 11 });
    refused!(beyond, Error::BeyondEnd { offset: 11, held: 10 }, "resuming beyond what is held");
    assert_eq!(held(store, "acme", "/a"), Some((10, false)), "a refused resume changed what is held");
    let mut upload = must(store.stage("acme", &path("/a"), Begin::Resume { offset: 10 }), "resume");
    assert_eq!((upload.size(), upload.began_at(), Some(upload.id().clone())), (10, 10, id.clone()));
    assert_eq!(held(store, "acme", "/a"), Some((10, true)));
    must(upload.write_at(10, b"abc"), "write");
    assert_eq!(held(store, "acme", "/a"), Some((13, true)), "the size of an upload under way");
    drop(upload);
    let mut upload = must(store.stage("acme", &path("/a"), Begin::Resume { offset: 4 }), "resume earlier");
    assert_eq!((upload.size(), upload.began_at(), Some(upload.id().clone())), (4, 4, id));
    must(upload.write_at(4, b"XY"), "write");
    must(publish(&mut *upload, "/a", Replace::No), "publish");
    assert_eq!(read(store, "/a"), b"0123XY");
    assert!(store.all_staged().is_empty());
}

fn resume_nothing(store: &dyn Store) {
    land(store, "/a", b"landed");
    for at in ["/a", "/b"] {
        let result = store.stage("acme", &path(at), Begin::Resume { offset: 3 });
        refused!(result, Error::BeyondEnd { offset: 3, held: 0 }, "resuming what is not held");
        let upload = must(store.stage("acme", &path(at), Begin::Resume { offset: 0 }), "resume from nothing");
        assert_eq!(upload.size(), 0);
    }
    suspended(store, "beta", "/a", b"12345");
    let result = store.stage("acme", &path("/a"), Begin::Resume { offset: 3 });
    refused!(result, Error::BeyondEnd { offset: 3, held: 0 }, "resuming somebody else's");
    assert_eq!(read(store, "/a"), b"landed");
}

fn append_suspended(store: &dyn Store) {
    land(store, "/a", b"landed");
    suspended(store, "acme", "/a", b"012");
    let mut upload = must(store.stage("acme", &path("/a"), Begin::Append), "append");
    assert_eq!((upload.size(), upload.began_at()), (3, 3), "an append goes on with the suspended upload");
    must(upload.write_at(3, b"345"), "write");
    must(publish(&mut *upload, "/a", Replace::Yes), "publish");
    assert_eq!(read(store, "/a"), b"012345");
}

fn append_landed(store: &dyn Store) {
    land(store, "/a", b"landed");
    must(store.set_mode(&path("/a"), 0o600), "set mode");
    drop(must(store.stage("acme", &path("/a"), Begin::Append), "append"));
    assert!(store.all_staged().is_empty(), "a mere copy of the landed file is kept");
    refused!(store.append("acme", &path("/a"), &mut |_| false), Error::Stopped, "an append stopped in its copy");
    assert!(store.all_staged().is_empty(), "a copy that was stopped is kept");
    let mut told = 0;
    let copied = store.append("acme", &path("/a"), &mut |bytes| {
        told += bytes;
        true
    });
    assert_eq!((must(copied, "append").size(), told), (6, 6), "the copy's progress");
    let mut upload = must(store.stage("acme", &path("/a"), Begin::Append), "append");
    assert_eq!((upload.size(), upload.began_at()), (6, 6), "an append begins with the landed file's bytes");
    assert!(upload.is_mere_copy(), "nothing was written yet");
    must(upload.write_at(6, b" more"), "write");
    assert_eq!(read(store, "/a"), b"landed", "an append changed the landed file before its landing");
    let stat = must(publish(&mut *upload, "/a", Replace::Yes), "publish");
    assert_eq!(read(store, "/a"), b"landed more");
    assert_eq!(stat.mode, 0o600, "an append changed the file's mode");
    let mut upload = must(store.stage("acme", &path("/b"), Begin::Append), "append to nothing");
    assert_eq!(upload.size(), 0);
    must(upload.write_at(0, b"x"), "write");
    must(publish(&mut *upload, "/b", Replace::No), "publish");
    assert_eq!(read(store, "/b"), b"x");
}

fn fresh(store: &dyn Store) {
    suspended(store, "acme", "/a", b"0123456789");
    suspended(store, "beta", "/a", b"01");
    let upload = must(store.stage("acme", &path("/a"), Begin::Fresh), "stage");
    assert_eq!(upload.size(), 0);
    assert_eq!(held(store, "acme", "/a"), Some((0, true)), "the suspended upload is not given up");
    assert_eq!(held(store, "beta", "/a"), Some((2, false)), "somebody else's upload was given up");
    drop(upload);
    assert_eq!(held(store, "acme", "/a"), None);
    suspended(store, "acme", "/a", b"1");
    suspended(store, "acme", "/a", b"22");
    assert_eq!(held(store, "acme", "/a"), Some((2, false)), "the later upload counts");
    assert_eq!(store.all_staged().len(), 2);
}

fn discard(store: &dyn Store) {
    let upload = staged(store, "acme", "/a", b"123");
    refused!(store.discard_staged("acme", &path("/a")), Error::Busy, "discarding an upload under way");
    must(upload.discard(), "discard");
    assert!(store.all_staged().is_empty() && is_free(store, "/a"), "a discarded upload is kept");
    refused!(store.discard_staged("acme", &path("/a")), Error::NotFound, "discarding nothing");
    suspended(store, "acme", "/a", b"123");
    must(store.discard_staged("acme", &path("/a")), "discard a suspended upload");
    assert!(store.all_staged().is_empty());
}

fn two_sessions(store: &dyn Store) {
    let mut first = staged(store, "acme", "/a", b"first");
    let mut second = staged(store, "acme", "/a", b"second");
    for begin in [Begin::Resume { offset: 0 }, Begin::Resume { offset: 3 }, Begin::Append] {
        refused!(store.stage("acme", &path("/a"), begin), Error::Busy, "resuming what another session sends");
    }
    assert_eq!(store.all_staged().len(), 2);
    must(publish(&mut *second, "/a", Replace::Yes), "publish the second");
    assert_eq!(read(store, "/a"), b"second");
    must(publish(&mut *first, "/a", Replace::Yes), "publish the first");
    assert_eq!(read(store, "/a"), b"first", "the last to land wins");
}

fn outdated(store: &dyn Store) {
    let first = staged(store, "acme", "/a", b"line lost, not yet noticed");
    let mut second = staged(store, "acme", "/a", b"sent again");
    must(publish(&mut *second, "/a", Replace::Yes), "publish");
    drop(first);
    assert_eq!(held(store, "acme", "/a"), None, "an upload is kept although a later one has landed");
    let first = staged(store, "acme", "/b", b"earlier");
    suspended(store, "acme", "/b", b"later one");
    assert_eq!(held(store, "acme", "/b"), Some((9, false)));
    drop(first);
    assert_eq!(held(store, "acme", "/b"), Some((9, false)), "of two suspended ones the later counts");
    assert_eq!(store.all_staged().len(), 1);
    let mut first = staged(store, "acme", "/c", b"earlier");
    suspended(store, "acme", "/c", b"later one");
    must(publish(&mut *first, "/c", Replace::Yes), "publish the earlier");
    assert_eq!(held(store, "acme", "/c"), Some((9, false)), "a later upload went with the landing of an earlier one");
}

fn rename_staged(store: &dyn Store) {
    must(store.create_dir(&path("/d")), "make /d");
    suspended(store, "acme", "/a.part", b"123");
    let id = store.staged("acme", &path("/a.part")).map(|upload| upload.id);
    refused!(store.rename_staged("acme", &path("/b"), &path("/c")), Error::NotFound, "renaming nothing");
    refused!(store.rename_staged("beta", &path("/a.part"), &path("/c")), Error::NotFound, "renaming another's");
    let none = store.rename_staged("acme", &path("/a.part"), &path("/none/a"));
    refused!(none, Error::NotFound, "renaming into a missing directory");
    let directory = store.rename_staged("acme", &path("/a.part"), &path("/d"));
    refused!(directory, Error::IsADirectory, "renaming onto a directory");
    must(store.rename_staged("acme", &path("/a.part"), &path("/d/a")), "rename");
    assert_eq!(held(store, "acme", "/a.part"), None);
    assert_eq!(held(store, "acme", "/d/a"), Some((3, false)));
    assert_eq!(store.staged("acme", &path("/d/a")).map(|upload| upload.id), id, "a rename changed the identity");
    suspended(store, "acme", "/b", b"12345");
    must(store.rename_staged("acme", &path("/d/a"), &path("/b")), "rename onto another");
    assert_eq!((held(store, "acme", "/b"), store.all_staged().len()), (Some((3, false)), 1));
    must(store.rename_staged("acme", &path("/b"), &path("/b")), "rename onto itself");
    let active = must(store.stage("acme", &path("/b"), Begin::Append), "resume");
    refused!(store.rename_staged("acme", &path("/b"), &path("/c")), Error::Busy, "renaming an upload under way");
    drop(active);
    assert_eq!(held(store, "acme", "/b"), Some((3, false)));
}

fn sweep(store: &dyn Store) {
    suspended(store, "acme", "/a", b"123");
    suspended(store, "beta", "/a", b"1");
    let mut active = staged(store, "acme", "/b", b"12");
    assert!(must(store.sweep(SystemTime::UNIX_EPOCH), "sweep").is_empty(), "swept what is young");
    assert_eq!(store.all_staged().len(), 3);
    let newest = store.all_staged().iter().map(|upload| upload.modified).max();
    let after = newest.unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_secs(1);
    let mut swept: Vec<_> = must(store.sweep(after), "sweep").into_iter().map(|upload| upload.owner).collect();
    swept.sort_unstable();
    assert_eq!(swept, ["acme", "beta"], "what a sweep says to have removed");
    assert_eq!(store.all_staged().len(), 1);
    assert_eq!(held(store, "acme", "/b"), Some((2, true)), "swept an upload under way");
    must(publish(&mut *active, "/b", Replace::No), "publish after a sweep");
    assert_eq!(read(store, "/b"), b"12");
}

const MANY: usize = 16;

fn at_once(store: &dyn Store) {
    must(store.create_dir(&path("/d")), "make /d");
    std::thread::scope(|scope| {
        for number in 0..MANY {
            scope.spawn(move || land(store, &format!("/d/{number}"), number.to_string().as_bytes()));
        }
    });
    assert_eq!(names(store, "/d").len(), MANY);
    for number in 0..MANY {
        assert_eq!(read(store, &format!("/d/{number}")), number.to_string().as_bytes());
    }
    assert!(store.all_staged().is_empty());
}

fn one_wins(store: &dyn Store) {
    let start = std::sync::Barrier::new(MANY);
    let race = |number: usize| {
        let mut upload = staged(store, &format!("owner {number}"), "/a", number.to_string().as_bytes());
        start.wait();
        match publish(&mut *upload, "/a", Replace::No) {
            Ok(_) => Some(number),
            Err(Error::AlreadyExists) => None,
            Err(error) => panic!("losing the race: {error:?}"),
        }
    };
    let winners: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..MANY).map(|number| scope.spawn(move || race(number))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap_or(None)).collect()
    });
    assert_eq!(winners.len(), 1, "{winners:?} all landed under one name");
    assert_eq!(read(store, "/a"), winners.first().map(ToString::to_string).unwrap_or_default().as_bytes());
    assert_eq!(store.all_staged().len(), MANY - 1, "the losers are kept");
}

//! Every system call of an upload fails once, with every likely error; and the process dies before every one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use landfall_storage::disk::{Call, Faults};
use landfall_storage::{Begin, Durability, Error, LocalStore, Replace, Result, Store};
use rustix::io::Errno;

use crate::tests::support::{Place, Plan, PlannedDisk, land, names_on_disk, path, staged_bytes};

const OLD: &[u8] = b"what stood there before, whole";
const NEW: &[u8] = b"the new content, somewhat longer than the old one was";
const ERRORS: &[Errno] = &[Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::INTR, Errno::MFILE];

/// What a client does, up to the first refusal; then it goes away.
type Scenario = fn(&LocalStore) -> Result<()>;

/// Name, scenario, durability, where it lands, and what it leaves there if it succeeds.
type Row = (&'static str, Scenario, Durability, &'static str, &'static [u8]);

const SCENARIOS: &[Row] = &[
    ("replace", replace, Durability::Full, "/d/old", NEW),
    ("replace without device syncs", replace, Durability::Process, "/d/old", NEW),
    ("a new name", new_name, Durability::Full, "/d/new", NEW),
    ("cut off, resumed earlier", resume, Durability::Full, "/d/old", NEW),
    ("append to the landed file", append, Durability::Full, "/d/old", b"what stood there before, whole, and more"),
    ("renamed while suspended", rename_staged, Durability::Full, "/d/old", NEW),
    ("a second try after a fresh start", fresh_again, Durability::Full, "/d/old", NEW),
];

fn publish(upload: &mut dyn landfall_storage::Upload, at: &str, replace: Replace) -> Result<()> {
    upload.set_mode(0o640);
    upload.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    upload.publish(&path(at), replace, &mut |_| Ok(())).map(drop)
}

fn replace(store: &LocalStore) -> Result<()> {
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Fresh)?;
    upload.write_at(0, &NEW[..20])?;
    upload.write_at(20, &NEW[20..])?;
    publish(&mut *upload, "/d/old", Replace::Yes)
}

fn new_name(store: &LocalStore) -> Result<()> {
    let mut upload = store.stage("acme", &path("/d/new"), Begin::Fresh)?;
    upload.write_at(0, NEW)?;
    upload.sync()?;
    publish(&mut *upload, "/d/new", Replace::No)
}

fn resume(store: &LocalStore) -> Result<()> {
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Fresh)?;
    upload.write_at(0, &NEW[..30])?;
    drop(upload);
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Resume { offset: 25 })?;
    upload.truncate(20)?;
    upload.write_at(20, &NEW[20..])?;
    publish(&mut *upload, "/d/old", Replace::Yes)
}

fn append(store: &LocalStore) -> Result<()> {
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Append)?;
    upload.write_at(upload.size(), b", and more")?;
    publish(&mut *upload, "/d/old", Replace::Yes)
}

fn rename_staged(store: &LocalStore) -> Result<()> {
    let mut upload = store.stage("acme", &path("/d/x.part"), Begin::Fresh)?;
    upload.write_at(0, &NEW[..30])?;
    drop(upload);
    store.rename_staged("acme", &path("/d/x.part"), &path("/d/old"))?;
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Append)?;
    upload.write_at(30, &NEW[30..])?;
    publish(&mut *upload, "/d/old", Replace::Yes)
}

fn fresh_again(store: &LocalStore) -> Result<()> {
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Fresh)?;
    upload.write_at(0, &NEW[..10])?;
    drop(upload);
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Fresh)?;
    upload.write_at(0, &NEW[..5])?;
    upload.discard()?;
    replace(store)
}

/// A kernel that copies nothing from file to file, and says so or claims that there was nothing.
struct CopiesNothing(Option<Errno>, AtomicUsize);

impl Faults for CopiesNothing {
    fn before(&self, call: Call) -> std::io::Result<()> {
        // Of each two, the second is the reading instead.
        match self.0 {
            Some(errno) if call == Call::CopyLanded && self.1.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => {
                Err(errno.into())
            }
            _ => Ok(()),
        }
    }

    fn copy_limit_bytes(&self, _len_bytes: usize) -> usize {
        0
    }
}

#[test]
fn what_the_kernel_does_not_copy_is_read_and_written() {
    for errno in [None, Some(Errno::XDEV), Some(Errno::PERM)] {
        let place = prepared();
        let store = place.open_on(Durability::Process, Arc::new(CopiesNothing(errno, AtomicUsize::new(0))));
        let source = store.open(&path("/d/old")).unwrap();
        let mut upload = store.stage("acme", &path("/d/new"), Begin::Fresh).unwrap();
        let mut copied = 0;
        while copied < source.size() {
            let count = upload.copy_at(copied, &*source, copied, u64::MAX).unwrap();
            assert!(count > 0, "{errno:?}: the end at {copied} of {} bytes", source.size());
            copied += count;
        }
        assert_eq!(staged_bytes(&*upload), OLD, "{errno:?}");
    }
}

/// A place with `/d/old`, its staging folder empty.
fn prepared() -> Place {
    let place = Place::fast();
    let store = place.open(Durability::Process);
    store.create_dir(&path("/d")).unwrap();
    land(&store, "/d/old", OLD);
    place
}

/// What every index entry says is true on disk, and no byte of it is invented.
fn check_staged(store: &LocalStore, context: &str) {
    for upload in store.all_staged() {
        assert!(!upload.active, "{context}: left active");
        let bytes = std::fs::read(store.staging_path().join(format!("{}.part", upload.id))).unwrap();
        assert_eq!(bytes.len() as u64, upload.size, "{context}: a wrong size is shown");
        let appended = [OLD, b", and more"].concat();
        assert!(NEW.starts_with(&bytes) || appended.starts_with(&bytes), "{context}: torn in staging");
    }
}

/// Staging holds what the index knows, and nothing else.
fn check_no_leak(store: &LocalStore, context: &str) {
    let known: std::collections::BTreeSet<_> = store
        .all_staged()
        .iter()
        .flat_map(|upload| [format!("{}.meta", upload.id), format!("{}.part", upload.id)])
        .collect();
    assert_eq!(names_on_disk(store.staging_path()), known, "{context}: staging leaks");
}

fn landed(place: &Place, at: &str) -> Option<Vec<u8>> {
    std::fs::read(place.root().join(&at[1..])).ok()
}

/// What stood under the name before.
fn before(at: &str) -> Option<Vec<u8>> {
    (at == "/d/old").then(|| OLD.to_vec())
}

#[test]
fn no_failing_call_is_ever_answered_well() {
    for (name, scenario, durability, at, expected) in SCENARIOS {
        let sound = PlannedDisk::new(Plan::Sound);
        scenario(&prepared().open_on(*durability, sound.clone())).unwrap();
        for number in 0..sound.calls().len() {
            for error in ERRORS {
                let place = prepared();
                let disk = PlannedDisk::new(Plan::Once(number, error.raw_os_error()));
                let store = place.open_on(*durability, disk.clone());
                let result = scenario(&store);
                let hit = disk.hit().unwrap();
                let context = format!("{name}: call {number} ({hit:?}) fails with {error:?}: {result:?}");

                let found = landed(&place, at);
                match &result {
                    Ok(()) => {
                        assert!(*error == Errno::INTR || hit == Call::Unlink, "{context}: answered well");
                        assert_eq!(found.as_deref(), Some(*expected), "{context}: answered well, not there");
                    }
                    Err(refusal) => {
                        assert_ne!(*error, Errno::INTR, "{context}: an interruption is no failure");
                        if hit == Call::SyncDirectory && found.as_deref() == Some(*expected) {
                            assert!(matches!(refusal, Error::Io(_)), "{context}: a visible file without Io");
                            assert!(store.all_staged().is_empty(), "{context}: landed, yet staged");
                        } else {
                            assert_eq!(found, before(at), "{context}: something is visible");
                        }
                        let space = matches!(*error, Errno::NOSPC | Errno::DQUOT) && hit == Call::Write;
                        assert!(!space || matches!(refusal, Error::NoSpace), "{context}: no word of space");
                    }
                }
                assert!(
                    hit != Call::SyncFile || *error == Errno::INTR || store.all_staged().is_empty(),
                    "{context}: kept"
                );
                check_staged(&store, &context);

                again(&store, *scenario, &context);
                assert_eq!(landed(&place, at).as_deref(), Some(*expected), "{context}: then not usable");
                drop(store);
                let store = place.open(*durability);
                check_staged(&store, &context);
                check_no_leak(&store, &context);
            }
        }
    }
}

/// Puts things as they were, through the same store, and runs the scenario once more.
fn again(store: &LocalStore, scenario: Scenario, context: &str) {
    for upload in store.all_staged() {
        store.discard_staged(&upload.owner, &upload.path).unwrap();
    }
    let _ = store.remove_file(&path("/d/new"));
    land(store, "/d/old", OLD);
    scenario(store).unwrap_or_else(|error| panic!("{context}: then not usable: {error:?}"));
}

#[test]
fn a_kill_before_any_call_leaves_old_or_new_and_what_is_staged_resumes() {
    for (name, scenario, durability, at, expected) in SCENARIOS {
        let sound = PlannedDisk::new(Plan::Sound);
        scenario(&prepared().open_on(*durability, sound.clone())).unwrap();
        let count = sound.calls().len();
        for number in 0..=count {
            let place = prepared();
            let disk = PlannedDisk::new(Plan::DeadFrom(number));
            let store = place.open_on(*durability, disk.clone());
            let result = scenario(&store);
            let context = format!("{name}: killed before call {number} ({:?}): {result:?}", disk.hit());
            drop(store);

            let store = place.open(*durability);
            let found = landed(&place, at);
            if result.is_ok() {
                assert_eq!(found.as_deref(), Some(*expected), "{context}: answered well, then lost");
            } else {
                assert!(found == before(at) || found.as_deref() == Some(*expected), "{context}: torn");
            }
            check_staged(&store, &context);
            check_no_leak(&store, &context);
            if found.as_deref() == Some(*expected) {
                assert!(store.all_staged().is_empty(), "{context}: landed, yet staged");
            }
            for held in store.all_staged() {
                let mut upload = store.stage(&held.owner, &held.path, Begin::Append).unwrap();
                assert_eq!((upload.id(), upload.size()), (&held.id, held.size), "{context}: does not resume");
                let bytes = staged_bytes(&*upload);
                let rest = expected.strip_prefix(&bytes[..]).unwrap_or_else(|| panic!("{context}: torn in staging"));
                upload.write_at(held.size, rest).unwrap();
                upload.publish(&path(at), Replace::Yes, &mut |_| Ok(())).unwrap();
                assert_eq!(landed(&place, at).as_deref(), Some(*expected), "{context}: does not land");
            }
        }
    }
}

#[test]
fn after_a_failed_sync_the_same_bytes_never_land() {
    let place = prepared();
    let sound = PlannedDisk::new(Plan::Sound);
    replace(&prepared().open_on(Durability::Full, sound.clone())).unwrap();
    let number = sound.calls().iter().position(|call| *call == Call::SyncFile).unwrap();

    let disk = PlannedDisk::new(Plan::Once(number, Errno::IO.raw_os_error()));
    let store = place.open_on(Durability::Full, disk);
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Fresh).unwrap();
    upload.write_at(0, &NEW[..20]).unwrap();
    upload.write_at(20, &NEW[20..]).unwrap();
    for _ in 0..2 {
        // The second sync would succeed: the kernel reports lost pages once.
        assert!(matches!(publish(&mut *upload, "/d/old", Replace::Yes), Err(Error::Io(_))));
    }
    assert!(upload.write_at(0, b"x").is_err() && upload.sync().is_err());
    // A kill now must not leave them to be resumed either.
    assert_eq!(names_on_disk(store.staging_path()).len(), 0);
    drop(upload);
    assert!(store.all_staged().is_empty());
    assert_eq!(landed(&place, "/d/old").as_deref(), Some(OLD));
}

#[test]
fn a_full_disk_keeps_what_it_took() {
    let place = prepared();
    let sound = PlannedDisk::new(Plan::Sound);
    replace(&prepared().open_on(Durability::Full, sound.clone())).unwrap();
    let third = sound.calls().iter().enumerate().filter(|(_, call)| **call == Call::Write).nth(2).unwrap().0;

    let disk = PlannedDisk::new(Plan::Once(third, Errno::NOSPC.raw_os_error()));
    let store = place.open_on(Durability::Full, disk);
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Fresh).unwrap();
    assert!(matches!(upload.write_at(0, NEW), Err(Error::NoSpace)));
    assert_eq!(upload.size(), 14, "two short writes of 7 bytes were taken");
    drop(upload);
    assert_eq!(store.staged("acme", &path("/d/old")).unwrap().size, 14);
    let mut upload = store.stage("acme", &path("/d/old"), Begin::Resume { offset: 14 }).unwrap();
    upload.write_at(14, &NEW[14..]).unwrap();
    publish(&mut *upload, "/d/old", Replace::Yes).unwrap();
    assert_eq!(landed(&place, "/d/old").as_deref(), Some(NEW));
}

#[test]
fn a_file_system_without_flags_for_rename_still_replaces_nothing() {
    let sound = PlannedDisk::new(Plan::Sound);
    new_name(&prepared().open_on(Durability::Full, sound.clone())).unwrap();
    let number = sound.calls().iter().position(|call| *call == Call::Rename).unwrap();
    for other in [None, Some(b"came in between")] {
        let place = prepared();
        let disk = PlannedDisk::new(Plan::Once(number, Errno::INVAL.raw_os_error()));
        let store = place.open_on(Durability::Full, disk);
        let mut upload = store.stage("acme", &path("/d/new"), Begin::Fresh).unwrap();
        upload.write_at(0, NEW).unwrap();
        upload.sync().unwrap();
        // As in `new_name`, so that the rename is the call of that number.
        upload.set_mode(0o640);
        upload.set_modified(SystemTime::UNIX_EPOCH);
        let at = place.root().join("d/new");
        let result = upload.publish(&path("/d/new"), Replace::No, &mut |_| {
            other.map_or(Ok(()), |bytes| std::fs::write(&at, bytes)).map_err(Into::into)
        });
        drop(upload);
        if let Some(bytes) = other {
            assert!(matches!(result, Err(Error::AlreadyExists)), "{result:?}");
            assert_eq!(landed(&place, "/d/new").as_deref(), Some(&bytes[..]));
            assert_eq!(store.all_staged().len(), 1);
        } else {
            result.unwrap();
            assert_eq!(landed(&place, "/d/new").as_deref(), Some(NEW));
            assert_eq!(names_on_disk(store.staging_path()).len(), 0);
        }
    }
}

#[test]
fn what_cannot_be_removed_is_still_shown_and_removed_later() {
    type Removal = fn(&LocalStore) -> Result<usize>;
    let sweep: Removal = |store| store.sweep(SystemTime::now() + Duration::from_mins(1)).map(|swept| swept.len());
    let discard: Removal = |store| store.discard_staged("acme", &path("/d/old")).map(|()| 1);
    for removal in [sweep, discard] {
        let suspended = |place: &Place, disk| {
            let store = place.open_on(Durability::Full, disk);
            let mut upload = store.stage("acme", &path("/d/old"), Begin::Fresh).unwrap();
            upload.write_at(0, b"1234").unwrap();
            store
        };
        let sound = PlannedDisk::new(Plan::Sound);
        let (first, second) = (prepared(), prepared());
        let store = suspended(&first, sound.clone());
        assert_eq!(removal(&store).unwrap(), 1);
        let number = sound.calls().iter().position(|call| *call == Call::Unlink).unwrap();

        let store = suspended(&second, PlannedDisk::new(Plan::Once(number, Errno::IO.raw_os_error())));
        assert!(matches!(removal(&store), Err(Error::Io(_))));
        assert_eq!(store.staged("acme", &path("/d/old")).unwrap().size, 4);
        assert_eq!(removal(&store).unwrap(), 1);
        assert!(store.all_staged().is_empty());
    }
}

/// Somebody of the host who goes on with a file while it is copied.
struct WritesMeanwhile(std::path::PathBuf);

impl Faults for WritesMeanwhile {
    fn before(&self, _call: Call) -> std::io::Result<()> {
        Ok(())
    }

    fn after(&self, call: Call, _done: bool) {
        if call == Call::CopyLanded {
            let mut file = std::fs::File::options().append(true).open(&self.0).unwrap();
            std::io::Write::write_all(&mut file, b"more").unwrap();
        }
    }
}

#[test]
fn an_append_does_not_begin_with_the_bytes_of_two_files() {
    let place = prepared();
    let store = place.open_on(Durability::Process, Arc::new(WritesMeanwhile(place.root().join("d/old"))));
    let refused = store.stage("acme", &path("/d/old"), Begin::Append).err();
    assert!(matches!(refused, Some(Error::Changed)), "{refused:?}");
    assert!(store.all_staged().is_empty());
    assert!(names_on_disk(&place.staging()).is_empty());
}

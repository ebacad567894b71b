//! Random histories of uploads, renames, removals, kills and restarts, against a model that is a few maps: after every
//! step the landed files and what each owner sees as staged are the model's.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_storage::{Begin, Durability, Error, LocalStore, Replace, Result, Store, Upload};
use proptest::prelude::*;

use crate::tests::support::{Place, Plan, PlannedDisk, names_on_disk, path, staged_bytes};

const OWNERS: &[&str] = &["acme", "beta"];
const FILES: &[&str] = &["/a", "/b", "/d/a"];
const SESSIONS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Stage { session: usize, owner: usize, file: usize, begin: Start },
    Write { session: usize, at: At, data: Vec<u8> },
    Truncate { session: usize, at: At },
    Suspend { session: usize },
    Discard { session: usize },
    Publish { session: usize, file: usize, replace: bool, called_off: bool },
    Rename { from: usize, to: usize, replace: bool },
    Remove { file: usize },
    DiscardStaged { owner: usize, file: usize },
    RenameStaged { owner: usize, from: usize, to: usize },
    Restart,
    Kill,
}

#[derive(Debug, Clone, Copy)]
enum Start {
    Fresh,
    Resume(At),
    Append,
}

/// An offset, seen from what is held.
#[derive(Debug, Clone, Copy)]
enum At {
    End,
    Percent(usize),
    Beyond(usize),
}

impl At {
    fn of(self, held: usize) -> usize {
        match self {
            Self::End => held,
            Self::Percent(percent) => held * percent / 100,
            Self::Beyond(more) => held + more,
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly one owner and one file: what is worth seeing happens where uploads meet.
    let session = 0..SESSIONS;
    let owner = prop_oneof![3 => Just(0), 1 => Just(1)];
    let file = prop_oneof![3 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
    let at = prop_oneof![5 => Just(At::End), 2 => (0..100_usize).prop_map(At::Percent), 1 => (1..9_usize).prop_map(At::Beyond)];
    let start = prop_oneof![2 => Just(Start::Fresh), 2 => at.clone().prop_map(Start::Resume), 1 => Just(Start::Append)];
    let data = proptest::collection::vec(any::<u8>(), 1..24);
    let step = prop_oneof![
        6 => (session.clone(), owner.clone(), file.clone(), start)
            .prop_map(|(session, owner, file, begin)| Step::Stage { session, owner, file, begin }),
        8 => (session.clone(), at.clone(), data)
            .prop_map(|(session, at, data)| Step::Write { session, at, data }),
        1 => (session.clone(), at).prop_map(|(session, at)| Step::Truncate { session, at }),
        3 => session.clone().prop_map(|session| Step::Suspend { session }),
        1 => session.clone().prop_map(|session| Step::Discard { session }),
        5 => (session, file.clone(), any::<bool>(), proptest::bool::weighted(0.2)).prop_map(
            |(session, file, replace, called_off)| Step::Publish { session, file, replace, called_off }
        ),
        1 => (file.clone(), file.clone(), any::<bool>())
            .prop_map(|(from, to, replace)| Step::Rename { from, to, replace }),
        1 => file.clone().prop_map(|file| Step::Remove { file }),
        1 => (owner.clone(), file.clone()).prop_map(|(owner, file)| Step::DiscardStaged { owner, file }),
        2 => (owner, file.clone(), file).prop_map(|(owner, from, to)| Step::RenameStaged { owner, from, to }),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Owner and file.
type Key = (usize, usize);

#[derive(Debug, Clone)]
struct Held {
    bytes: Vec<u8>,
    order: u64,
}

struct Session {
    upload: Box<dyn Upload>,
    key: Key,
    held: Held,
    mere_copy: bool,
    superseded: bool,
}

struct World {
    place: Place,
    disk: Arc<PlannedDisk>,
    store: LocalStore,
    sessions: [Option<Session>; SESSIONS],
    landed: BTreeMap<usize, Vec<u8>>,
    suspended: BTreeMap<Key, Held>,
    order: u64,
}

fn replace_of(replace: bool) -> Replace {
    if replace { Replace::Yes } else { Replace::No }
}

/// Requires an error of the expected kind.
#[track_caller]
fn refused<T>(result: Result<T>, expected: fn(&Error) -> bool) {
    match result {
        Err(error) if expected(&error) => {}
        Err(error) => panic!("refused for another reason: {error:?}"),
        Ok(_) => panic!("not refused"),
    }
}

fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Busy)
}

fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::NotFound)
}

fn is_beyond_end(error: &Error) -> bool {
    matches!(error, Error::BeyondEnd { .. })
}

fn already_exists(error: &Error) -> bool {
    matches!(error, Error::AlreadyExists)
}

fn is_called_off(error: &Error) -> bool {
    matches!(error, Error::CalledOff(_))
}

impl World {
    fn new() -> Self {
        let place = Place::fast();
        let (store, disk) = Self::open(&place);
        store.create_dir(&path("/d")).unwrap();
        let sessions = std::array::from_fn(|_| None);
        Self { place, disk, store, sessions, landed: BTreeMap::new(), suspended: BTreeMap::new(), order: 0 }
    }

    fn open(place: &Place) -> (LocalStore, Arc<PlannedDisk>) {
        let disk = PlannedDisk::new(Plan::Sound);
        (place.open_on(Durability::Process, disk.clone()), disk)
    }

    fn is_active(&self, key: Key) -> bool {
        self.sessions.iter().flatten().any(|session| session.key == key)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Stage { session, owner, file, begin } => self.stage(*session, (*owner, *file), *begin),
            Step::Write { session, at, data } => self.write(*session, *at, data),
            Step::Truncate { session, at } => self.truncate(*session, *at),
            Step::Suspend { session } => self.suspend(*session),
            Step::Discard { session } => {
                if let Some(session) = self.sessions[*session].take() {
                    session.upload.discard().unwrap();
                }
            }
            Step::Publish { session, file, replace, called_off } => {
                self.publish(*session, *file, *replace, *called_off);
            }
            Step::Rename { from, to, replace } => self.rename(*from, *to, *replace),
            Step::Remove { file } => {
                let result = self.store.remove_file(&path(FILES[*file]));
                assert_eq!(result.is_ok(), self.landed.remove(file).is_some());
            }
            Step::DiscardStaged { owner, file } => self.discard_staged((*owner, *file)),
            Step::RenameStaged { owner, from, to } => self.rename_staged(*owner, *from, *to),
            Step::Restart => {
                (0..SESSIONS).for_each(|session| self.suspend(session));
                self.reopen();
            }
            Step::Kill => self.kill(),
        }
    }

    fn stage(&mut self, session: usize, key: Key, begin: Start) {
        self.suspend(session);
        let (owner, file) = (OWNERS[key.0], path(FILES[key.1]));
        let busy = self.is_active(key) && !self.suspended.contains_key(&key);
        let held = self.suspended.get(&key).map(|held| held.bytes.clone());
        let (result, bytes, mere_copy): (Result<_>, _, _) = match begin {
            Start::Fresh => (self.store.stage(owner, &file, Begin::Fresh), Vec::new(), false),
            Start::Resume(at) => {
                let bytes = held.unwrap_or_default();
                let offset = at.of(bytes.len());
                let result = self.store.stage(owner, &file, Begin::Resume { offset: offset as u64 });
                let Some(kept) = bytes.get(..offset) else {
                    return refused(result, if busy { is_busy } else { is_beyond_end });
                };
                (result, kept.to_vec(), false)
            }
            Start::Append => {
                let mere_copy = held.is_none() && self.landed.contains_key(&key.1);
                let bytes = held.or_else(|| self.landed.get(&key.1).cloned()).unwrap_or_default();
                (self.store.stage(owner, &file, Begin::Append), bytes, mere_copy)
            }
        };
        if busy && !matches!(begin, Start::Fresh) {
            return refused(result, is_busy);
        }
        self.suspended.remove(&key);
        self.order += 1;
        let held = Held { bytes, order: self.order };
        let upload = result.unwrap();
        self.sessions[session] = Some(Session { upload, key, held, mere_copy, superseded: false });
    }

    fn write(&mut self, session: usize, at: At, data: &[u8]) {
        let Some(session) = &mut self.sessions[session] else { return };
        let bytes = &mut session.held.bytes;
        let at = at.of(bytes.len());
        let result = session.upload.write_at(at as u64, data);
        if at > bytes.len() {
            return refused(result, is_beyond_end);
        }
        result.unwrap();
        bytes.resize(bytes.len().max(at + data.len()), 0);
        bytes[at..at + data.len()].copy_from_slice(data);
        session.mere_copy = false;
    }

    fn truncate(&mut self, session: usize, at: At) {
        let Some(session) = &mut self.sessions[session] else { return };
        let size = at.of(session.held.bytes.len());
        let result = session.upload.truncate(size as u64);
        if size > session.held.bytes.len() {
            return refused(result, is_beyond_end);
        }
        result.unwrap();
        session.mere_copy &= size == session.held.bytes.len();
        session.held.bytes.truncate(size);
    }

    fn suspend(&mut self, session: usize) {
        let Some(session) = self.sessions[session].take() else { return };
        drop(session.upload);
        let later = self.suspended.get(&session.key).is_some_and(|other| other.order > session.held.order);
        if !session.held.bytes.is_empty() && !session.mere_copy && !session.superseded && !later {
            self.suspended.insert(session.key, session.held);
        }
    }

    fn publish(&mut self, number: usize, file: usize, replace: bool, called_off: bool) {
        let Some(session) = &mut self.sessions[number] else { return };
        let result = session.upload.publish(&path(FILES[file]), replace_of(replace), &mut |_| {
            if called_off { Err("called off".into()) } else { Ok(()) }
        });
        if !replace && self.landed.contains_key(&file) {
            return refused(result, already_exists);
        }
        if called_off {
            return refused(result, is_called_off);
        }
        assert_eq!(result.unwrap().size, session.held.bytes.len() as u64);
        let Some(session) = self.sessions[number].take() else { return };
        let (key, order) = (session.key, session.held.order);
        self.landed.insert(file, session.held.bytes);
        if self.suspended.get(&key).is_some_and(|other| other.order < order) {
            self.suspended.remove(&key);
        }
        for other in self.sessions.iter_mut().flatten() {
            other.superseded |= other.key == key && other.held.order < order;
        }
    }

    fn rename(&mut self, from: usize, to: usize, replace: bool) {
        let result = self.store.rename(&path(FILES[from]), &path(FILES[to]), replace_of(replace));
        let Some(bytes) = self.landed.get(&from).cloned() else {
            return refused(result, is_not_found);
        };
        if !replace && self.landed.contains_key(&to) {
            return refused(result, already_exists);
        }
        result.unwrap();
        self.landed.remove(&from);
        self.landed.insert(to, bytes);
    }

    fn discard_staged(&mut self, key: Key) {
        let result = self.store.discard_staged(OWNERS[key.0], &path(FILES[key.1]));
        if self.suspended.remove(&key).is_some() {
            result.unwrap();
        } else {
            refused(result, if self.is_active(key) { is_busy } else { is_not_found });
        }
    }

    fn rename_staged(&mut self, owner: usize, from: usize, to: usize) {
        let result = self.store.rename_staged(OWNERS[owner], &path(FILES[from]), &path(FILES[to]));
        if !self.suspended.contains_key(&(owner, from)) {
            return refused(result, if self.is_active((owner, from)) { is_busy } else { is_not_found });
        }
        if from != to && self.is_active((owner, to)) {
            return refused(result, is_busy);
        }
        result.unwrap();
        let held = self.suspended.remove(&(owner, from)).unwrap();
        self.suspended.insert((owner, to), held);
    }

    fn reopen(&mut self) {
        (self.store, self.disk) = Self::open(&self.place);
        self.suspended.values_mut().for_each(|held| held.order = 0);
    }

    /// The process dies: nothing tidies up. Of several uploads to one name any may be the newest by the file system's
    /// clock, whose ticks are coarse; the model takes over which.
    fn kill(&mut self) {
        self.disk.die();
        let mut candidates: BTreeMap<Key, Vec<Vec<u8>>> = BTreeMap::new();
        for session in self.sessions.iter_mut().filter_map(Option::take) {
            if !session.held.bytes.is_empty() && !session.mere_copy {
                candidates.entry(session.key).or_default().push(session.held.bytes.clone());
            }
        }
        for (key, held) in &self.suspended {
            candidates.entry(*key).or_default().push(held.bytes.clone());
        }
        self.reopen();
        self.suspended.clear();
        for (key, possible) in candidates {
            let found = self.bytes_staged(key);
            assert!(possible.contains(&found), "a kill made bytes up: {found:?} is none of {possible:?}");
            self.suspended.insert(key, Held { bytes: found, order: 0 });
        }
    }

    fn bytes_staged(&self, key: Key) -> Vec<u8> {
        let upload = self.store.staged(OWNERS[key.0], &path(FILES[key.1])).unwrap();
        std::fs::read(self.store.staging_path().join(format!("{}.part", upload.id))).unwrap()
    }

    fn check(&self) {
        for (number, file) in FILES.iter().enumerate() {
            let found = std::fs::read(self.place.root().join(&file[1..])).ok();
            assert_eq!(found.as_ref(), self.landed.get(&number), "landed at {file}");
            for (owner, name) in OWNERS.iter().enumerate() {
                let staged = self.store.staged(name, &path(file));
                if let Some(held) = self.suspended.get(&(owner, number)) {
                    let staged = staged.unwrap();
                    assert_eq!((staged.active, staged.size), (false, held.bytes.len() as u64));
                    assert_eq!(self.bytes_staged((owner, number)), held.bytes, "held for {name} at {file}");
                } else {
                    let active = self.is_active((owner, number));
                    assert_eq!(staged.map(|upload| upload.active), active.then_some(true));
                }
            }
        }
        let sessions = self.sessions.iter().flatten();
        for session in sessions.clone() {
            assert_eq!(staged_bytes(&*session.upload), session.held.bytes);
        }
        let count = self.suspended.len() + sessions.count();
        assert_eq!(self.store.all_staged().len(), count);
        // What holds nothing of its owner's has no sidecar.
        let copies = self.sessions.iter().flatten().filter(|session| session.upload.is_mere_copy()).count();
        assert_eq!(names_on_disk(self.store.staging_path()).len(), 2 * count - copies, "staging leaks");
        let landed = self.store.list(&path("/")).unwrap().count() + self.store.list(&path("/d")).unwrap().count();
        assert_eq!(landed, self.landed.len() + 1, "something else is visible");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_agrees_with_the_model(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
    }
}

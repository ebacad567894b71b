//! What several of these tests use: a store in a folder of its own, and a disk that fails to order.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use landfall_storage::disk::{Call, Faults};
use landfall_storage::{Begin, Durability, LocalStore, Replace, Store, Upload, VirtualPath};

pub(crate) fn path(text: &str) -> VirtualPath {
    VirtualPath::parse(text).unwrap()
}

/// A folder with the root and the staging folder of a store.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// In memory where the machine has that, for tests that open hundreds of stores and sync none of them for real.
    pub(crate) fn fast() -> Self {
        Self { folder: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.folder.path().join("staging")
    }

    /// A folder beside the root, which nothing may touch.
    pub(crate) fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    pub(crate) fn open(&self, durability: Durability) -> LocalStore {
        LocalStore::open(&self.root(), &self.staging(), durability).unwrap()
    }

    pub(crate) fn open_on(&self, durability: Durability, disk: Arc<dyn Faults>) -> LocalStore {
        LocalStore::open_with_faults(&self.root(), &self.staging(), durability, disk).unwrap()
    }
}

/// The names in a folder, in order.
pub(crate) fn names_on_disk(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

pub(crate) fn land(store: &dyn Store, at: &str, data: &[u8]) {
    let mut upload = store.stage("lander", &path(at), Begin::Fresh).unwrap();
    upload.write_at(0, data).unwrap();
    upload.publish(&path(at), Replace::Yes, &mut |_| Ok(())).unwrap();
}

pub(crate) fn staged_bytes(upload: &dyn Upload) -> Vec<u8> {
    let mut data = vec![0; usize::try_from(upload.size()).unwrap()];
    assert_eq!(upload.read_at(0, &mut data).unwrap(), data.len());
    data
}

/// What goes wrong, and from which call on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plan {
    /// Nothing.
    Sound,
    /// One call, counted from 0, fails with this error number; the others work.
    Once(usize, i32),
    /// No call from this one on has any effect: the process is dead.
    DeadFrom(usize),
}

/// A disk that follows a plan and remembers its calls. Every write is short.
#[derive(Debug)]
pub(crate) struct PlannedDisk {
    plan: Plan,
    calls: Mutex<Vec<Call>>,
    dead: AtomicBool,
}

impl PlannedDisk {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self { plan, calls: Mutex::default(), dead: AtomicBool::new(false) })
    }

    /// From now on no call has any effect.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The call that failed, if the plan came to that.
    pub(crate) fn hit(&self) -> Option<Call> {
        match self.plan {
            Plan::Sound => None,
            Plan::Once(at, _) | Plan::DeadFrom(at) => self.calls().get(at).copied(),
        }
    }
}

impl Faults for PlannedDisk {
    fn before(&self, call: Call) -> io::Result<()> {
        let mut calls = self.calls.lock().unwrap();
        let number = calls.len();
        calls.push(call);
        match self.plan {
            Plan::Once(at, error) if at == number => Err(io::Error::from_raw_os_error(error)),
            Plan::DeadFrom(at) if at <= number => Err(io::Error::other("dead")),
            _ if self.dead.load(Ordering::SeqCst) => Err(io::Error::other("dead")),
            _ => Ok(()),
        }
    }

    fn write_limit_bytes(&self, len_bytes: usize) -> usize {
        len_bytes.min(7)
    }
}

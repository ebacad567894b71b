//! A store and a ledger on a file system in memory for one script, one user, and around the user's home what nobody may
//! touch. Knows no script and no protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use landfall::config;
use landfall::delivery::{Delivery, Ledger, Session, TemporaryNames, ledger};
use landfall::tls::Tls;
use landfall_auth::{
    Cost, Database, Grant, Hasher, NewUser, Overwrite, Permissions, Protocol, Secret, Source, Sync, User, Users,
    WorkLimits,
};
use landfall_storage::{Durability, LocalStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::log;

/// The user's password: looked for in everything that is said and written.
pub(super) const PASSWORD: &str = "canary-password";
/// The user's room.
pub(super) const QUOTA_BYTES: u64 = 200_000;
pub(super) const MAX_FILE_BYTES: u64 = 150_000;
/// Waits for what comes after a session's end; each is so long. Counted and not timed: a machine that stands still for a
/// while is no finding.
const WAITS: u32 = 2_000;
const WAIT: Duration = Duration::from_millis(2);
/// What stands in the home from the beginning; ends as all that lands here ends.
pub(super) const SEED: &[u8] = b"a seed of acme.";
/// What stands where the user must not come.
pub(super) const CANARY: &[u8] = b"CANARY-OF-OTHERS.";
/// An operator's own file, whose name would forge a line of a listing or a reply.
pub(super) const FORGING_NAME: &str = "x\r\nFORGED";

/// Grants by number: all verbs, a dropbox, files that are not replaced, versions.
fn grants() -> [Grant; 4] {
    let common = Grant { quota_bytes: Some(QUOTA_BYTES), max_file_bytes: Some(MAX_FILE_BYTES), ..Grant::default() };
    let dropbox = Permissions { write: true, ..Permissions::NONE };
    [
        common.clone(),
        Grant { permissions: Some(dropbox), ..common.clone() },
        Grant { overwrite: Some(Overwrite::Reject), ..common.clone() },
        Grant { overwrite: Some(Overwrite::Version), ..common },
    ]
}

/// What all worlds share, since it is dear to make.
struct Ground {
    runtime: Runtime,
    hasher: Hasher,
    tls: Arc<Tls>,
    /// A database with its user, for each grant.
    databases: Vec<Vec<u8>>,
}

static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    log::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let place = place();
    let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
    let hasher = Hasher::new(cost, WorkLimits::default()).unwrap();
    let tls = Tls::load(&config::Tls::default(), place.path(), &["localhost".to_owned()]).unwrap();
    let databases = grants().into_iter().enumerate().map(|(number, grant)| {
        let (live, copy) = (place.path().join(format!("db{number}")), place.path().join(format!("copy{number}")));
        runtime.block_on(async {
            let database = Database::open(&live, Sync::Normal).await.unwrap();
            database.migrate(&ledger::MIGRATIONS).await.unwrap();
            let users = Users::open(database.clone(), Grant::default(), hasher.clone());
            let password = Some(Secret::new(PASSWORD));
            users.add(NewUser { name: "acme".to_owned(), password, grant, ..NewUser::default() }).await.unwrap();
            database.backup_to(&copy).await.unwrap();
        });
        std::fs::read(copy).unwrap()
    });
    let databases = databases.collect();
    Ground { runtime, hasher, tls, databases }
});

/// In memory where the system has such a place: nothing here is about disks.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    let builder = &mut tempfile::Builder::new();
    let builder = builder.prefix("landfall-fuzz-");
    if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }.unwrap()
}

/// Everything below a directory that must stay as it was: contents by name, links by their target.
pub(super) type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// Storage and ledger, and who may use them.
pub(super) struct World {
    place: TempDir,
    pub(super) delivery: Arc<Delivery>,
    pub(super) database: Database,
    grant: usize,
    around: Tree,
}

impl World {
    /// With the grant of that number.
    pub(super) fn new(grant: usize) -> Self {
        let ground = &*GROUND;
        let place = place();
        furnish(place.path());
        std::fs::write(place.path().join("db"), &ground.databases[grant]).unwrap();
        let (database, delivery) = ground.runtime.block_on(async {
            let database = Database::open(&place.path().join("db"), Sync::Normal).await.unwrap();
            let (files, staging) = (place.path().join("files"), place.path().join("staging"));
            let store = LocalStore::open(&files, &staging, Durability::Process).unwrap();
            let ledger = Ledger::start(database.clone());
            (database, Delivery::new(Arc::new(store), ledger, TemporaryNames::default()))
        });
        let around = around(place.path());
        Self { place, delivery, database, grant, around }
    }

    pub(super) fn home(&self) -> PathBuf {
        self.place.path().join("files/acme")
    }

    /// A session of acme's over SFTP, let in by nobody.
    pub(super) fn session(&self) -> Session {
        let grant = grants()[self.grant].clone();
        let user = User {
            id: 1,
            name: "acme".to_owned(),
            home: "/acme".to_owned(),
            email: None,
            disabled: false,
            expires: None,
            groups: Vec::new(),
            grant: grant.clone(),
            effective: grant,
            source: Source::Database,
            has_password: true,
            has_totp: false,
            key_count: 0,
        };
        let peer = SocketAddr::from(([192, 0, 2, 1], 9));
        runtime().block_on(self.delivery.open(user, Protocol::Sftp, peer)).unwrap()
    }

    /// The ledger's rows.
    pub(super) fn ledger(&self) -> Vec<ledger::Record> {
        let filter = ledger::Filter::default();
        GROUND.runtime.block_on(ledger::query(self.database.pool(), &filter)).unwrap()
    }

    /// What stands in the home: regular files; links are not followed.
    pub(super) fn files(&self) -> Vec<Vec<u8>> {
        let mut files = Vec::new();
        read_tree(&self.home(), &mut files);
        files
    }

    /// Identities of what is staged.
    fn staged(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.place.path().join("staging")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names = names.map(|name| name.split('.').next().unwrap_or_default().to_owned());
        names.filter(|name| name.len() == 32).collect()
    }

    /// What is staged is suspended, and known. The row may be written a moment after the session's end.
    pub(super) fn staging_and_ledger_agree(&self) {
        let mut waits = 0;
        loop {
            let suspended = self.ledger().into_iter().filter(|row| row.status == "suspended").map(|row| row.id);
            let (suspended, staged) = (suspended.collect::<BTreeSet<String>>(), self.staged());
            if staged == suspended {
                return;
            }
            waits += 1;
            assert!(waits < WAITS, "staged {staged:?}, suspended {suspended:?}");
            std::thread::sleep(WAIT);
        }
    }

    /// What has changed where nothing may.
    pub(super) fn trespasses(&self) -> Option<String> {
        let now = around(self.place.path());
        (now != self.around).then(|| format!("{:?} became {:?}", self.around.keys(), now.keys()))
    }
}

/// The one that all worlds live in.
pub(super) fn runtime() -> &'static Runtime {
    &GROUND.runtime
}

/// What FTP needs beside storage and ledger.
pub(super) fn ground() -> (Hasher, Arc<Tls>) {
    (GROUND.hasher.clone(), GROUND.tls.clone())
}

/// Regular files below a directory.
fn read_tree(directory: &Path, files: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            read_tree(&entry.path(), files);
        } else if kind.is_file() {
            files.push(std::fs::read(entry.path()).unwrap());
        }
    }
}

/// A home with something in it, a neighbour, an outside, and links that lead there.
fn furnish(place: &Path) {
    for directory in ["files/acme/in/box", "files/neighbour", "outside", "staging"] {
        std::fs::create_dir_all(place.join(directory)).unwrap();
    }
    for file in ["files/acme/seed.jpg", "files/acme/in/seed.png", &format!("files/acme/{FORGING_NAME}")] {
        std::fs::write(place.join(file), SEED).unwrap();
    }
    for file in ["files/neighbour/canary.jpg", "outside/canary.jpg"] {
        std::fs::write(place.join(file), CANARY).unwrap();
    }
    std::os::unix::fs::symlink("../../outside", place.join("files/acme/door")).unwrap();
    std::os::unix::fs::symlink("../../outside/canary.jpg", place.join("files/acme/key.jpg")).unwrap();
    std::os::unix::fs::symlink("loop", place.join("files/acme/loop")).unwrap();
}

/// What stands beside the user's home, and at the top.
fn around(place: &Path) -> Tree {
    let mut tree = Tree::new();
    for directory in ["outside", "files", "files/neighbour"] {
        for entry in std::fs::read_dir(place.join(directory)).unwrap().flatten() {
            let content = std::fs::read(entry.path()).unwrap_or_default();
            tree.insert(entry.path(), content);
        }
    }
    for entry in std::fs::read_dir(place).unwrap().flatten() {
        // The database comes with files of its own.
        if !entry.file_name().to_string_lossy().starts_with("db") {
            tree.insert(entry.path(), Vec::new());
        }
    }
    tree
}

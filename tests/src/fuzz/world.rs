//! A whole FTP engine for one script: a listener on loopback, a store and a ledger on a file system in memory, one user,
//! and around the user's home what nobody may touch. Knows no script.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use landfall::config::{self, PortRange, TlsPolicy};
use landfall::delivery::{Delivery, Ledger, TemporaryNames, ledger};
use landfall::ftp::Engine;
use landfall::lifecycle::Lifecycle;
use landfall::listen::{self, Gate};
use landfall::tls::Tls;
use landfall_auth::{
    Cost, Database, Grant, Hasher, Login, NewUser, Overwrite, Permissions, Secret, Sync, Throttle, ThrottleLimits,
    Users, WorkLimits,
};
use landfall_storage::{Durability, LocalStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use super::log;

/// The user's password: looked for in everything that is said and written.
pub(super) const PASSWORD: &str = "canary-password";
/// The user's room.
pub(super) const QUOTA_BYTES: u64 = 200_000;
const MAX_FILE_BYTES: u64 = 150_000;
/// What stands in the home from the beginning; ends as all that lands here ends.
pub(super) const SEED: &[u8] = b"a seed of acme.";
/// What stands where the user must not come.
pub(super) const CANARY: &[u8] = b"CANARY-OF-OTHERS.";
/// An operator's own file, whose name would forge a line of a listing or a reply.
pub(super) const FORGING_NAME: &str = "x\r\nFORGED";

/// What a script's first byte chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode(pub(super) u8);

impl Mode {
    pub(super) fn implicit(self) -> bool {
        self.0 & 3 == 2
    }

    fn tls(self) -> TlsPolicy {
        if self.0 & 3 == 3 { TlsPolicy::Required } else { TlsPolicy::Optional }
    }

    fn active(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// May a FIN without close_notify be the end of a file?
    pub(super) fn lax(self) -> bool {
        self.0 & 0x20 != 0
    }

    fn grant(self) -> usize {
        usize::from(self.0 >> 2 & 3)
    }
}

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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
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

/// An engine at work.
pub(super) struct World {
    place: TempDir,
    pub(super) address: SocketAddr,
    engine: Arc<Engine>,
    database: Database,
    tasks: TaskTracker,
    around: Tree,
}

impl World {
    pub(super) fn new(mode: Mode) -> Self {
        let ground = &*GROUND;
        let place = place();
        furnish(place.path());
        std::fs::write(place.path().join("db"), &ground.databases[mode.grant()]).unwrap();
        let config = config::Ftp {
            passive_ports: PortRange { first: 0, last: 0 },
            tls: mode.tls(),
            active: mode.active(),
            tls_close_notify_required: !mode.lax(),
            ..config::Ftp::default()
        };
        let limits = config::Limits { data_connect_seconds: 1, ..config::Limits::default() };
        let tasks = TaskTracker::new();
        let (engine, database, address) = ground.runtime.block_on(async {
            let database = Database::open(&place.path().join("db"), Sync::Normal).await.unwrap();
            let users = Users::open(database.clone(), Grant::default(), ground.hasher.clone());
            let (files, staging) = (place.path().join("files"), place.path().join("staging"));
            let store = LocalStore::open(&files, &staging, Durability::Process).unwrap();
            let ledger = Ledger::start(database.clone());
            let engine = Arc::new(Engine {
                config,
                limits: limits.clone(),
                login: Login::new(users, Throttle::new(ThrottleLimits::default()), SystemTime::now),
                delivery: Delivery::new(Arc::new(store), ledger, TemporaryNames::default()),
                tls: Some(ground.tls.clone()),
                lifecycle: Lifecycle::default(),
                shared: Arc::default(),
            });
            let listener = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let address = listener.local_addr().unwrap();
            let (serving, implicit) = (engine.clone(), mode.implicit());
            let serve = move |connection| serving.clone().serve(connection, implicit);
            let lifecycle = engine.lifecycle.clone();
            tokio::spawn(listen::run(listener, Gate::new(limits), lifecycle, tasks.clone(), |_| false, serve));
            (engine, database, address)
        });
        let around = around(place.path());
        Self { place, address, engine, database, tasks, around }
    }

    pub(super) fn home(&self) -> PathBuf {
        self.place.path().join("files/acme")
    }

    /// Stops it; true when every session and every transfer ended by itself before that.
    pub(super) fn ended(&self, mut patience: impl FnMut() -> bool) -> bool {
        while !self.tasks.is_empty() || self.engine.delivery.registry().count() > 0 {
            if !patience() {
                return false;
            }
        }
        self.engine.lifecycle.stop();
        // The transfers' threads and the accept loop let go of it.
        while Arc::strong_count(&self.engine) > 1 {
            if !patience() {
                return false;
            }
        }
        true
    }

    /// The ledger's rows.
    pub(super) fn ledger(&self) -> Vec<ledger::Record> {
        let filter = ledger::Filter::default();
        GROUND.runtime.block_on(ledger::query(self.database.pool(), &filter)).unwrap()
    }

    /// Identities of what is staged.
    pub(super) fn staged(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.place.path().join("staging")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names = names.map(|name| name.split('.').next().unwrap_or_default().to_owned());
        let mut names: Vec<String> = names.filter(|name| name.len() == 32).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What has changed where nothing may.
    pub(super) fn trespasses(&self) -> Option<String> {
        let now = around(self.place.path());
        (now != self.around).then(|| format!("{:?} became {:?}", self.around.keys(), now.keys()))
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

//! Room per user: bytes and files, landed and staged together. Charged before bytes are written, so that any number of
//! writers at the edge overshoot by nothing. An upload that will replace a file has that file's room too, so that a full
//! account can send its catalogue again; until it lands, both stand. What is on the storage is the truth: an integrator
//! who takes files away gives room back, so a refusal for quota is only said after counting anew.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use landfall_storage::{Error, Kind, Store, VirtualPath};

use super::refusal::{Reason, Refusal};

/// A count younger than this is not repeated.
const COUNT_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Accounts kept; a user beyond them is counted at each login.
const MAX_ACCOUNTS: usize = 100_000;

/// One user's room. Shared by all sessions of that user.
pub(super) struct Account {
    owner: String,
    home: VirtualPath,
    /// Held for reading while a file moves from staged to landed, for writing while counting: the count sees each once.
    moving: RwLock<()>,
    held: Mutex<Held>,
}

struct Held {
    bytes: u64,
    files: u64,
    most_bytes: u64,
    most_files: u64,
    counted: Option<Instant>,
    /// Charges of uploads under way, by upload.
    charges: HashMap<String, Charge>,
}

/// What an upload under way takes, and the length of the file that it will replace.
#[derive(Clone, Copy)]
struct Charge {
    bytes: u64,
    replaces: Option<u64>,
}

impl Held {
    /// What is held once every upload under way has landed, as far as it has come.
    fn to_be(&self) -> (u64, u64) {
        let saved: u64 = self.charges.values().map(|charge| charge.bytes.min(charge.replaces.unwrap_or(0))).sum();
        let replaced = self.charges.values().filter(|charge| charge.replaces.is_some()).count() as u64;
        (self.bytes.saturating_sub(saved), self.files.saturating_sub(replaced))
    }

    /// Why that is too much, if it is.
    fn overdrawn(&self) -> Option<Refusal> {
        let (bytes, files) = self.to_be();
        let (most, unit) = if bytes > self.most_bytes {
            (self.most_bytes, "bytes")
        } else if files > self.most_files {
            (self.most_files, "files")
        } else {
            return None;
        };
        Some(spent(most, unit))
    }
}

fn spent(most: u64, unit: &str) -> Refusal {
    let sentence = format!("the quota of {most} {unit} is spent; remove files or ask for more room");
    Refusal::new(Reason::Quota, sentence)
}

/// The accounts of users who have a quota.
#[derive(Default)]
pub(super) struct Accounts(Mutex<HashMap<String, Arc<Account>>>);

impl Accounts {
    /// The account of a user with these limits; counts what is there if nobody has yet. Blocks on the storage.
    pub(super) fn open(
        &self,
        store: &dyn Store,
        owner: &str,
        home: &VirtualPath,
        most_bytes: Option<u64>,
        most_files: Option<u64>,
    ) -> Result<Option<Arc<Account>>, Refusal> {
        if most_bytes.is_none() && most_files.is_none() {
            return Ok(None);
        }
        let account = {
            let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if accounts.len() >= MAX_ACCOUNTS {
                accounts.retain(|_, account| Arc::strong_count(account) > 1);
            }
            let known = accounts.get(owner).filter(|account| account.home == *home).cloned();
            known.unwrap_or_else(|| {
                let account = Arc::new(Account::new(owner, home));
                accounts.insert(owner.to_owned(), account.clone());
                account
            })
        };
        {
            let mut held = account.held();
            held.most_bytes = most_bytes.unwrap_or(u64::MAX);
            held.most_files = most_files.unwrap_or(u64::MAX);
        }
        account.count(store)?;
        Ok(Some(account))
    }
}

impl Account {
    fn new(owner: &str, home: &VirtualPath) -> Self {
        let held = Held {
            bytes: 0,
            files: 0,
            most_bytes: u64::MAX,
            most_files: u64::MAX,
            counted: None,
            charges: HashMap::new(),
        };
        Self { owner: owner.to_owned(), home: home.clone(), moving: RwLock::new(()), held: Mutex::new(held) }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what is landed and suspended, unless somebody just did.
    fn count(&self, store: &dyn Store) -> Result<(), Refusal> {
        let _still = self.moving.write().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.held();
        if held.counted.is_some_and(|counted| counted.elapsed() < COUNT_AGAIN_AFTER) {
            return Ok(());
        }
        let (mut bytes, mut files) = landed(store, &self.home)?;
        for staged in store.all_staged() {
            // One that is under way and charged counts by its charge, which runs ahead of its bytes.
            if staged.owner == self.owner && !held.charges.contains_key(staged.id.as_str()) {
                bytes = bytes.saturating_add(staged.size);
                files += 1;
            }
        }
        held.bytes = held.charges.values().fold(bytes, |sum, charge| sum.saturating_add(charge.bytes));
        held.files = files + held.charges.len() as u64;
        held.counted = Some(Instant::now());
        Ok(())
    }

    /// Takes an upload on, which holds `size` bytes, counted already if `counted`, and will replace a file of `replaces`
    /// bytes.
    pub(super) fn enter(
        &self,
        store: &dyn Store,
        id: &str,
        size: u64,
        counted: bool,
        replaces: Option<u64>,
    ) -> Result<(), Refusal> {
        let (bytes, files) = if counted { (0, 0) } else { (size, 1) };
        let taken = Charge { bytes: size, replaces };
        let change = |held: &mut Held| {
            held.bytes = held.bytes.saturating_add(bytes);
            held.files += files;
            held.charges.insert(id.to_owned(), taken);
        };
        let undo = |held: &mut Held| {
            held.bytes = held.bytes.saturating_sub(bytes);
            held.files = held.files.saturating_sub(files);
            held.charges.remove(id);
        };
        self.take(store, change, undo)
    }

    /// Room for an upload to hold `size` bytes in all.
    pub(super) fn charge(&self, store: &dyn Store, id: &str, size: u64) -> Result<(), Refusal> {
        let before = self.held().charges.get(id).copied().unwrap_or(Charge { bytes: 0, replaces: None });
        let more = size.saturating_sub(before.bytes);
        let change = |held: &mut Held| {
            held.bytes = held.bytes.saturating_add(more);
            held.charges.insert(id.to_owned(), Charge { bytes: before.bytes + more, ..before });
        };
        let undo = |held: &mut Held| {
            held.bytes = held.bytes.saturating_sub(more);
            held.charges.insert(id.to_owned(), before);
        };
        self.take(store, change, undo)
    }

    /// Right before a landing: the file that it replaces may be another one by now, or gone.
    pub(super) fn replaces(&self, store: &dyn Store, id: &str, now: Option<u64>) -> Result<(), Refusal> {
        let change = |held: &mut Held| {
            if let Some(charge) = held.charges.get_mut(id) {
                charge.replaces = now;
            }
        };
        // Refused, the upload is given up, and its charge with it.
        self.take(store, change, |_| {})
    }

    /// Makes a change if it does not overdraw; before refusing it, counts anew and tries again.
    fn take(&self, store: &dyn Store, change: impl Fn(&mut Held), undo: impl Fn(&mut Held)) -> Result<(), Refusal> {
        let attempt = || {
            let mut held = self.held();
            change(&mut held);
            held.overdrawn().map_or(Ok(()), |refusal| {
                undo(&mut held);
                Err(refusal)
            })
        };
        attempt().or_else(|_| {
            self.count(store)?;
            attempt()
        })
    }

    /// Keeps a count away while a file moves from staged to landed.
    pub(super) fn moving(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload is over and holds `size` bytes that stay (landed or suspended), in place of a file of `replaced` bytes.
    pub(super) fn keep(&self, id: &str, size: u64, replaced: Option<u64>) {
        let mut held = self.held();
        let charge = held.charges.remove(id).map_or(size, |charge| charge.bytes);
        held.bytes = held.bytes.saturating_sub(charge).saturating_add(size).saturating_sub(replaced.unwrap_or(0));
        held.files = held.files.saturating_sub(u64::from(replaced.is_some()));
    }

    /// The upload is over and nothing of it stays.
    pub(super) fn give_back(&self, id: &str) {
        let mut held = self.held();
        if let Some(charge) = held.charges.remove(id) {
            held.bytes = held.bytes.saturating_sub(charge.bytes);
            held.files = held.files.saturating_sub(1);
        }
    }

    /// A file that landed earlier, or a suspended upload, of that size is gone.
    pub(super) fn removed(&self, size: u64) {
        let mut held = self.held();
        held.bytes = held.bytes.saturating_sub(size);
        held.files = held.files.saturating_sub(1);
    }

    /// Is there room for a file of so many bytes, in place of one of `replaces` bytes?
    pub(super) fn fits(&self, size: u64, replaces: Option<u64>) -> Result<(), Refusal> {
        let held = self.held();
        let (bytes, _) = held.to_be();
        if bytes.saturating_add(size).saturating_sub(replaces.unwrap_or(0).min(size)) <= held.most_bytes {
            return Ok(());
        }
        Err(spent(held.most_bytes, "bytes"))
    }

    /// Bytes and files left.
    pub(super) fn rest(&self) -> (u64, u64) {
        let held = self.held();
        let (bytes, files) = held.to_be();
        (held.most_bytes.saturating_sub(bytes), held.most_files.saturating_sub(files))
    }
}

/// Bytes and files below a directory.
fn landed(store: &dyn Store, home: &VirtualPath) -> Result<(u64, u64), Refusal> {
    let (mut bytes, mut files) = (0_u64, 0_u64);
    let mut directories = vec![home.clone()];
    let mut seen = HashSet::new();
    while let Some(directory) = directories.pop() {
        // An operator's links may lead in circles.
        match store.stat(&directory) {
            Ok(stat) if stat.inode != 0 && !seen.insert(stat.inode) => continue,
            _ => {}
        }
        let entries = match store.list(&directory) {
            Ok(entries) => entries,
            // Gone since its parent was read.
            Err(Error::NotFound | Error::NotADirectory) => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            match entry.stat.kind {
                Kind::File => {
                    bytes = bytes.saturating_add(entry.stat.size);
                    files += 1;
                }
                Kind::Directory => {
                    if let Ok(path) = directory.resolve(&entry.name) {
                        directories.push(path);
                    }
                }
                Kind::Other => {}
            }
        }
    }
    Ok((bytes, files))
}

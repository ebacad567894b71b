//! Room per user: bytes and files, landed and staged together. Charged before bytes are written, so that any number of
//! writers at the edge overshoot by nothing. What is on the storage is the truth: an integrator who takes files away
//! gives room back, so a refusal for quota is only said after counting anew.

use std::collections::HashMap;
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
    charges: HashMap<String, u64>,
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
        held.bytes = held.charges.values().fold(bytes, |sum, charge| sum.saturating_add(*charge));
        held.files = files + held.charges.len() as u64;
        held.counted = Some(Instant::now());
        Ok(())
    }

    /// Takes an upload on, which holds `size` bytes that are counted already if `counted`.
    pub(super) fn enter(&self, store: &dyn Store, id: &str, size: u64, counted: bool) -> Result<(), Refusal> {
        for again in [true, false] {
            let mut held = self.held();
            let (bytes, files) = if counted { (0, 0) } else { (size, 1) };
            if held.files + files <= held.most_files && held.bytes.saturating_add(bytes) <= held.most_bytes {
                held.files += files;
                held.bytes += bytes;
                held.charges.insert(id.to_owned(), size);
                return Ok(());
            }
            drop(held);
            if again {
                self.count(store)?;
            }
        }
        Err(self.spent())
    }

    /// Room for an upload to hold `size` bytes in all.
    pub(super) fn charge(&self, store: &dyn Store, id: &str, size: u64) -> Result<(), Refusal> {
        for again in [true, false] {
            let mut held = self.held();
            let before = held.charges.get(id).copied().unwrap_or(0);
            let more = size.saturating_sub(before);
            if held.bytes.saturating_add(more) <= held.most_bytes {
                held.bytes += more;
                held.charges.insert(id.to_owned(), before.max(size));
                return Ok(());
            }
            drop(held);
            if again {
                self.count(store)?;
            }
        }
        Err(self.spent())
    }

    fn spent(&self) -> Refusal {
        let held = self.held();
        let sentence = if held.bytes >= held.most_bytes || held.files < held.most_files {
            format!("the quota of {} bytes is spent; remove files or ask for more room", held.most_bytes)
        } else {
            format!("the quota of {} files is spent; remove files or ask for more room", held.most_files)
        };
        Refusal::new(Reason::Quota, sentence)
    }

    /// Keeps a count away while a file moves from staged to landed.
    pub(super) fn moving(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload is over and holds `size` bytes that stay (landed or suspended), in place of a file of `replaced` bytes.
    pub(super) fn keep(&self, id: &str, size: u64, replaced: Option<u64>) {
        let mut held = self.held();
        let charge = held.charges.remove(id).unwrap_or(size);
        held.bytes = held.bytes.saturating_sub(charge).saturating_add(size).saturating_sub(replaced.unwrap_or(0));
        held.files = held.files.saturating_sub(u64::from(replaced.is_some()));
    }

    /// The upload is over and nothing of it stays.
    pub(super) fn give_back(&self, id: &str) {
        let mut held = self.held();
        if let Some(charge) = held.charges.remove(id) {
            held.bytes = held.bytes.saturating_sub(charge);
            held.files = held.files.saturating_sub(1);
        }
    }

    /// A file that landed earlier, or a suspended upload, of that size is gone.
    pub(super) fn removed(&self, size: u64) {
        let mut held = self.held();
        held.bytes = held.bytes.saturating_sub(size);
        held.files = held.files.saturating_sub(1);
    }

    /// Bytes and files left.
    pub(super) fn rest(&self) -> (u64, u64) {
        let held = self.held();
        (held.most_bytes.saturating_sub(held.bytes), held.most_files.saturating_sub(held.files))
    }
}

/// Bytes and files below a directory.
fn landed(store: &dyn Store, home: &VirtualPath) -> Result<(u64, u64), Refusal> {
    let (mut bytes, mut files) = (0_u64, 0_u64);
    let mut directories = vec![home.clone()];
    while let Some(directory) = directories.pop() {
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

//! Where passwords are hashed: a bounded number at a time, a bounded number waiting, on threads that may block.
//! Knows no users and no formats.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::{Block, Params};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::hash::{self, Cost, PASSWORD_MAX_BYTES, StoredHash};
use crate::secret::Secret;

/// Memory that verifications running at the same time may take together, if nobody says how many may run.
const MEMORY_MAX_KIB: usize = 224 * 1024;

/// How much work may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkLimits {
    /// Verifications at a time; each needs the cost's memory. `None`: one per core, but not more than fit in 224 MiB.
    pub running: Option<NonZeroUsize>,
    /// Verifications that wait for their turn; who comes on top is sent away.
    pub waiting: usize,
}

impl Default for WorkLimits {
    fn default() -> Self {
        Self { running: None, waiting: 64 }
    }
}

/// Hashes and verifies passwords. Cheap to clone; clones share the limits.
#[derive(Clone)]
pub struct Hasher {
    inner: Arc<Inner>,
}

struct Inner {
    cost: Params,
    dummy: StoredHash,
    places: usize,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    free: Mutex<Vec<Memory>>,
}

type Memory = Vec<Block>;

impl Hasher {
    /// Prepares hashing at that cost.
    ///
    /// # Errors
    /// [`Error::InvalidHash`] for a cost that Argon2 cannot have or that is too much work.
    pub fn new(cost: Cost, limits: WorkLimits) -> Result<Self> {
        let params = cost.params()?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let fit = (MEMORY_MAX_KIB / params.block_count().max(1)).max(1);
        let running = limits.running.map_or(cores.min(fit), NonZeroUsize::get);
        let dummy = hash::make_dummy(&params).ok_or(Error::InvalidHash("the system has no randomness to give"))?;
        let places = running.saturating_add(limits.waiting).min(Semaphore::MAX_PERMITS);
        let inner = Inner {
            cost: params,
            dummy,
            places,
            admitted: Arc::new(Semaphore::new(places)),
            running: Arc::new(Semaphore::new(running.min(Semaphore::MAX_PERMITS))),
            free: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A new hash of a password that somebody wants to set. Waits for its turn.
    ///
    /// # Errors
    /// [`Error::InvalidPassword`] when it is empty or longer than 1,024 bytes.
    pub async fn hash(&self, password: &Secret) -> Result<String> {
        self.make(password, Patience::Wait).await
    }

    /// Does the password fit? Without a stored hash the answer is no, after the same work. A stored hash that is not
    /// understood fits nothing, also after the same work.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait already.
    pub async fn verify(&self, password: &Secret, stored: Option<&str>) -> Result<bool> {
        self.fits(password, stored, Patience::None).await
    }

    pub(crate) async fn make(&self, password: &Secret, patience: Patience) -> Result<String> {
        if password.is_empty() {
            return Err(Error::InvalidPassword("it is empty"));
        }
        if password.len_bytes() > PASSWORD_MAX_BYTES {
            return Err(Error::InvalidPassword("it is longer than 1024 bytes"));
        }
        let password = password.clone();
        let made = self.work(patience, move |inner, memory| hash::make(&password, &inner.cost, memory)).await?;
        made.ok_or(Error::InvalidPassword("the system has no randomness to give"))
    }

    pub(crate) async fn fits(&self, password: &Secret, stored: Option<&str>, patience: Patience) -> Result<bool> {
        if password.len_bytes() > PASSWORD_MAX_BYTES {
            return Ok(false);
        }
        let stored = stored.and_then(|text| StoredHash::parse(text).ok());
        let password = password.clone();
        self.work(patience, move |inner, memory| {
            let is_real = stored.is_some();
            let fits = stored.as_ref().unwrap_or(&inner.dummy).fits(&password, memory);
            is_real & fits
        })
        .await
    }

    /// True when the stored hash is of another kind or cost than a new one would be.
    #[must_use]
    pub fn needs_upgrade(&self, stored: &str) -> bool {
        StoredHash::parse(stored).is_ok_and(|stored| !stored.is_current(&self.inner.cost))
    }

    /// Refuses a text that could not be verified later.
    ///
    /// # Errors
    /// [`Error::InvalidHash`].
    pub fn check_hash(text: &str) -> Result<()> {
        StoredHash::parse(text).map(drop)
    }

    /// Runs blocking work when its turn has come. A caller that goes away gives its place in the queue back; work that
    /// has begun runs to its end and holds its place till then, because it holds the memory too.
    async fn work<T: Send + 'static>(
        &self,
        patience: Patience,
        work: impl FnOnce(&Inner, &mut [Block]) -> T + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        let admitted = Arc::clone(&inner.admitted);
        let admitted = match patience {
            Patience::None => admitted.try_acquire_owned().map_err(|_| Error::Busy)?,
            Patience::Wait => admitted.acquire_owned().await.map_err(|_| Error::Busy)?,
        };
        let running = Arc::clone(&inner.running).acquire_owned().await.map_err(|_| Error::Busy)?;
        let turn = Turn { admitted, running };
        tokio::task::spawn_blocking(move || {
            let mut memory = inner.take_memory();
            let outcome = work(&inner, &mut memory);
            inner.give_memory_back(memory, turn);
            outcome
        })
        .await
        .map_err(|_| Error::Busy)
    }
}

/// What to do when no place is free.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    /// Strangers are sent away: their number must not grow.
    None,
    /// An operator's work is never refused.
    Wait,
}

/// A place among those that run. Dropping it lets the next one in.
struct Turn {
    admitted: OwnedSemaphorePermit,
    running: OwnedSemaphorePermit,
}

impl Inner {
    fn take_memory(&self) -> Memory {
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![Block::new(); self.cost.block_count()])
    }

    /// Fresh memory costs page faults, so it is handed on while others run or wait; the last one to leave gives all of
    /// it back to the system.
    fn give_memory_back(&self, memory: Memory, turn: Turn) {
        let Turn { admitted, running } = turn;
        drop(admitted);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if self.admitted.available_permits() == self.places {
            free.clear();
        } else {
            free.push(memory);
        }
        drop(free);
        drop(running);
    }
}

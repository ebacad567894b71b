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

/// glibc gives an allocation from 32 MiB on back to the system when it is freed; smaller ones of this kind it keeps, in
/// each thread's arena. So at least 33 MiB of addresses are asked for; what is not written to takes no memory.
const RETURNED_BLOCKS_MIN: usize = 33 * 1024;

/// How much work may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkLimits {
    /// Verifications at a time; each needs the cost's memory. `None`: one per core, but not more than fit in 224 MiB.
    pub running: Option<NonZeroUsize>,
    /// Verifications that wait for their turn; who comes on top is sent away. A third of the places is kept for people
    /// who have logged in before from where they are.
    pub waiting: usize,
}

impl Default for WorkLimits {
    fn default() -> Self {
        Self { running: None, waiting: 64 }
    }
}

/// Verifications at a time if nobody says how many, where each needs so much memory.
#[must_use]
pub fn usual_running(memory_kib: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cores.min((MEMORY_MAX_KIB / memory_kib.max(1)).max(1))
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
    /// Places for everybody.
    common: Arc<Semaphore>,
    /// Places that no stranger gets: a storm of guesses from many addresses must not keep out those whom we know.
    reserved: Arc<Semaphore>,
    /// Held by the one stranger who may stand in the line for `running`; the other strangers wait here. So those whom we
    /// know have at most one stranger before them, and a stranger's turn comes however many of them there are.
    gate: Arc<Semaphore>,
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
        let running = limits.running.map_or_else(|| usual_running(params.block_count()), NonZeroUsize::get);
        let dummy = hash::make_dummy(&params).ok_or(Error::InvalidHash("the system has no randomness to give"))?;
        let places = running.saturating_add(limits.waiting).min(Semaphore::MAX_PERMITS);
        let inner = Inner {
            cost: params,
            dummy,
            places,
            common: Arc::new(Semaphore::new(places - places / 3)),
            reserved: Arc::new(Semaphore::new(places / 3)),
            gate: Arc::new(Semaphore::new(1)),
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
        self.make(password, Rank::Operator).await
    }

    /// Does the password fit? Without a stored hash the answer is no, after the same work. A stored hash that is not
    /// understood fits nothing, also after the same work.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait already.
    pub async fn verify(&self, password: &Secret, stored: Option<&str>) -> Result<bool> {
        self.fits(password, stored, Rank::Stranger).await
    }

    pub(crate) async fn make(&self, password: &Secret, rank: Rank) -> Result<String> {
        if password.is_empty() {
            return Err(Error::InvalidPassword("it is empty"));
        }
        if password.len_bytes() > PASSWORD_MAX_BYTES {
            return Err(Error::InvalidPassword("it is longer than 1024 bytes"));
        }
        let password = password.clone();
        let made = self.turn(rank).await?.run(move |inner, memory| hash::make(&password, &inner.cost, memory)).await?;
        made.ok_or(Error::InvalidPassword("the system has no randomness to give"))
    }

    pub(crate) async fn fits(&self, password: &Secret, stored: Option<&str>, rank: Rank) -> Result<bool> {
        self.turn(rank).await?.fits(password, stored).await
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

    /// Waits for its turn. Whoever goes away while waiting leaves the queue.
    ///
    /// # Errors
    /// [`Error::Busy`] when no place is free; never for an operator.
    pub(crate) async fn turn(&self, rank: Rank) -> Result<Turn> {
        let inner = Arc::clone(&self.inner);
        let common = Arc::clone(&inner.common);
        let admitted = match rank {
            Rank::Stranger => common.try_acquire_owned().map_err(|_| Error::Busy)?,
            Rank::Known => {
                let reserved = Arc::clone(&inner.reserved).try_acquire_owned();
                reserved.or_else(|_| common.try_acquire_owned()).map_err(|_| Error::Busy)?
            }
            Rank::Operator => common.acquire_owned().await.map_err(|_| Error::Busy)?,
        };
        // Let go as soon as the turn has come: the next stranger steps into the line.
        let _gate = match rank {
            Rank::Stranger => Some(inner.gate.acquire().await.map_err(|_| Error::Busy)?),
            Rank::Known | Rank::Operator => None,
        };
        let running = Arc::clone(&inner.running).acquire_owned().await.map_err(|_| Error::Busy)?;
        Ok(Turn { inner: Arc::clone(&inner), admitted, running })
    }
}

/// For whom the work is: decides about the place and the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Sent away when no place is free: their number must not grow.
    Stranger,
    /// Let in before from the same network. Has places that strangers do not get, and goes first.
    Known,
    /// Never refused, and goes first.
    Operator,
}

/// A place among those that run. Dropping it lets the next one in.
pub(crate) struct Turn {
    inner: Arc<Inner>,
    admitted: OwnedSemaphorePermit,
    running: OwnedSemaphorePermit,
}

impl Turn {
    /// Does the password fit? As [`Hasher::verify`].
    pub(crate) async fn fits(self, password: &Secret, stored: Option<&str>) -> Result<bool> {
        if password.len_bytes() > PASSWORD_MAX_BYTES {
            return Ok(false);
        }
        let stored = stored.and_then(|text| StoredHash::parse(text).ok());
        let password = password.clone();
        self.run(move |inner, memory| {
            let is_real = stored.is_some();
            let fits = stored.as_ref().unwrap_or(&inner.dummy).fits(&password, memory);
            is_real & fits
        })
        .await
    }

    /// Runs blocking work. Once begun it runs to its end, also when the caller goes away, and holds its place till then,
    /// because it holds the memory too.
    async fn run<T: Send + 'static>(self, work: impl FnOnce(&Inner, &mut [Block]) -> T + Send + 'static) -> Result<T> {
        tokio::task::spawn_blocking(move || {
            let inner = Arc::clone(&self.inner);
            let mut memory = inner.take_memory();
            let outcome = work(&inner, &mut memory);
            inner.give_memory_back(memory, self);
            outcome
        })
        .await
        .map_err(|_| Error::Busy)
    }
}

impl Inner {
    fn take_memory(&self) -> Memory {
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| {
            let mut memory = Vec::with_capacity(self.cost.block_count().max(RETURNED_BLOCKS_MIN));
            memory.resize(self.cost.block_count(), Block::new());
            memory
        })
    }

    /// Fresh memory costs page faults, so it is handed on while others run or wait; the last one to leave gives all of
    /// it back to the system.
    fn give_memory_back(&self, memory: Memory, turn: Turn) {
        let Turn { inner: _, admitted, running } = turn;
        drop(admitted);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if self.common.available_permits() + self.reserved.available_permits() == self.places {
            free.clear();
        } else {
            free.push(memory);
        }
        drop(free);
        drop(running);
    }
}

#[cfg(test)]
impl Hasher {
    /// Places that nobody runs or waits in.
    pub(crate) fn places_free(&self) -> usize {
        self.inner.common.available_permits() + self.inner.reserved.available_permits()
    }

    /// Verifications that could begin at once.
    pub(crate) fn turns_free(&self) -> usize {
        self.inner.running.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::poll_once;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

    fn limits(running: usize, waiting: usize) -> WorkLimits {
        WorkLimits { running: NonZeroUsize::new(running), waiting }
    }

    #[tokio::test]
    async fn no_stored_hash_fits_nothing() -> Result<()> {
        let hasher = Hasher::new(CHEAP, WorkLimits::default())?;
        let password = Secret::from("pw");
        let stored = hasher.hash(&password).await?;
        assert!(hasher.verify(&password, Some(&stored)).await?);
        assert!(!hasher.verify(&Secret::from("other"), Some(&stored)).await?);
        assert!(!hasher.verify(&password, None).await?);
        assert!(!hasher.verify(&password, Some("not understood")).await?);
        assert!(!hasher.needs_upgrade(&stored) && !hasher.needs_upgrade("not understood"));
        let long = Secret::new("x".repeat(PASSWORD_MAX_BYTES + 1));
        assert!(!hasher.verify(&long, Some(&stored)).await?);
        assert!(hasher.hash(&long).await.is_err() && hasher.hash(&Secret::default()).await.is_err());
        assert!(hasher.hash(&Secret::new("x".repeat(PASSWORD_MAX_BYTES))).await.is_ok());
        Ok(())
    }

    /// Polled by hand, so that nothing depends on how fast threads are.
    #[tokio::test]
    async fn work_beyond_the_limits_is_refused_or_waits() -> Result<()> {
        let hasher = Hasher::new(CHEAP, limits(1, 1))?;
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let first = {
            let hasher = hasher.clone();
            tokio::spawn(async move {
                let work = move |_: &Inner, _: &mut [Block]| {
                    let _ = began.send(());
                    held.recv().is_ok()
                };
                hasher.turn(Rank::Stranger).await?.run(work).await
            })
        };
        assert!(has_begun.await.is_ok());
        let mut second = Box::pin(hasher.turn(Rank::Stranger));
        assert!(poll_once(second.as_mut()).await.is_none(), "the second waits");
        assert!(matches!(hasher.turn(Rank::Stranger).await, Err(Error::Busy)), "the third is sent away");
        let mut fourth = Box::pin(hasher.turn(Rank::Operator));
        assert!(poll_once(fourth.as_mut()).await.is_none(), "an operator waits");
        drop(fourth);
        drop(second);
        // Whoever goes away while waiting makes room.
        let mut third = Box::pin(hasher.turn(Rank::Stranger));
        assert!(poll_once(third.as_mut()).await.is_none());
        assert!(release.send(()).is_ok());
        assert_eq!(third.await?.run(|_, _| 3).await?, 3);
        assert!(matches!(first.await, Ok(Ok(true))));
        Ok(())
    }

    #[tokio::test]
    async fn those_whom_we_know_have_places_of_their_own_and_go_first() -> Result<()> {
        let hasher = Hasher::new(CHEAP, limits(1, 5))?;
        let held = hasher.turn(Rank::Stranger).await?;
        let mut strangers = [(); 3].map(|()| Box::pin(hasher.turn(Rank::Stranger)));
        for stranger in &mut strangers {
            assert!(poll_once(stranger.as_mut()).await.is_none());
        }
        assert!(matches!(hasher.turn(Rank::Stranger).await, Err(Error::Busy)), "four of six places are the strangers'");
        let mut known = [(); 2].map(|()| Box::pin(hasher.turn(Rank::Known)));
        for known in &mut known {
            assert!(poll_once(known.as_mut()).await.is_none(), "the other two are not");
        }
        assert!(matches!(hasher.turn(Rank::Known).await, Err(Error::Busy)));

        drop(held);
        let [mut first, mut second, mut third] = strangers;
        // He stood at the head of the line already.
        let mut turn = poll_once(first.as_mut()).await.ok_or(Error::Busy)??;
        for known in &mut known {
            drop(turn);
            assert!(poll_once(second.as_mut()).await.is_none() && poll_once(third.as_mut()).await.is_none());
            turn = poll_once(known.as_mut()).await.ok_or(Error::Busy)??;
        }
        drop(turn);
        drop(second.await?);
        drop(third.await?);
        assert_eq!(hasher.places_free(), 6);
        Ok(())
    }

    #[tokio::test]
    async fn those_whom_we_know_take_common_places_too() -> Result<()> {
        let hasher = Hasher::new(CHEAP, limits(1, 2))?;
        let _held = hasher.turn(Rank::Known).await?;
        let mut known = [(); 2].map(|()| Box::pin(hasher.turn(Rank::Known)));
        for known in &mut known {
            assert!(poll_once(known.as_mut()).await.is_none());
        }
        assert_eq!(hasher.places_free(), 0);
        Ok(())
    }

    #[tokio::test]
    async fn memory_is_handed_on_and_given_back_at_the_end() -> Result<()> {
        let hasher = Hasher::new(CHEAP, limits(2, 100))?;
        let mut work = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let hasher = hasher.clone();
            work.spawn(async move { hasher.verify(&Secret::from("x"), None).await });
        }
        while let Some(done) = work.join_next().await {
            assert!(matches!(done, Ok(Ok(false))));
            let kept = hasher.inner.free.lock().unwrap_or_else(PoisonError::into_inner).len();
            assert!(kept <= 2, "{kept}");
        }
        assert!(hasher.inner.free.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
        Ok(())
    }

    #[test]
    fn memory_together_stays_bounded_on_large_machines() -> Result<()> {
        let default = Hasher::new(Cost::default(), WorkLimits::default())?;
        let running = default.inner.running.available_permits();
        assert!((1..=11).contains(&running), "{running} times 19 MiB");
        let huge = Hasher::new(Cost { memory_kib: 1024 * 1024, passes: 1, lanes: 1 }, WorkLimits::default())?;
        assert_eq!(huge.inner.running.available_permits(), 1);
        Ok(())
    }
}

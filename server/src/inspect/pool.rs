//! How many files are looked at at once, how many wait for it, and for how long. Knows no format.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::{Depth, Findings, Source, examine, kind_alone};

/// Why nothing is known about a file.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Its turn did not come in time, or too many were waiting for theirs.
    #[error("too many files are being looked at")]
    Busy,
    /// It took too long.
    #[error("looking at the file took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The disk's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Permits to look at files. Who has one works on the thread that it came on, so that nothing waits but the landing that asks.
#[derive(Debug)]
pub struct Pool {
    permits: Mutex<Permits>,
    given_back: Condvar,
    wait: Duration,
    deadline: Duration,
}

/// Callers.
#[derive(Debug)]
struct Permits {
    free: usize,
    waiting: usize,
}

/// Callers that wait for a permit, at most: each keeps its thread from other work. One more is busy at once.
pub(super) const MAX_WAITING: usize = 64;
/// Waits for a permit so long, unless told.
const WAIT: Duration = Duration::from_mins(1);
/// Looks at a file so long, unless told.
const DEADLINE: Duration = Duration::from_secs(30);

impl Default for Pool {
    /// Half of the processors: the other half goes on receiving.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores / 2, WAIT, DEADLINE)
    }
}

impl Pool {
    /// At least one permit.
    #[must_use]
    pub fn new(permits: usize, wait: Duration, deadline: Duration) -> Self {
        let permits = Mutex::new(Permits { free: permits.max(1), waiting: 0 });
        Self { permits, given_back: Condvar::new(), wait, deadline }
    }

    /// `examine`, when there is a permit. Blocks: call it from a thread that may. `Depth::Type` reads a few bytes only and
    /// waits for nobody.
    ///
    /// # Errors
    /// See `Refused`. The deadline is looked at whenever bytes are read and at steps between; what a decoder does with the
    /// bytes that it has is bounded by the limits on pixels.
    pub fn examine(&self, source: &dyn Source, depth: Depth) -> Result<Findings, Refused> {
        let _permit = if depth > Depth::Type { Some(self.permit()?) } else { None };
        let timed = Timed { source, until: Instant::now() + self.deadline };
        match catch_unwind(AssertUnwindSafe(|| examine(&timed, depth))) {
            Ok(Ok(findings)) => Ok(findings),
            Ok(Err(error)) if is_late(&error) => Err(Refused::TimedOut(self.deadline)),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                let mut findings = catch_unwind(AssertUnwindSafe(|| kind_alone(&timed))).unwrap_or_default();
                let title = findings.kind.map_or("file", |kind| kind.title());
                findings.fault = Some(Fault::new(format!("{title} brings its decoder down")));
                Ok(findings)
            }
        }
    }

    pub(super) fn permit(&self) -> Result<Permit<'_>, Refused> {
        let mut permits = self.lock();
        if permits.free == 0 {
            if permits.waiting == MAX_WAITING {
                return Err(Refused::Busy);
            }
            permits.waiting += 1;
            let waited = self.given_back.wait_timeout_while(permits, self.wait, |permits| permits.free == 0);
            (permits, _) = waited.unwrap_or_else(PoisonError::into_inner);
            permits.waiting -= 1;
        }
        permits.free = permits.free.checked_sub(1).ok_or(Refused::Busy)?;
        Ok(Permit(self))
    }

    fn lock(&self) -> MutexGuard<'_, Permits> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }
}

pub(super) struct Permit<'p>(&'p Pool);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().free += 1;
        self.0.given_back.notify_one();
    }
}

/// A source that fails from its deadline on.
struct Timed<'s> {
    source: &'s dyn Source,
    until: Instant,
}

#[derive(Debug, thiserror::Error)]
#[error("the deadline has passed")]
struct Late;

/// Decoders wrap errors of what they read from into their own kinds; this one survives by its kind.
fn is_late(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Late>)
}

impl Source for Timed<'_> {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, Late));
        }
        self.source.read_at(offset, buf)
    }
}

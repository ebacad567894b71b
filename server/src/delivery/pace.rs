//! Bandwidth: how long to wait after so many bytes. Arithmetic on a clock; waits for nothing itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use landfall_auth::Grant;

/// What may come at once after a rest, as time at the full rate: small files of a supplier who is far below the rate are
/// not held up.
const BURST: Duration = Duration::from_millis(500);
/// Pieces in which bytes are moved under a limit: a transfer that is held up still flows.
const PIECES_PER_SECOND: u64 = 10;
/// Smallest and largest such piece, in bytes.
const LEAST_PIECE_BYTES: u64 = 4 * 1_024;
const MOST_PIECE_BYTES: u64 = 1_024 * 1_024;

/// A rate that is kept over time: a token bucket, told as the time at which all that has come would have come evenly.
struct Bucket {
    bytes_per_second: AtomicU64,
    even: Mutex<Instant>,
}

impl Bucket {
    fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self {
            bytes_per_second: AtomicU64::new(bytes_per_second.max(1)),
            even: Mutex::new(now.checked_sub(BURST).unwrap_or(now)),
        }
    }

    fn rate(&self) -> u64 {
        self.bytes_per_second.load(Ordering::Relaxed)
    }

    /// Counts `bytes` and says how long to wait before the next.
    fn take(&self, bytes: u64, now: Instant) -> Duration {
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = now.checked_sub(BURST).map_or(*even, |earliest| (*even).max(earliest));
        *even = begin + time_for(bytes, self.rate());
        even.saturating_duration_since(now)
    }
}

fn time_for(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// One direction of one session: its own rate, and its user's. Cheap to clone; both empty where nothing is limited.
#[derive(Clone, Default)]
pub struct Pace {
    own: Option<Arc<Bucket>>,
    shared: Option<Arc<Bucket>>,
}

impl Pace {
    fn buckets(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        self.own.iter().chain(&self.shared)
    }

    /// Counts `bytes` that were moved and says how long to wait before moving more; `None` for not at all.
    #[must_use]
    pub fn moved(&self, bytes: usize) -> Option<Duration> {
        if self.own.is_none() && self.shared.is_none() {
            return None;
        }
        let now = Instant::now();
        self.buckets().map(|bucket| bucket.take(bytes as u64, now)).max().filter(|wait| !wait.is_zero())
    }

    /// Bytes to move at a time.
    #[must_use]
    pub fn piece_bytes(&self) -> usize {
        let least = self.buckets().map(|bucket| bucket.rate()).min();
        let share = |rate: u64| (rate / PIECES_PER_SECOND).clamp(LEAST_PIECE_BYTES, MOST_PIECE_BYTES);
        least.and_then(|rate| usize::try_from(share(rate)).ok()).unwrap_or(usize::MAX)
    }
}

/// Both directions of one user, shared by the user's sessions.
struct Both {
    incoming: Arc<Bucket>,
    outgoing: Arc<Bucket>,
}

/// The users that have a limit and are in.
#[derive(Default)]
pub(super) struct Paces(Mutex<HashMap<String, Weak<Both>>>);

/// A session's paces; the user's is known as long as one of them lives.
#[derive(Clone, Default)]
pub(super) struct Paced {
    pub(super) incoming: Pace,
    pub(super) outgoing: Pace,
    _user: Option<Arc<Both>>,
}

impl std::fmt::Debug for Both {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes per second", self.incoming.rate())
    }
}

impl Paces {
    /// Of a new session of that user.
    pub(super) fn open(&self, user: &str, grant: &Grant) -> Paced {
        let now = Instant::now();
        let own = || grant.max_session_bytes_per_second.map(|rate| Arc::new(Bucket::new(rate, now)));
        let shared = grant.max_bytes_per_second.map(|rate| self.of(user, rate, now));
        Paced {
            incoming: Pace { own: own(), shared: shared.as_ref().map(|both| both.incoming.clone()) },
            outgoing: Pace { own: own(), shared: shared.as_ref().map(|both| both.outgoing.clone()) },
            _user: shared,
        }
    }

    fn of(&self, user: &str, rate: u64, now: Instant) -> Arc<Both> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(both) = all.get(user).and_then(Weak::upgrade) {
            // The newest login knows the newest rate.
            for bucket in [&both.incoming, &both.outgoing] {
                bucket.bytes_per_second.store(rate.max(1), Ordering::Relaxed);
            }
            return both;
        }
        all.retain(|_, both| both.strong_count() > 0);
        let bucket = || Arc::new(Bucket::new(rate, now));
        let both = Arc::new(Both { incoming: bucket(), outgoing: bucket() });
        all.insert(user.to_owned(), Arc::downgrade(&both));
        both
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(10);

    #[test]
    fn a_rate_is_kept_over_time_and_a_burst_is_free() {
        let begin = Instant::now() + START;
        let bucket = Bucket::new(1_000, begin);
        // Half a second's worth after a rest.
        let now = begin + START;
        assert_eq!(bucket.take(500, now), Duration::ZERO);
        assert_eq!(bucket.take(1_000, now), Duration::from_secs(1));
        assert_eq!(bucket.take(1_000, now + Duration::from_secs(1)), Duration::from_secs(1));
        // A rest is worth no more than the burst.
        assert_eq!(bucket.take(1_500, now + START), Duration::from_secs(1));
    }

    #[test]
    fn the_slower_of_both_counts_and_sessions_share_one() {
        let paces = Paces::default();
        let grant =
            Grant { max_bytes_per_second: Some(1_000), max_session_bytes_per_second: Some(4_000), ..Grant::default() };
        let (one, two) = (paces.open("acme", &grant), paces.open("acme", &grant));
        let first = one.incoming.moved(10_000).unwrap_or_default();
        let second = two.incoming.moved(10_000).unwrap_or_default();
        assert!(first > Duration::from_secs(8) && second > Duration::from_secs(18), "{first:?} {second:?}");
        // Each way by itself, and other users by themselves.
        assert!(one.outgoing.moved(400).is_none());
        assert!(paces.open("beta", &grant).incoming.moved(400).is_none());
        assert!(paces.open("free", &Grant::default()).incoming.moved(usize::MAX).is_none());
    }

    #[test]
    fn pieces_follow_the_rate() {
        let pace = |rate| Paces::default().open("acme", &Grant { max_bytes_per_second: rate, ..Grant::default() });
        assert_eq!(pace(None).incoming.piece_bytes(), usize::MAX);
        assert_eq!(pace(Some(1)).incoming.piece_bytes(), 4_096);
        assert_eq!(pace(Some(1_000_000)).incoming.piece_bytes(), 100_000);
        assert_eq!(pace(Some(u64::MAX - 1)).incoming.piece_bytes(), 1_048_576);
    }
}

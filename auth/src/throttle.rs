//! How many passwords may be guessed: per network, per account and network, and how slowly on an account that is under
//! attack. Shared by all protocols. Knows no users, only names; reads no clock: `now` is a parameter.
//!
//! What it holds against, and how:
//! - *One place guesses.* A network (IPv4 address, IPv6 /64) has 10 guesses in 10 minutes, whatever the names. A guess
//!   counts from the moment it begins, so 500 at once are no more than 10. A right password takes no guess, and gives back
//!   no other: somebody with one valid account cannot wash away guesses on others.
//! - *One old password in one cron job behind a shared address.* A network has only 5 of its 10 guesses for one name, so
//!   that the colleague's mistake does not lock the office out.
//! - *Noise behind a shared address* (a proxy, Docker's gateway). Once somebody has logged in from a network, its last 3
//!   guesses are kept for the names that have: scanners trying `root` and `admin` use up 7.
//! - *Many places guess one name.* Wrong guesses must not lock the owner out, so nothing is ever refused for what other
//!   networks did. Networks from which the account has never been opened wait before each guess, up to 5 seconds, the
//!   longer the more failures there were; the networks it was opened from last do not wait.
//! - *Many places guess verification codes, and know the password.* Five wrong codes behind the right password, and only
//!   networks that the account was opened from last may go on, until these five have leaked away.
//! - *A flood of addresses or names.* Tables have a fixed size; the entries that were quiet longest go first.
//!
//! Keys are not counted: nobody guesses one.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::user::Network;

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// How long a wrong guess counts.
    pub window: Duration,
    /// Guesses that a network has in a window.
    pub guesses_per_network: usize,
    /// Those of them that it has for one name.
    pub guesses_per_name_and_network: usize,
    /// Those of them that are kept for names that have logged in from it, once there are such.
    pub guesses_kept_for_known: usize,
    /// Wrong guesses on one name, from everywhere, before strange networks are slowed down.
    pub failures_before_delay: u32,
    /// Wrong codes behind a right password, from everywhere, before strange networks may try no more.
    pub codes_of_strangers: u32,
    /// Longest delay; reached after as many failures again.
    pub delay_max: Duration,
    /// Networks remembered, and names.
    pub entries_max: usize,
    /// Networks remembered per name as having opened it.
    pub known_networks_per_name: usize,
}

impl Default for ThrottleLimits {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(10),
            guesses_per_network: 10,
            guesses_per_name_and_network: 5,
            guesses_kept_for_known: 3,
            failures_before_delay: 20,
            codes_of_strangers: 5,
            delay_max: Duration::from_secs(5),
            entries_max: 16_384,
            known_networks_per_name: 16,
        }
    }
}

/// The counters. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Throttle {
    state: Arc<Mutex<State>>,
}

/// A name's hash: names are of any length, and what matters is that they differ.
type Name = u64;

struct State {
    limits: ThrottleLimits,
    hasher: RandomState,
    networks: HashMap<Network, Tries>,
    names: HashMap<Name, Failures>,
    /// Wrong codes behind right passwords.
    codes: HashMap<Name, Failures>,
    /// Kept in memory only. After a restart it is empty and everybody is a stranger until their first login: who comes
    /// during a storm just then shares the strangers' places and delays, and may hear "try again", but no guess at a
    /// password is refused for what others did. Codes are: whoever has the password can use up the few that strangers
    /// have, and keeps the owner out of wherever the name is not known. A login with a key, or one that came through with
    /// a password, makes them known again.
    known: HashMap<Name, Known>,
    /// How many entries of `known` hold the network.
    known_counts: HashMap<Network, u32>,
}

/// What a network did.
struct Tries {
    /// Oldest first; never more than a network has guesses.
    wrong: VecDeque<(Instant, Name)>,
    in_flight: Vec<Name>,
    last: Instant,
    /// Told whenever a guess ends. There only while somebody waits for that.
    ended: Option<Arc<Notify>>,
}

/// Wrong guesses on a name, from everywhere, leaking away evenly.
#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Where a name was opened from; latest last.
struct Known {
    networks: Vec<Network>,
    last: Instant,
}

/// The answer to somebody who wants to try a password.
pub enum Admission {
    /// Go on, after the delay. The guess takes its place until it is dropped.
    Go {
        /// To be told how it went.
        guess: Guess,
        /// To be slept before verification; tells nothing about whether there is such a user.
        delay: Duration,
    },
    /// As many guesses as the network has left are under way: ask again when this resolves.
    Wait(OwnedNotified),
    /// No guesses left.
    Refused {
        /// When there will be one again.
        retry_after: Duration,
    },
}

/// A guess under way: it takes a guess's place until it is dropped. What it counts as then depends on how far it came.
/// Before [`looked_at`](Self::looked_at) it told nobody anything, and is given back: a slow server or a lost line must
/// not use up the guesses of people who know their password. From then on it counts as wrong unless it is said to be
/// right: else hanging up would make guesses free.
#[must_use]
pub struct Guess {
    throttle: Throttle,
    name: Name,
    network: Network,
    is_known: bool,
    outcome: Outcome,
}

#[derive(Clone, Copy)]
enum Outcome {
    Right(Instant),
    Wrong(Instant),
    Unknown,
}

impl Guess {
    /// The password is about to be verified.
    pub fn looked_at(&mut self, now: Instant) {
        self.outcome = Outcome::Wrong(now);
    }

    /// Had the name been let in from that network before? After a restart nobody had.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// The password fitted and its owner was let in.
    pub fn right(mut self, now: Instant) {
        self.outcome = Outcome::Right(now);
    }

    /// It did not, or nobody was let in.
    pub fn wrong(mut self, now: Instant) {
        self.outcome = Outcome::Wrong(now);
    }

    /// It was never looked at.
    pub fn give_back(mut self) {
        self.outcome = Outcome::Unknown;
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        self.throttle.lock().end(self.name, self.network, self.outcome);
    }
}

impl Throttle {
    /// Counters at zero.
    #[must_use]
    pub fn new(limits: ThrottleLimits) -> Self {
        let state = State {
            limits,
            hasher: RandomState::new(),
            networks: HashMap::new(),
            names: HashMap::new(),
            codes: HashMap::new(),
            known: HashMap::new(),
            known_counts: HashMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Other limits, from the next guess on. What was counted stays counted.
    pub fn set_limits(&self, limits: ThrottleLimits) {
        self.lock().limits = limits;
    }

    /// May somebody on `network` try a password for `name`?
    #[must_use]
    pub fn begin(&self, name: &str, network: Network, now: Instant) -> Admission {
        let mut state = self.lock();
        let name = state.hasher.hash_one(name);
        match state.admit(name, network, now) {
            Ok(delay) => {
                let is_known = state.is_known(name, network);
                let guess = Guess { throttle: self.clone(), name, network, is_known, outcome: Outcome::Unknown };
                Admission::Go { guess, delay }
            }
            Err(admission) => admission,
        }
    }

    /// Somebody was let in by other means than a password: the network is remembered as one the name comes from.
    pub fn remember(&self, name: &str, network: Network, now: Instant) {
        let mut state = self.lock();
        let name = state.hasher.hash_one(name);
        state.remember(name, network, now);
    }

    /// May somebody who knows the password try a verification code? `is_known`: from a network that opened the account.
    #[must_use]
    pub fn may_try_code(&self, name: &str, is_known: bool, now: Instant) -> bool {
        let state = self.lock();
        let name = state.hasher.hash_one(name);
        let count = state.codes.get(&name).map_or(0, |failures| left_of(*failures, state.code_leaks(), now));
        is_known || count < state.limits.codes_of_strangers
    }

    /// It was wrong.
    pub fn wrong_code(&self, name: &str, now: Instant) {
        let mut state = self.lock();
        let name = state.hasher.hash_one(name);
        if state.codes.len() >= state.limits.entries_max && !state.codes.contains_key(&name) {
            let most = state.limits.entries_max;
            evict(&mut state.codes, most, |failures| Some(failures.last));
        }
        let leaks = state.code_leaks();
        let left = state.codes.get(&name).map_or(0, |failures| left_of(*failures, leaks, now));
        let count = left.saturating_add(1).min(state.limits.codes_of_strangers);
        state.codes.insert(name, Failures { count, last: now });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_known(&self, name: Name, network: Network) -> bool {
        self.known.get(&name).is_some_and(|known| known.networks.contains(&network))
    }

    fn admit(&mut self, name: Name, network: Network, now: Instant) -> Result<Duration, Admission> {
        let limits = self.limits;
        let is_known = self.is_known(name, network);
        let kept =
            if !is_known && self.known_counts.contains_key(&network) { limits.guesses_kept_for_known } else { 0 };
        let network_max = limits.guesses_per_network.saturating_sub(kept);
        let name_max = limits.guesses_per_name_and_network;

        self.make_room(network, now);
        let tries = self.networks.entry(network).or_insert_with(|| Tries::new(now));
        tries.last = now;
        tries.forget(limits.window, now);
        let until_network = until_free(tries.wrong.iter().map(|(at, _)| *at), network_max, limits.window, now);
        let of_name = tries.wrong.iter().filter(|(_, of)| *of == name).map(|(at, _)| *at);
        let until_name = until_free(of_name.clone(), name_max, limits.window, now);
        if let Some(retry_after) = until_network.max(until_name) {
            return Err(Admission::Refused { retry_after });
        }
        let same_in_flight = tries.in_flight.iter().filter(|other| **other == name).count();
        if tries.wrong.len() + tries.in_flight.len() >= network_max || of_name.count() + same_in_flight >= name_max {
            let ended = Arc::clone(tries.ended.get_or_insert_default());
            return Err(Admission::Wait(ended.notified_owned()));
        }
        tries.in_flight.push(name);
        Ok(if is_known { Duration::ZERO } else { self.delay(name, now) })
    }

    fn end(&mut self, name: Name, network: Network, outcome: Outcome) {
        if let Some(tries) = self.networks.get_mut(&network) {
            if let Some(index) = tries.in_flight.iter().position(|other| *other == name) {
                tries.in_flight.swap_remove(index);
            }
            if let Outcome::Wrong(now) = outcome {
                tries.wrong.push_back((now, name));
                tries.last = tries.last.max(now);
            }
            if let Some(ended) = tries.ended.take() {
                ended.notify_waiters();
            }
            if tries.is_blank() {
                self.networks.remove(&network);
            }
        }
        match outcome {
            Outcome::Right(now) => self.remember(name, network, now),
            Outcome::Wrong(now) => self.count_failure(name, now),
            Outcome::Unknown => {}
        }
    }

    /// Nothing at first, then longer with each failure, evenly up to the longest.
    fn delay(&self, name: Name, now: Instant) -> Duration {
        let free = self.limits.failures_before_delay.max(1);
        let count = self.names.get(&name).map_or(0, |failures| left_of(*failures, self.failure_leaks(), now));
        self.limits.delay_max * count.saturating_sub(free).min(free) / free
    }

    /// One failure leaks away in the time in which an evenly spread window would let one go, so that a full count is gone
    /// after two windows.
    fn failure_leaks(&self) -> Duration {
        self.limits.window / self.limits.failures_before_delay.max(1)
    }

    fn code_leaks(&self) -> Duration {
        self.limits.window / self.limits.codes_of_strangers.max(1)
    }

    fn count_failure(&mut self, name: Name, now: Instant) {
        if self.names.len() >= self.limits.entries_max && !self.names.contains_key(&name) {
            evict(&mut self.names, self.limits.entries_max, |failures| Some(failures.last));
        }
        let most = self.limits.failures_before_delay.saturating_mul(2);
        let leaks = self.failure_leaks();
        let left = self.names.get(&name).map_or(0, |failures| left_of(*failures, leaks, now));
        self.names.insert(name, Failures { count: left.saturating_add(1).min(most), last: now });
    }

    fn remember(&mut self, name: Name, network: Network, now: Instant) {
        if self.known.len() >= self.limits.entries_max && !self.known.contains_key(&name) {
            for gone in evict(&mut self.known, self.limits.entries_max, |known| Some(known.last)) {
                gone.networks.iter().for_each(|network| forget_known(&mut self.known_counts, *network));
            }
        }
        let known = self.known.entry(name).or_insert_with(|| Known { networks: Vec::new(), last: now });
        known.last = now;
        if let Some(index) = known.networks.iter().position(|other| *other == network) {
            known.networks.remove(index);
        } else {
            *self.known_counts.entry(network).or_default() += 1;
        }
        known.networks.push(network);
        if known.networks.len() > self.limits.known_networks_per_name.max(1) {
            let gone = known.networks.remove(0);
            forget_known(&mut self.known_counts, gone);
        }
    }

    /// Makes room for one more network. Those with guesses under way stay: there are no more than connections.
    fn make_room(&mut self, network: Network, now: Instant) {
        let most = self.limits.entries_max;
        if self.networks.len() < most || self.networks.contains_key(&network) {
            return;
        }
        let window = self.limits.window;
        self.networks.retain(|_, tries| {
            tries.forget(window, now);
            !tries.is_blank()
        });
        if self.networks.len() >= most - most / 16 {
            evict(&mut self.networks, most, |tries| tries.in_flight.is_empty().then_some(tries.last));
        }
    }
}

impl Tries {
    fn new(now: Instant) -> Self {
        Self { wrong: VecDeque::new(), in_flight: Vec::new(), last: now, ended: None }
    }

    fn forget(&mut self, window: Duration, now: Instant) {
        while self.wrong.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= window) {
            self.wrong.pop_front();
        }
    }

    fn is_blank(&self) -> bool {
        self.wrong.is_empty() && self.in_flight.is_empty()
    }
}

/// What is left of them, one having leaked away in each such time.
fn left_of(failures: Failures, each: Duration, now: Instant) -> u32 {
    let each = each.max(Duration::from_millis(1));
    let leaked = now.saturating_duration_since(failures.last).as_millis() / each.as_millis();
    failures.count.saturating_sub(u32::try_from(leaked).unwrap_or(u32::MAX))
}

/// How long until fewer than `most` of the guesses, oldest first, count. `None`: it is so already.
fn until_free(
    guesses: impl DoubleEndedIterator<Item = Instant>,
    most: usize,
    window: Duration,
    now: Instant,
) -> Option<Duration> {
    // With `most` zero there is never a guess: a whole window then.
    let deciding = if most == 0 { Some(now) } else { guesses.rev().nth(most - 1) };
    deciding.map(|at| (at + window).saturating_duration_since(now))
}

fn forget_known(counts: &mut HashMap<Network, u32>, network: Network) {
    if let Some(count) = counts.get_mut(&network) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&network);
        }
    }
}

/// Takes away the sixteenth that was quiet longest, so that the work is paid once for many entries.
fn evict<K: Copy + Eq + std::hash::Hash, V>(
    map: &mut HashMap<K, V>,
    entries_max: usize,
    last: impl Fn(&V) -> Option<Instant>,
) -> Vec<V> {
    let mut quiet: Vec<(Instant, K)> = map.iter().filter_map(|(key, value)| Some((last(value)?, *key))).collect();
    let count = (entries_max / 16).max(1).min(quiet.len());
    if count < quiet.len() {
        quiet.select_nth_unstable_by_key(count, |(last, _)| *last);
    }
    quiet.iter().take(count).filter_map(|(_, key)| map.remove(key)).collect()
}

#[cfg(test)]
mod tests;

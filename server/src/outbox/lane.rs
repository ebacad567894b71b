//! A lane: how far one sink has got with one supplier's events, or with one replay; and when it is tried again. Pure: the
//! time comes as a parameter.

use std::time::{Duration, SystemTime};

/// Before the second attempt; doubled with each one more.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_hours(2);

/// What a lane is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Events as they come.
    Live,
    /// All events up to some number once more.
    Replay,
    /// Those among them that were parked.
    Parked,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replay => "replay",
            Self::Parked => "parked",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "replay" => Self::Replay,
            "parked" => Self::Parked,
            _ => Self::Live,
        }
    }
}

/// Which lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The one lane of a sink for a supplier's events as they come.
    Live {
        /// The sink.
        sink: String,
        /// The supplier.
        user: String,
    },
    /// A replay, by the number of its row.
    Replay(i64),
}

/// How far, and how it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lane {
    /// Number of its row; 0 while it has none.
    pub(super) row: i64,
    pub(super) sink: String,
    pub(super) user: String,
    pub(super) kind: Kind,
    /// The last event that is done.
    pub(super) position: i64,
    /// The last event of a replay.
    pub(super) until: Option<i64>,
    /// Failed so far, for the event behind the position.
    pub(super) attempts: u32,
    pub(super) failing_since: Option<SystemTime>,
    pub(super) next_attempt: Option<SystemTime>,
    pub(super) error: Option<String>,
}

/// What a failed attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again then.
    Again(SystemTime),
    /// It has been tried for long enough.
    Park,
}

impl Lane {
    /// For a supplier's events behind `position`, as they come.
    pub(super) fn live(sink: &str, user: &str, position: i64) -> Self {
        Self {
            row: 0,
            sink: sink.to_owned(),
            user: user.to_owned(),
            kind: Kind::Live,
            position,
            until: None,
            attempts: 0,
            failing_since: None,
            next_attempt: None,
            error: None,
        }
    }

    pub(super) fn key(&self) -> Key {
        match self.kind {
            Kind::Live => Key::Live { sink: self.sink.clone(), user: self.user.clone() },
            Kind::Replay | Kind::Parked => Key::Replay(self.row),
        }
    }

    /// Is it the same lane, wherever each stands?
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.kind, self.row) == (other.kind, other.row) && self.user == other.user && self.sink == other.sink
    }

    /// Everything up to there is done: the next event begins anew.
    pub(super) fn done(&mut self, position: i64) {
        self.position = position;
        self.attempts = 0;
        self.failing_since = None;
        self.next_attempt = None;
        self.error = None;
    }

    /// The event behind the position was not taken. `spread` is any number from 0 to 1, so that lanes that fail together
    /// do not come back together; `pause` is what the receiver asks for at least.
    pub(super) fn failed(
        &mut self,
        error: String,
        now: SystemTime,
        park_after: Duration,
        spread: f64,
        pause: Option<Duration>,
    ) -> Verdict {
        let since = *self.failing_since.get_or_insert(now);
        let last = since.checked_add(park_after).unwrap_or(now);
        self.attempts = self.attempts.saturating_add(1);
        self.error = Some(error);
        if now >= last {
            return Verdict::Park;
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.attempts - 1).min(13)).min(LONGEST_PAUSE);
        let spread = doubled.mul_f64(0.75 + 0.5 * spread.clamp(0.0, 1.0));
        let next = now.checked_add(spread.max(pause.unwrap_or_default())).unwrap_or(now);
        // Once more at the end of its time, rather than a pause later.
        let next = next.min(last);
        self.next_attempt = Some(next);
        Verdict::Again(next)
    }

    /// True when it may be tried.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        // A clock that was set back must not hold events up for longer than a pause is.
        self.next_attempt
            .is_none_or(|next| next <= now || next.duration_since(now).is_ok_and(|wait| wait > LONGEST_PAUSE * 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_end_in_parking() {
        let mut lane = Lane::live("shop", "acme", 0);
        let mut now = at(1_000_000);
        let mut pauses = Vec::new();
        let parked = loop {
            match lane.failed("no".to_owned(), now, DAY, 0.5, None) {
                Verdict::Again(next) => {
                    assert!(!lane.is_due(now) && lane.is_due(next));
                    pauses.push(next.duration_since(now).unwrap_or_default().as_secs());
                    now = next;
                }
                Verdict::Park => break now,
            }
        };
        assert_eq!(
            pauses.iter().take(14).copied().collect::<Vec<_>>(),
            [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 7200]
        );
        assert_eq!(parked, at(1_000_000) + DAY);
        lane.done(7);
        assert_eq!((lane.position, lane.attempts, lane.failing_since), (7, 0, None));
        assert!(lane.is_due(at(0)));
    }

    #[test]
    fn pauses_are_spread_and_the_receiver_may_ask_for_longer_ones() {
        let pause = |spread, asked| {
            let mut lane = Lane::live("shop", "acme", 0);
            let Verdict::Again(next) = lane.failed("no".to_owned(), at(0), DAY, spread, asked) else { return None };
            next.duration_since(at(0)).ok().map(|pause| pause.as_millis())
        };
        assert_eq!((pause(0.0, None), pause(1.0, None)), (Some(750), Some(1_250)));
        assert_eq!(pause(0.0, Some(Duration::from_mins(1))), Some(60_000));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let mut lane = Lane::live("shop", "acme", 0);
        lane.failed("no".to_owned(), at(10_000_000), DAY, 0.5, None);
        assert!(lane.is_due(at(5_000_000)));
    }
}

//! Files that land in one day, by UTC, of users who may land so many. What the ledger says counts; what is landing at this
//! moment is counted beside it, so that any number of writers at the edge overshoot by nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::ledger::Ledger;
use super::refusal::{Reason, Refusal};

const DAY: Duration = Duration::from_hours(24);

/// One user's day.
#[derive(Default)]
struct Today {
    /// Days since 1970-01-01; `None` before the first look into the ledger.
    day: Option<u64>,
    landed: u64,
}

/// All users who have such a limit and have landed something.
#[derive(Default)]
pub(super) struct Days(Mutex<HashMap<String, Arc<Mutex<Today>>>>);

/// A place among the day's files; given back when dropped without [`Place::keep`].
pub(super) struct Place {
    today: Arc<Mutex<Today>>,
    day: u64,
    kept: bool,
}

impl Place {
    /// The file has landed.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.kept && today.day == Some(self.day) {
            today.landed = today.landed.saturating_sub(1);
        }
    }
}

impl Days {
    /// A place for one more file of that user. Blocks on the database at the first of each day.
    pub(super) fn take(&self, ledger: &Ledger, user: &str, most: u64, now: SystemTime) -> Result<Place, Refusal> {
        let today = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(user.to_owned()).or_default().clone();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let day = since.as_secs() / DAY.as_secs();
        {
            let mut held = today.lock().unwrap_or_else(PoisonError::into_inner);
            if held.day != Some(day) {
                let midnight = SystemTime::UNIX_EPOCH + Duration::from_secs(day * DAY.as_secs());
                *held = Today { day: Some(day), landed: ledger.landed_since(user, midnight)? };
            }
            if held.landed >= most {
                let sentence = format!(
                    "{most} files of this account have landed today, as many as may in one day; send it after midnight UTC"
                );
                return Err(Refusal::new(Reason::Quota, sentence));
            }
            held.landed += 1;
        }
        Ok(Place { today, day, kept: false })
    }

    /// A user without the limit: what was counted is not kept up any more.
    pub(super) fn forget(&self, user: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }
}

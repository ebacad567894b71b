//! `[events]`: how long events are kept, and when a batch has ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::Period;

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// The attribute `source` of every event: which server speaks.
    pub source: String,
    /// How long events are kept. Those that a configured sink has not acknowledged are kept beyond that.
    pub retention: Period,
    /// A batch has ended when its supplier has landed nothing for so long; 0s tells no batches.
    pub batch_quiet: Period,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            source: "landfall".to_owned(),
            retention: Period(Duration::from_hours(30 * 24)),
            batch_quiet: Period(Duration::from_mins(10)),
        }
    }
}

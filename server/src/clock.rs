//! The wall clock, for stamps on what people read: ledger, log, listings. Nothing decides by it; what does takes the time
//! as a parameter.

use std::time::SystemTime;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the one place that looks at the clock")]
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::now()
}

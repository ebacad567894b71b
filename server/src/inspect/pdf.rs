//! PDF: its end, as readers look for it. Objects are not looked at.

use super::Depth;
use super::fault::{Walked, missing};
use super::source::Window;

/// Readers look for the end mark in so many last bytes.
const END_WITHIN_BYTES: u64 = 1_024;
/// The cross-reference's place stands before the end mark, within so many last bytes.
const STARTXREF_WITHIN_BYTES: u64 = 2_048;

/// From the tail alone.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth) -> Walked {
    if depth == Depth::Type {
        return Ok(());
    }
    for (mark, within) in [("%%EOF", END_WITHIN_BYTES), ("startxref", STARTXREF_WITHIN_BYTES)] {
        let length = within.min(window.size());
        let tail = window.at(window.size() - length, usize::try_from(length).unwrap_or_default())?;
        if !tail.windows(mark.len()).any(|piece| piece == mark.as_bytes()) {
            return missing(format!("PDF ends without its {mark}"));
        }
    }
    Ok(())
}

//! What is wrong with a file, as one clause for people. Knows no format.

use std::fmt;
use std::io;

use landfall_auth::ContentType;

/// What is wrong with a file. Its `Display` is one clause, such as `JPEG ends after 61 % of its scan data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    clause: String,
    cut: bool,
}

impl Fault {
    /// Something that sending the file again does not mend, as far as anybody can tell.
    pub(super) fn new(clause: impl Into<String>) -> Self {
        Self { clause: clause.into(), cut: false }
    }

    /// A part of the file is missing.
    pub(super) fn cut(clause: impl Into<String>) -> Self {
        Self { clause: clause.into(), cut: true }
    }

    /// Does it look like an incomplete copy, which sending it again may mend?
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.clause)
    }
}

/// Why a walk through a file ended before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The source failed.
    Io(io::Error),
    /// Something is wrong with it.
    Fault(Fault),
    /// It is shorter than its own bytes say.
    End {
        /// The least size that it would have to have, in bytes.
        needed: u64,
    },
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

pub(super) type Walked<T = ()> = Result<T, Stop>;

/// Something is wrong.
pub(super) fn wrong<T>(clause: impl Into<String>) -> Walked<T> {
    Err(Stop::Fault(Fault::new(clause)))
}

/// A part is missing.
pub(super) fn missing<T>(clause: impl Into<String>) -> Walked<T> {
    Err(Stop::Fault(Fault::cut(clause)))
}

/// For formats that have nothing better to say about where it ends.
pub(super) fn short(kind: ContentType, size: u64, needed: u64) -> Fault {
    let (title, size, needed) = (kind.title(), number(size), number(needed));
    Fault::cut(format!("{title} has {size} bytes and needs at least {needed}"))
}

/// With separators of thousands.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

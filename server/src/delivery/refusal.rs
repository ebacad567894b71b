//! `Refusal`: why something was not done, as a kind that a protocol maps to its codes and one sentence for people.
//! Knows no code of any protocol.

use std::borrow::Cow;

use landfall_storage as storage;

/// The kind of a refusal; each protocol maps it in one exhaustive match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing stands under that name.
    NotFound,
    /// Something stands there already.
    AlreadyExists,
    /// A directory was needed, or a file was.
    WrongKind,
    /// A directory with entries.
    NotEmpty,
    /// The user may not do that.
    Permission,
    /// A name that cannot be a file's.
    BadName,
    /// An offset beyond what is held, or a size that cannot be.
    BadOffset,
    /// The upload is not whole: cut off, or of another size than announced. It is suspended.
    Incomplete,
    /// A rule about the file itself: size, content, name.
    Rule,
    /// The user's quota is spent.
    Quota,
    /// The storage is full.
    NoSpace,
    /// The same file is being sent in another session, or a limit on things at a time is reached: try again.
    Busy,
    /// What the client asks for is not offered.
    Unsupported,
    /// The storage or the database failed; details are in the log.
    Internal,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// The kind.
    pub reason: Reason,
    /// One sentence without a full stop, fit for a reply: names the rule and what to change, no path of the host.
    pub sentence: Cow<'static, str>,
}

impl Refusal {
    /// A refusal of that kind in these words.
    pub fn new(reason: Reason, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, sentence: sentence.into() }
    }

    /// The same with the file's name in front, where the file itself is the reason: a supplier reads these sentences in a
    /// report of many files, and an operator in the ledger.
    #[must_use]
    pub fn of_file(self, name: &str) -> Self {
        let lead = format!("{name} refused: ");
        match self.reason {
            Reason::Rule | Reason::Quota | Reason::Permission | Reason::AlreadyExists
                if !name.is_empty() && !self.sentence.starts_with(&lead) =>
            {
                Self { sentence: (lead + &self.sentence).into(), ..self }
            }
            _ => self,
        }
    }

    /// A failure inside: `detail` goes to the log, the peer hears that it may try again.
    pub(crate) fn internal(detail: impl std::fmt::Display) -> Self {
        tracing::error!(%detail, "internal failure");
        Self::new(Reason::Internal, "the server failed; nothing was changed; try again later")
    }
}

impl From<storage::PathError> for Refusal {
    fn from(error: storage::PathError) -> Self {
        Self::new(Reason::BadName, error.to_string())
    }
}

impl From<storage::Error> for Refusal {
    fn from(error: storage::Error) -> Self {
        use storage::Error as E;
        let error = match error {
            // Who called a landing off may have said why.
            E::CalledOff(cause) => match cause.downcast::<Self>() {
                Ok(refusal) => return *refusal,
                Err(cause) => E::CalledOff(cause),
            },
            error => error,
        };
        let reason = match &error {
            E::NotFound => Reason::NotFound,
            E::AlreadyExists => Reason::AlreadyExists,
            E::NotADirectory | E::IsADirectory => Reason::WrongKind,
            E::DirectoryNotEmpty => Reason::NotEmpty,
            E::BeyondEnd { .. } => Reason::BadOffset,
            E::Busy | E::Changed | E::Limit(_) => Reason::Busy,
            E::NoSpace => Reason::NoSpace,
            E::Stopped => Reason::Incomplete,
            E::NotPermitted => Reason::Permission,
            E::Path(_) => Reason::BadName,
            _ => {
                tracing::error!(%error, "storage failed");
                return Self::new(Reason::Internal, "the storage failed; nothing was changed; try again later");
            }
        };
        Self::new(reason, error.to_string())
    }
}

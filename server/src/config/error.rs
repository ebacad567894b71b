//! Why a configuration is refused: each problem with the place that an admin has to mend.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file and the line, the variable, or the flag; nothing where the value is a default or all of it is meant.
    pub place: Option<String>,
    /// The key's path, such as `ftp.listen` or `users.0.name`.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named, or found, cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Keys or values are wrong.
    #[error("{}", join(.0))]
    Wrong(Vec<Problem>),
}

impl ConfigError {
    /// One problem.
    pub(super) fn one(place: Option<String>, key: Option<String>, message: impl Into<String>) -> Self {
        Self::Wrong(vec![Problem { place, key, message: message.into() }])
    }
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

//! What can go wrong when users are read or changed, in sentences fit to print. Knows no exit codes and no replies.

use std::fmt;
use std::path::PathBuf;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user.
    User,
    /// A group.
    Group,
    /// A public key.
    Key,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Key => "key",
        })
    }
}

fn in_words(members: i64) -> String {
    if members == 1 { "1 member".to_owned() } else { format!("{members} members") }
}

/// Why users, groups or keys could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing goes by that name.
    #[error("there is no {kind} {name:?}")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// As asked for.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} {name:?} exists already")]
    AlreadyExists {
        /// What there is already.
        kind: Kind,
        /// As it is stored, which may differ in case from what was asked for.
        name: String,
    },
    /// Several keys have this comment.
    #[error("several keys are called {name:?}; name one by its fingerprint")]
    Ambiguous {
        /// As asked for.
        name: String,
    },
    /// Not a name for a user or a group.
    #[error(
        "{name:?} cannot be a name: 1 to 64 characters of A-Z a-z 0-9 . _ @ -, beginning with a letter or digit, \
         are allowed"
    )]
    InvalidName {
        /// As given.
        name: String,
    },
    /// A field's value is not acceptable.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a public key that can be used here.
    #[error("not a usable public key: {0}")]
    InvalidKey(&'static str),
    /// Not a password hash that can be used here.
    #[error("not a usable password hash: {0}")]
    InvalidHash(&'static str),
    /// Not a password that can be set.
    #[error("not a usable password: {0}")]
    InvalidPassword(&'static str),
    /// A line of declared users that cannot be read. Says which, never what: it may hold a password.
    #[error("entry {entry} cannot be used: {reason}")]
    Declared {
        /// Counted from 1.
        entry: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file of public keys cannot be used.
    #[error("{file}, line {line}: not a usable public key: {reason}")]
    KeyFile {
        /// Which file, as the caller calls it.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A user is declared, and the database has one of that name (but for case).
    #[error(
        "user {name:?} is declared in the configuration, but the database has a user {stored:?}: remove one of them"
    )]
    DeclaredAndStored {
        /// As declared.
        name: String,
        /// As the database has it.
        stored: String,
    },
    /// A declared user is not acceptable.
    #[error("declared user {name:?}: {source}")]
    DeclaredUser {
        /// Whose entry.
        name: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// The user is declared in the configuration.
    #[error("user {name:?} is declared in the configuration; change it there")]
    ReadOnly {
        /// Whose entry.
        name: String,
    },
    /// The group still has members.
    #[error("group {name:?} still has {}; take them out of it first", in_words(*.members))]
    GroupInUse {
        /// Which group.
        name: String,
        /// How many.
        members: i64,
    },
    /// Too many passwords are being verified.
    #[error("too many passwords are being verified; try again")]
    Busy,
    /// The database was written by a newer program.
    #[error(
        "the database is of a newer version ({found}; this program knows up to {known}): use the newer program, or \
         restore a backup that this one made"
    )]
    NewerSchema {
        /// Newest migration in the database.
        found: i64,
        /// Newest migration that this program has.
        known: i64,
    },
    /// The database file is damaged or no database of ours.
    #[error("{path} is not a sound database: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// The database file cannot be made or reached.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A migration failed.
    #[error("the database cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// SQLite failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// SQLite failed on the writer's connection.
    #[error("database: {0}")]
    Writer(#[from] rusqlite::Error),
    /// A stored value cannot be read.
    #[error("the database holds a value that cannot be read: {0}")]
    Stored(#[from] serde_json::Error),
}

/// What this crate's functions give back.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn not_found(kind: Kind, name: &str) -> Self {
        Self::NotFound { kind, name: name.to_owned() }
    }
}

//! People and secrets: users, groups, keys, passwords, and the one door they come in by.
//! Refuses to know files and protocols.
//!
//! | file | what it holds |
//! |---|---|
//! | `login` | the door: throttle, look-up, verification, permission, one log line |
//! | `throttle` | how much guessing is allowed, as arithmetic on a clock that the caller holds |
//! | `waiting` | a bounded number of tries that wait, and of those of one network |
//! | `hasher`, `hash`, `secret` | the bounded queue for hashing; the kinds of hashes; secrets in memory |
//! | `users`, `groups`, `declare`, `rows` | changing and reading people; their SQL |
//! | `factors` | several things to be shown in a row, and how far somebody is |
//! | `totp` | verification codes that change with time |
//! | `rules` | values of rules about files |
//! | `declared`, `key`, `name` | texts that people write, parsed and checked |
//! | `db` | the SQLite file, shared with the rest of the server |
//! | `user`, `error` | plain data |

// The tests speak to the crate by the names that others use.
#[cfg(test)]
extern crate self as landfall_auth;

mod db;
mod declare;
mod declared;
mod error;
mod factors;
mod groups;
mod hash;
mod hasher;
mod key;
pub mod login;
mod name;
mod rows;
mod rules;
mod secret;
#[cfg(test)]
mod tests;
mod throttle;
mod totp;
pub mod user;
mod users;
mod waiting;

pub use db::{Database, Names, Sync, Watch, Write, Writer};
pub use declare::{Synced, check_declared};
pub use declared::{DeclaredUser, add_keys, key_owner, parse_users};
pub use error::{Error, Kind, Result};
pub use factors::{Factor, Passed, check_factors};
pub use hash::{Cost, PASSWORD_MAX_BYTES};
pub use hasher::{Hasher, WorkLimits, usual_running};
pub use key::PublicKey;
pub use login::{Attempt, Certificate, Credential, Denied, Login, Step, Unanswered};
pub use name::is_name;
pub use rules::{ContentCheck, ContentType, MAX_PATTERN_BYTES, NamePattern, Pixels};
pub use secret::{Secret, generate_password};
pub use throttle::{Admission, Guess, Throttle, ThrottleLimits};
pub use totp::Totp;
pub use user::{Grant, Group, Network, Overwrite, Permissions, Protocol, Source, User};
pub use users::{Change, GROUPS_MAX, KEYS_MAX, LastLogin, NewUser, Users};

//! People and secrets: users, groups, keys, passwords, and the one door they come in by.
//! Refuses to know files and protocols.

mod db;
mod declare;
mod declared;
mod error;
mod groups;
mod hash;
mod hasher;
mod key;
pub mod login;
mod name;
mod rows;
mod secret;
mod throttle;
pub mod user;
mod users;

pub use db::{Database, Sync, Watch, Write};
pub use declare::Synced;
pub use declared::{DeclaredUser, add_keys, key_owner, parse_users};
pub use error::{Error, Kind, Result};
pub use hash::{Cost, PASSWORD_MAX_BYTES};
pub use hasher::{Hasher, WorkLimits};
pub use key::PublicKey;
pub use login::{Attempt, Credential, Denied, Login};
pub use name::is_name;
pub use secret::{Secret, generate_password};
pub use throttle::{Admission, Guess, Throttle, ThrottleLimits};
pub use user::{Grant, Group, Network, Overwrite, Permissions, Protocol, Source, User};
pub use users::{Change, GROUPS_MAX, KEYS_MAX, LastLogin, NewUser, Users};

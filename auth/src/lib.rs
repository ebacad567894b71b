//! People and secrets: users, groups, keys, passwords, and the one door they come in by.
//! Refuses to know files and protocols.

pub mod login;
pub mod user;

pub use login::{Attempt, Credential, Denied, Login};
pub use user::{Grant, Group, Network, Overwrite, Permissions, Protocol, Source, User};

//! The crate's tests from outside, as one program: a database file, a door, people in front of it.

mod database;
mod declare;
mod factors;
mod login;
mod storm;
mod users;
pub(crate) mod world;

//! The engine over a real store and a real database: the pump in memory, and the whole of it over a socket.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]

mod at_once;
mod copies;
mod digests;
mod files;
mod flow;
mod mount;
mod opening;
mod rig;
mod ssh;
mod table;

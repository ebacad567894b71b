//! The engine over a real store and a real database: the pump in memory, and the whole of it over a socket.
#![expect(clippy::unwrap_used, reason = "tests")]

mod files;
mod flow;
mod rig;
mod ssh;

//! What the fuzzers in `tests/fuzz` call, and the tests that replay their corpora: a function per target that takes any
//! bytes and panics when something does not hold. Knows no fuzzer.
//!
//! | file | holds |
//! |---|---|
//! | `commands.rs` | every pure function of the FTP engine that takes a peer's bytes |
//! | `session.rs` | a whole FTP session, and what must be true after it |
//! | `peer.rs` | the scripted client |
//! | `world.rs` | the engine that it speaks to, and what nobody may touch |
//! | `log.rs` | what was logged meanwhile |

pub mod commands;
mod log;
mod peer;
pub mod session;
mod world;

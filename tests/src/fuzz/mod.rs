//! What the fuzzers in `tests/fuzz` call, and the tests that replay their corpora: a function per target that takes any
//! bytes and panics when something does not hold. Knows no fuzzer.
//!
//! | file | holds |
//! |---|---|
//! | `commands.rs` | every pure function of the FTP engine that takes a peer's bytes |
//! | `packets.rs` | framer and parsers of the SFTP engine |
//! | `wire.rs` | SFTP's packets, written a second time |
//! | `session.rs` | a whole FTP session, and what must be true after it |
//! | `peer.rs` | the scripted client |
//! | `listening.rs` | the engine that it speaks to |
//! | `world.rs` | storage and ledger, and what nobody may touch |
//! | `pump.rs` | channels of the SFTP engine, and what must be true after them |
//! | `requester.rs` | the scripted client |
//! | `history.rs` | what its requests and their replies say about contents |
//! | `log.rs` | what was logged meanwhile |
//! | `inspect.rs` | the inspection of files |

pub mod commands;
mod history;
pub mod inspect;
mod listening;
mod log;
pub mod packets;
mod peer;
pub mod pump;
mod requester;
pub mod session;
mod wire;
mod world;

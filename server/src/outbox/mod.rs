//! The outbox: what integrators are told of what happened to uploads. Events are written by the ledger's own transactions
//! and told to sinks afterwards. Refuses to know protocols, rules and files.
//!
//! | file | holds |
//! |---|---|
//! | `record.rs` | how a row of the ledger becomes an event |
//! | `event.rs` | an event as integrators see it |
//! | `rows.rs` | reading events |

pub mod event;
mod record;
pub mod rows;

pub use event::{Event, EventType};
pub(crate) use record::record;

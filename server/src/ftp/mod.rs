//! FTP engine: the listener's protocol only. What a session may do, and what becomes of bytes, is `delivery`'s matter.
//!
//! | file | holds |
//! |---|---|
//! | `command.rs` | the table of verbs, and the parser |
//! | `reply.rs` | replies, and the code of each refusal |
//! | `lines.rs`, `socket.rs`, `control.rs` | the control connection: lines, Telnet, TLS |
//! | `session.rs` | one session: its state, its loop, who obeys which verb |
//! | `login.rs`, `secure.rs`, `settings.rs`, `files.rs`, `hash.rs`, `ports.rs` | the verbs, by subject |
//! | `attend.rs` | what the control connection hears and answers while a command takes its time |
//! | `work.rs` | verbs that take their time without a data connection |
//! | `transfer.rs`, `course.rs` | a transfer seen from the control connection: how it begins, how far it is, who stops it |
//! | `upload.rs`, `download.rs`, `listing.rs`, `walk.rs` | a transfer seen from its own thread |
//! | `outcome.rs` | how transfers end, and the replies to that |
//! | `data.rs`, `passive.rs`, `resumption.rs` | data connections: bytes and TLS, where they come from, whose session they resume |
//! | `ascii.rs`, `facts.rs`, `ls.rs`, `time.rs`, `buffers.rs` | pure helpers |

pub mod ascii;
mod attend;
mod buffers;
pub mod command;
mod control;
mod course;
mod data;
mod download;
pub mod facts;
mod files;
mod hash;
pub mod lines;
mod listing;
mod login;
pub mod ls;
mod outcome;
pub mod passive;
mod ports;
pub mod reply;
mod resumption;
mod secure;
mod session;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
pub mod time;
mod transfer;
mod upload;
mod walk;
mod work;

use std::sync::{Arc, Mutex};

use landfall_auth::Login;

use crate::config;
use crate::delivery::Delivery;
use crate::lifecycle::Lifecycle;
use crate::listen::Connection;
use crate::tls::Tls;

/// Everything that FTP sessions share.
pub struct Engine {
    /// `[ftp]`.
    pub config: config::Ftp,
    /// `[limits]`.
    pub limits: config::Limits,
    /// The door.
    pub login: Login,
    /// What a session may do.
    pub delivery: Arc<Delivery>,
    /// TLS; `None` with `tls = "off"` and no implicit listener.
    pub tls: Option<Arc<Tls>>,
    /// Drain and stop.
    pub lifecycle: Lifecycle,
    /// The engine's own; `Arc::<Shared>::default()`.
    pub shared: Arc<Shared>,
}

/// What sessions share beyond what the engine is given.
#[derive(Default)]
pub struct Shared {
    buffers: buffers::Pool,
    lookup: passive::Lookup,
    ports: passive::OwnPorts,
    running: Mutex<transfer::Running>,
}

impl Shared {
    /// Says that this process listens on that port, whatever is spoken there: no data connection is opened to it.
    pub fn listens_on(&self, port: u16) {
        self.ports.add(port);
    }
}

impl Engine {
    /// The same engine with other settings.
    #[must_use]
    pub fn reconfigured(&self, config: config::Ftp, limits: config::Limits) -> Self {
        Self {
            config,
            limits,
            login: self.login.clone(),
            delivery: self.delivery.clone(),
            tls: self.tls.clone(),
            lifecycle: self.lifecycle.clone(),
            shared: self.shared.clone(),
        }
    }

    /// Serves one connection to its end. `implicit` begins with a TLS handshake.
    pub async fn serve(self: Arc<Self>, connection: Connection, implicit: bool) {
        session::Session::new(self, connection).run(implicit).await;
    }
}

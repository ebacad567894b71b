//! What an admin may set: one file per section, each with defaults, each limit with its unit in its name.
//! The only room that reads the environment. Builds nothing and opens no listener.
//!
//! | file | holds |
//! |---|---|
//! | `load.rs` | the layers: defaults, file, environment, flags; where each value came from |
//! | `env.rs` | `LANDFALL_…` variables as a layer |
//! | `file.rs` | the TOML file as a layer, and the line of each key |
//! | `unknown.rs` | keys that do not exist, and the nearest that does |
//! | `plain.rs` | what a parser calls things, in an admin's words |
//! | `check.rs`, `check_sinks.rs` | what the values mean together: errors and warnings |
//! | `show.rs` | effective values with their origin, secrets redacted |
//! | `units.rs`, `lists.rs` | values as people write them |
//! | the others | one section each |

mod auth;
mod check;
mod check_sinks;
mod env;
mod error;
mod events;
mod file;
mod ftp;
mod grant;
mod http;
mod ledger;
mod limits;
mod lists;
mod load;
mod plain;
mod sftp;
mod show;
mod sinks;
mod storage;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
mod tls;
mod units;
mod unknown;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use auth::Auth;
pub use env::{process as process_environment, search_path};
pub use error::{ConfigError, Problem};
pub use events::Events;
pub use ftp::{Ftp, PassiveHost, PortRange, SessionReuse, TlsPolicy};
pub use grant::{ByPath, DeclaredGroup, DeclaredUser, Defaults, PathVerbs, Size, Verbs, Way};
pub use http::Http;
pub use ledger::{Keep, Ledger};
pub use limits::Limits;
pub use load::{Flags, Loaded, LogFormat, LogSettings, Origin, data_dir, load, log_settings};
pub use sftp::Sftp;
pub use show::{as_json, as_toml};
pub use sinks::{Sink, SinkKind, Target};
pub use storage::{Durability, Storage};
pub use tls::{Tls, TlsHost};
pub use units::{ByteSize, Count, Moment, Period, REDACTED, Secret};

/// Everything that an admin may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Database, keys, certificate.
    pub data_dir: PathBuf,
    /// `[storage]`.
    pub storage: Storage,
    /// `[ftp]`.
    pub ftp: Ftp,
    /// `[sftp]`.
    pub sftp: Sftp,
    /// `[tls]`.
    pub tls: Tls,
    /// `[http]`.
    pub http: Http,
    /// `[ledger]`.
    pub ledger: Ledger,
    /// `[limits]`.
    pub limits: Limits,
    /// `[events]`.
    pub events: Events,
    /// `[[sinks]]`.
    pub sinks: Vec<Sink>,
    /// `[auth]`.
    pub auth: Auth,
    /// `[defaults]`.
    pub defaults: Defaults,
    /// `[[groups]]`.
    pub groups: Vec<DeclaredGroup>,
    /// `[[users]]`.
    pub users: Vec<DeclaredUser>,
    /// `LANDFALL_USERS`, as it stands.
    #[serde(skip)]
    pub user_list: Secret,
    /// Where that came from: the variable, or the file that it names.
    #[serde(skip)]
    pub user_list_from: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./landfall-data"),
            storage: Storage::default(),
            ftp: Ftp::default(),
            sftp: Sftp::default(),
            tls: Tls::default(),
            http: Http::default(),
            ledger: Ledger::default(),
            limits: Limits::default(),
            events: Events::default(),
            sinks: Vec::new(),
            auth: Auth::default(),
            defaults: Defaults::default(),
            groups: Vec::new(),
            users: Vec::new(),
            user_list: Secret::default(),
            user_list_from: String::new(),
        }
    }
}

impl Config {
    /// Path of the database: users and ledger.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("landfall.db")
    }
}

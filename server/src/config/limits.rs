//! `[limits]`: how many, how large, how long; each with its unit in its name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at a time, all listeners together.
    pub connections: u32,
    /// Connections at a time from one network (IPv4 address, IPv6 /64).
    pub connections_per_network: u32,
    /// Connections at a time that are not logged in yet.
    pub strangers: u32,
    /// Transfers at a time.
    pub transfers: u32,
    /// From connect to login.
    pub login_seconds: u64,
    /// One TLS handshake.
    pub handshake_seconds: u64,
    /// A logged-in session without a command or request.
    pub idle_seconds: u64,
    /// An FTP transfer without a byte. SFTP has handles instead, which may stay open as long as their connection does.
    pub transfer_idle_seconds: u64,
    /// From PASV to the data connection.
    pub data_connect_seconds: u64,
    /// Wrong credentials on one connection before it is closed.
    pub login_attempts_per_connection: u32,
    /// How long transfers may go on after the first SIGTERM.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_network: 2_000,
            strangers: 2_000,
            transfers: 1_024,
            login_seconds: 30,
            handshake_seconds: 10,
            idle_seconds: 600,
            transfer_idle_seconds: 120,
            data_connect_seconds: 30,
            login_attempts_per_connection: 3,
            drain_seconds: 30,
        }
    }
}

impl Limits {
    /// `handshake_seconds` as a duration.
    #[must_use]
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_seconds)
    }
}

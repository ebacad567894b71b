//! The sessions of this process: who is in, from where, doing what. Knows no socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use landfall_auth::Protocol;

/// All sessions that are logged in.
#[derive(Default)]
pub struct Registry {}

/// What a session shows of itself.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SessionInfo {
    /// Number of the session in this process.
    pub id: u64,
    /// Login name.
    pub user: String,
    /// How it came in.
    pub protocol: Protocol,
    /// Where from.
    pub peer: SocketAddr,
    /// Since when.
    pub since: SystemTime,
    /// What it does, for people: `idle`, `STOR /a.jpg`.
    pub activity: String,
    /// Bytes received and sent.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// Counters of one session, written by its engine without a lock.
#[derive(Debug, Default)]
pub struct Activity {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

impl Activity {
    /// Adds received payload.
    pub fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds sent payload.
    pub fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Shared handle.
pub type SharedActivity = Arc<Activity>;

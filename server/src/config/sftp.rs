//! `[sftp]`: listeners.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::lists;

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sftp {
    /// Addresses; none switches SFTP off.
    #[serde(deserialize_with = "lists::addresses")]
    pub listen: Vec<SocketAddr>,
}

impl Default for Sftp {
    fn default() -> Self {
        Self { listen: vec![SocketAddr::from(([0, 0, 0, 0], 2022))] }
    }
}

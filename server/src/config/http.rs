//! `[http]`: listeners for `/healthz` and `/readyz`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::lists;

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Addresses; none switches HTTP off.
    #[serde(deserialize_with = "lists::addresses")]
    pub listen: Vec<SocketAddr>,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))] }
    }
}

//! `[sftp]`: listeners, and proxies before them.

use std::net::{IpAddr, SocketAddr};

use landfall_auth::Network;
use serde::{Deserialize, Serialize};

use super::lists;

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sftp {
    /// Addresses; none switches SFTP off.
    #[serde(deserialize_with = "lists::addresses")]
    pub listen: Vec<SocketAddr>,
    /// Proxies that begin each connection with a PROXY header.
    #[serde(deserialize_with = "lists::list")]
    pub proxy_protocol: Vec<Network>,
}

impl Sftp {
    /// Must that peer begin with a PROXY header?
    #[must_use]
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxy_protocol.iter().any(|network| network.contains(peer))
    }
}

impl Default for Sftp {
    fn default() -> Self {
        Self { listen: vec![SocketAddr::from(([0, 0, 0, 0], 2022))], proxy_protocol: Vec::new() }
    }
}

//! `[sftp]`: listeners, proxies before them, authorities for certificates, a text before the login.

use std::net::{IpAddr, SocketAddr};

use landfall_auth::{Network, PublicKey};
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
    /// Authorities whose user certificates open doors: one public key each.
    #[serde(deserialize_with = "lists::list")]
    pub user_ca_keys: Vec<PublicKey>,
    /// Text that clients show before the login; none if it is empty.
    pub banner: String,
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
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 2022))],
            proxy_protocol: Vec::new(),
            user_ca_keys: Vec::new(),
            banner: String::new(),
        }
    }
}

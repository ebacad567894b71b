//! `[ftp]`: listeners, TLS policy, passive and active data connections.

use std::net::{IpAddr, SocketAddr};

use landfall_auth::Network;
use serde::{Deserialize, Serialize};

use super::lists;

/// May, must or can a session be under TLS?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsPolicy {
    /// Both; plain logins warn in the log.
    #[default]
    Optional,
    /// No login and no data connection in clear.
    Required,
    /// AUTH TLS is not offered.
    Off,
}

/// Must a data connection resume the control connection's TLS session?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionReuse {
    /// It may.
    #[default]
    Optional,
    /// It must.
    Required,
}

/// Inclusive range of TCP ports, written `50000-50009`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// First port; 0 with `last` 0 lets the system choose.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl TryFrom<String> for PortRange {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const FORM: &str = "a port range is written FIRST-LAST, for example 50000-50009";
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let first = first.trim().parse().map_err(|_| FORM)?;
        let last = last.trim().parse().map_err(|_| FORM)?;
        if first > last {
            return Err("the first port of a range is greater than its last");
        }
        if first == 0 && last != 0 {
            return Err("port 0 (any port) cannot begin a range");
        }
        Ok(Self { first, last })
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        format!("{}-{}", range.first, range.last)
    }
}

/// The IPv4 address that PASV tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum PassiveHost {
    /// The address that the client connected to.
    #[default]
    Auto,
    /// An address, or a name that is looked up again as it changes.
    Host(String),
}

impl From<String> for PassiveHost {
    fn from(text: String) -> Self {
        if text == "auto" { Self::Auto } else { Self::Host(text) }
    }
}

impl From<PassiveHost> for String {
    fn from(host: PassiveHost) -> Self {
        match host {
            PassiveHost::Auto => "auto".to_owned(),
            PassiveHost::Host(host) => host,
        }
    }
}

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ftp {
    /// Addresses for FTP with explicit TLS; none switches it off.
    #[serde(deserialize_with = "lists::addresses")]
    pub listen: Vec<SocketAddr>,
    /// Addresses for implicit FTPS.
    #[serde(deserialize_with = "lists::addresses")]
    pub implicit_listen: Vec<SocketAddr>,
    /// TLS policy.
    pub tls: TlsPolicy,
    /// Resumption on data connections.
    pub tls_session_reuse: SessionReuse,
    /// Must an upload's data connection under TLS end with close_notify? False is for clients that never send it.
    pub tls_close_notify_required: bool,
    /// Ports for passive data connections.
    pub passive_ports: PortRange,
    /// Address that PASV tells.
    pub passive_host: PassiveHost,
    /// PORT and EPRT allowed.
    pub active: bool,
    /// Must a data connection come from the control connection's address? False is for clients behind several NAT addresses.
    pub data_peer_check: bool,
    /// Proxies that begin each connection with a PROXY header, data connections too.
    #[serde(deserialize_with = "lists::list")]
    pub proxy_protocol: Vec<Network>,
}

impl Ftp {
    /// Must that peer begin with a PROXY header?
    #[must_use]
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxy_protocol.iter().any(|network| network.contains(peer))
    }
}

impl Default for Ftp {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 2121))],
            implicit_listen: Vec::new(),
            tls: TlsPolicy::default(),
            tls_session_reuse: SessionReuse::default(),
            tls_close_notify_required: true,
            passive_ports: PortRange { first: 50_000, last: 50_009 },
            passive_host: PassiveHost::default(),
            active: false,
            data_peer_check: true,
            proxy_protocol: Vec::new(),
        }
    }
}

//! Certificate and TLS configurations, reloaded without dropping sessions. Knows no protocol above TLS.

use std::sync::{Arc, RwLock};

use rustls::ServerConfig;

/// The TLS side of all listeners. A reload swaps what later handshakes use.
pub struct Tls {
    current: RwLock<Configs>,
}

/// The two configurations that belong together: they share one session cache and ticket key, so that a data connection
/// can resume its control connection's session.
#[derive(Clone)]
pub struct Configs {
    /// For control connections: tickets on.
    pub control: Arc<ServerConfig>,
    /// For data connections: resumes, but sends no TLS 1.3 tickets, which a client that only uploads never reads.
    pub data: Arc<ServerConfig>,
}

impl Tls {
    /// What a handshake that begins now must use. A session takes both at its control connection's handshake.
    #[must_use]
    pub fn configs(&self) -> Configs {
        self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

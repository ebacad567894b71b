//! FTP engine: listener's protocol only.

use std::sync::Arc;

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
        }
    }

    /// Serves one connection to its end. `implicit` begins with a TLS handshake.
    pub async fn serve(self: Arc<Self>, connection: Connection, implicit: bool) {
        drop((connection, implicit));
    }
}

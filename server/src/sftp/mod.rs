//! SFTP engine: listener's protocol only.

use std::sync::Arc;

use landfall_auth::Login;

use crate::config;
use crate::delivery::Delivery;
use crate::lifecycle::Lifecycle;
use crate::listen::Connection;

/// Everything that SFTP sessions share.
pub struct Engine {
    /// `[sftp]`.
    pub config: config::Sftp,
    /// `[limits]`.
    pub limits: config::Limits,
    /// The door.
    pub login: Login,
    /// What a session may do.
    pub delivery: Arc<Delivery>,
    /// Host keys: Ed25519, then ECDSA P-256.
    pub host_keys: Vec<russh::keys::PrivateKey>,
    /// Drain and stop.
    pub lifecycle: Lifecycle,
}

impl Engine {
    /// The same engine with other settings.
    #[must_use]
    pub fn reconfigured(&self, config: config::Sftp, limits: config::Limits) -> Self {
        Self {
            config,
            limits,
            login: self.login.clone(),
            delivery: self.delivery.clone(),
            host_keys: self.host_keys.clone(),
            lifecycle: self.lifecycle.clone(),
        }
    }

    /// Serves one connection to its end.
    pub async fn serve(self: Arc<Self>, connection: Connection) {
        drop(connection);
    }
}

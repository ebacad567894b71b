//! `[tls]`: the certificate shown to FTPS clients.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the certificate and its chain; empty means a self-signed one, kept in the data directory.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

impl Tls {
    /// Certificate and key file, when both are set.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        (!self.certificate.as_os_str().is_empty() && !self.key.as_os_str().is_empty())
            .then_some((&*self.certificate, &*self.key))
    }
}

//! `[tls]`: the certificates shown to FTPS clients.

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
    /// `[[tls.hosts]]`: names of this server, for HOST and for clients that ask for one by SNI.
    pub hosts: Vec<TlsHost>,
}

/// One entry of `[[tls.hosts]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsHost {
    /// Host name.
    pub name: String,
    /// PEM file with its certificate and chain; empty where `tls.certificate` names this host too.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

impl Tls {
    /// Certificate and key file, when both are set.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        both(&self.certificate, &self.key)
    }
}

impl TlsHost {
    /// Certificate and key file, when both are set.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        both(&self.certificate, &self.key)
    }
}

fn both<'a>(certificate: &'a Path, key: &'a Path) -> Option<(&'a Path, &'a Path)> {
    (!certificate.as_os_str().is_empty() && !key.as_os_str().is_empty()).then_some((certificate, key))
}

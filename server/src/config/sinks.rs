//! `[[sinks]]`: where events go.

use std::path::PathBuf;
use std::time::Duration;

use base64ct::{Base64, Base64Unpadded, Encoding};
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::file::read_text;
use super::lists;
use super::units::{Period, Secret};
use crate::outbox::EventType;

/// Sinks at most.
pub(super) const MAX_SINKS: usize = 32;
/// Shortest and longest key of a signature, in bytes: Standard Webhooks.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Largest file with a secret, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 4_096;
/// How long one attempt may take where nobody said.
const WEBHOOK_SECONDS: u64 = 20;
const EXEC_SECONDS: u64 = 300;

/// How a sink is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// By a signed HTTP request.
    #[default]
    Webhook,
    /// By a program that is started.
    Exec,
}

/// One entry of `[[sinks]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sink {
    /// What it is called in commands, logs, and the tables that remember how far it has got.
    pub name: String,
    /// How it is told.
    pub kind: SinkKind,
    /// Types of events that it is told; none means all.
    #[serde(deserialize_with = "lists::list")]
    pub types: Vec<EventType>,
    /// Suppliers that it is told about; none means all.
    #[serde(deserialize_with = "lists::list")]
    pub users: Vec<String>,
    /// How long one attempt may take.
    pub timeout_seconds: Option<u64>,
    /// How long an event is tried before it is set aside and those behind it go on.
    pub park_after: Period,
    /// Webhook: `https://host/path`.
    pub url: Option<String>,
    /// Webhook: the key that requests are signed with, `whsec_` and base64.
    pub secret: Option<Secret>,
    /// Webhook: a file that holds it. Read when the configuration is.
    pub secret_file: Option<PathBuf>,
    /// Webhook: may it be an address that the Internet does not reach?
    pub allow_private_networks: bool,
    /// Webhook: PEM file with the authorities that its certificate may come from, in place of the public ones.
    pub ca: Option<PathBuf>,
    /// Exec: the program and its arguments.
    pub command: Vec<String>,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: SinkKind::default(),
            types: Vec::new(),
            users: Vec::new(),
            timeout_seconds: None,
            park_after: Period(Duration::from_hours(3 * 24)),
            url: None,
            secret: None,
            secret_file: None,
            allow_private_networks: false,
            ca: None,
            command: Vec::new(),
        }
    }
}

/// A webhook's URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// With TLS?
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Host and port as the URL has them, for the header of that name.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Sink {
    /// How long one attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let usual = if self.kind == SinkKind::Webhook { WEBHOOK_SECONDS } else { EXEC_SECONDS };
        Duration::from_secs(self.timeout_seconds.unwrap_or(usual))
    }

    /// A webhook's URL, taken apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn target(&self) -> Result<Target, &'static str> {
        const FORM: &str = "an address such as https://shop.example/hooks/landfall is expected";
        let uri: hyper::Uri = self.url.as_deref().unwrap_or_default().parse().map_err(|_| FORM)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(FORM) };
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err("the address begins with https:// or http://"),
        };
        if authority.as_str().contains('@') {
            return Err("no name and password in the address: the signature proves who speaks");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(FORM);
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Target { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// The key of a webhook's signatures.
    ///
    /// # Errors
    /// What is wrong with it, without a part of it.
    pub fn key(&self) -> Result<Vec<u8>, &'static str> {
        const FORM: &str =
            "whsec_ and 24 to 64 bytes in base64 are expected, such as `echo whsec_$(openssl rand -base64 32)` makes";
        let Some(secret) = &self.secret else {
            return Err("a secret is missing; `echo whsec_$(openssl rand -base64 32)` makes one");
        };
        let text = secret.expose().strip_prefix("whsec_").ok_or(FORM)?;
        let key = Base64::decode_vec(text).or_else(|_| Base64Unpadded::decode_vec(text)).map_err(|_| FORM)?;
        if KEY_BYTES.contains(&key.len()) { Ok(key) } else { Err(FORM) }
    }

    /// Takes the secret from its file.
    pub(super) fn read_secret(&mut self, key: &str) -> Result<(), ConfigError> {
        let Some(path) = self.secret_file.as_ref().filter(|path| !path.as_os_str().is_empty()) else { return Ok(()) };
        if self.secret.is_some() {
            return Err(ConfigError::one(None, Some(format!("{key}.secret_file")), "secret is set too; set one"));
        }
        let text = read_text(path, MAX_SECRET_FILE_BYTES)
            .map_err(|error| ConfigError::one(None, Some(format!("{key}.secret_file")), error.to_string()))?;
        self.secret = Some(Secret::new(text.trim().to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(url: &str, secret: &str) -> Sink {
        Sink { url: Some(url.to_owned()), secret: Some(Secret::new(secret.to_owned())), ..Sink::default() }
    }

    #[test]
    fn addresses() {
        let target = |tls, host: &str, port, authority: &str, path: &str| {
            Ok(Target { tls, host: host.to_owned(), port, authority: authority.to_owned(), path: path.to_owned() })
        };
        for (url, expected) in [
            ("https://shop.example", target(true, "shop.example", 443, "shop.example", "/")),
            ("https://shop.example/a?b=c", target(true, "shop.example", 443, "shop.example", "/a?b=c")),
            ("http://[::1]:8080/x", target(false, "::1", 8080, "[::1]:8080", "/x")),
        ] {
            assert_eq!(sink(url, "").target(), expected, "{url}");
        }
        for wrong in ["", "shop.example", "/hook", "ftp://a/b", "https://a:b@shop.example/", "https://", "https:///x"] {
            assert!(sink(wrong, "").target().is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys() {
        assert_eq!(sink("", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").key(), Ok(vec![0; 24]));
        for wrong in
            ["", "whsec_", "whsec_AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "whsec_not base64 at all, but long"]
        {
            let error = sink("", wrong).key().err().unwrap_or_default();
            assert!(error.contains("whsec_") && (wrong.len() < 8 || !error.contains(wrong)), "{wrong}: {error}");
        }
    }
}

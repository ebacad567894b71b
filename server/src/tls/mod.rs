//! Certificates and TLS configurations, reloaded without dropping sessions. Knows no protocol above TLS.

mod certificate;
mod client;
pub mod tickets;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
};
use rustls::sign::CertifiedKey;

use self::certificate::{Files, Stamp};
use crate::config;
use crate::lifecycle::Lifecycle;

pub use client::client;

/// Sessions of clients without ticket support that can be resumed at a time.
const SESSIONS_KEPT: usize = 4_096;
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file has no certificate, or no key.
    #[error("{path}: no {what} in PEM form found", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not fit together, or are of a kind that is not supported.
    #[error("{path}: {source}", path = .path.display())]
    Unfit {
        /// The certificate.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// This server has no authorities whose certificates it could believe.
    #[error("the system has no certificates of public authorities; name a file of some (ca)")]
    NoAuthorities,
    /// The TLS library cannot start.
    #[error("TLS cannot start: {0}")]
    Library(#[from] rustls::Error),
    /// The self-signed certificate cannot be made.
    #[error("no self-signed certificate can be made: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// The TLS side of all listeners. A reload swaps what later handshakes use.
pub struct Tls {
    places: RwLock<Places>,
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    current: RwLock<Current>,
    /// The files as they were when they were read last, sound or not.
    seen: Mutex<Option<Vec<Stamp>>>,
}

/// Where the certificates stand.
#[derive(Clone)]
struct Places {
    /// Of the one that is shown to whoever asks for no host, or for none of ours.
    usual: Files,
    /// By host, in lower case; `None` where the usual one names it as well.
    hosts: Vec<(String, Option<Files>)>,
}

impl Places {
    /// The configured ones; without them the self-signed ones, made for `names` if they are missing.
    fn of(config: &config::Tls, data_dir: &Path, names: &[String]) -> Result<Self, TlsError> {
        let files = |(certificate, key): (&Path, &Path)| Files { certificate: certificate.into(), key: key.into() };
        let usual = config.files().map_or_else(|| certificate::self_signed(data_dir, names), |pair| Ok(files(pair)))?;
        let hosts = config.hosts.iter().map(|host| (host.name.to_ascii_lowercase(), host.files().map(files)));
        Ok(Self { usual, hosts: hosts.collect() })
    }

    fn files(&self) -> impl Iterator<Item = &Files> {
        std::iter::once(&self.usual).chain(self.hosts.iter().filter_map(|(_, files)| files.as_ref()))
    }

    /// `None` while a file is being replaced, or gone.
    fn stamp(&self) -> Option<Vec<Stamp>> {
        self.files().map(|files| files.stamp().ok()).collect()
    }

    fn read(&self, provider: &CryptoProvider) -> Result<Certificates, TlsError> {
        let usual = self.usual.read(provider)?;
        let of = |files: &Option<Files>| files.as_ref().map_or_else(|| Ok(usual.clone()), |files| files.read(provider));
        let hosts = self.hosts.iter().map(|(host, files)| Ok((host.clone(), of(files)?)));
        Ok(Certificates { hosts: hosts.collect::<Result<_, TlsError>>()?, usual })
    }
}

/// Chooses by the name that the client asks for (SNI). Who asks for none of ours, by an address or by an alias, gets the
/// usual one: its client decides whether that will do.
#[derive(Debug)]
struct Certificates {
    usual: Arc<CertifiedKey>,
    hosts: HashMap<String, Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().map(str::to_ascii_lowercase);
        Some(host.and_then(|host| self.hosts.get(&host)).unwrap_or(&self.usual).clone())
    }
}

#[derive(Clone)]
struct Current {
    configs: Configs,
    certificates: Arc<Certificates>,
}

/// The two configurations that belong together: they share one session cache and ticket key, so that a data connection
/// can resume its control connection's session.
#[derive(Clone)]
pub struct Configs {
    /// For control connections: tickets on, and [`tickets`] can send them again.
    pub control: Arc<ServerConfig>,
    /// For data connections: resumes, but sends no TLS 1.3 tickets, which a client that only uploads never reads.
    pub data: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the configured certificates; without one, the self-signed one in the data directory, which is made for
    /// `names` if it is missing.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(config: &config::Tls, data_dir: &Path, names: &[String]) -> Result<Arc<Self>, TlsError> {
        let places = Places::of(config, data_dir, names)?;
        let ticketer = provider::Ticketer::new()?;
        let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SESSIONS_KEPT);
        let seen = places.stamp();
        let current = build(&places, &ticketer, &sessions)?;
        let (places, current, seen) = (RwLock::new(places), RwLock::new(current), Mutex::new(seen));
        Ok(Arc::new(Self { places, ticketer, sessions, current, seen }))
    }

    /// What a handshake that begins now must use. A session takes both at its control connection's handshake.
    #[must_use]
    pub fn configs(&self) -> Configs {
        self.current.read().unwrap_or_else(PoisonError::into_inner).configs.clone()
    }

    /// SHA-256 of the usual certificate, as `AB:CD:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let certificates = self.certificates();
        certificates.usual.cert.first().map(certificate::fingerprint).unwrap_or_default()
    }

    /// Does a host of that name live here?
    #[must_use]
    pub fn is_host(&self, name: &str) -> bool {
        self.certificates().hosts.contains_key(&name.to_ascii_lowercase())
    }

    /// Do hosts have names here at all?
    #[must_use]
    pub fn has_hosts(&self) -> bool {
        !self.certificates().hosts.is_empty()
    }

    fn certificates(&self) -> Arc<Certificates> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).certificates.clone()
    }

    /// Takes over the files that the configuration names now, or reads the same ones again. With an error everything
    /// stays as it was.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload(&self, config: &config::Tls, data_dir: &Path, names: &[String]) -> Result<(), TlsError> {
        self.take(Places::of(config, data_dir, names)?)
    }

    fn take(&self, places: Places) -> Result<(), TlsError> {
        let seen = places.stamp();
        let next = build(&places, &self.ticketer, &self.sessions)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        *self.places.write().unwrap_or_else(PoisonError::into_inner) = places;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(())
    }

    /// Reads the files again if they have changed since they were read last, sound or not.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        // Files that cannot be looked at are in the middle of being replaced, or gone: the next look tells.
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(now) = places.stamp() else { return Ok(false) };
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now.clone());
        if before == Some(now) { Ok(false) } else { self.take(places).map(|()| true) }
    }

    /// Looks at the files now and then until the drain begins. A broken file is complained about once and changes
    /// nothing.
    pub async fn watch(self: Arc<Self>, lifecycle: Lifecycle) {
        loop {
            tokio::select! {
                () = lifecycle.draining() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.reload_if_changed()).await {
                Ok(Ok(true)) => tracing::info!(fingerprint = self.fingerprint(), "certificate reloaded"),
                Ok(Err(error)) => tracing::error!(%error, "certificate not reloaded; the old one stays in use"),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }
}

/// Are the configured files sound? Writes nothing.
///
/// # Errors
/// [`TlsError`].
pub fn check(config: &config::Tls) -> Result<(), TlsError> {
    let provider = provider();
    for (certificate, key) in config.files().into_iter().chain(config.hosts.iter().filter_map(config::TlsHost::files)) {
        Files { certificate: certificate.into(), key: key.into() }.read(&provider)?;
    }
    Ok(())
}

/// The names that a self-signed certificate is made for, besides the local ones.
#[must_use]
pub fn own_names(ftp: &config::Ftp) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.extend(rustix::system::uname().nodename().to_str().ok().map(str::to_owned));
    if let config::PassiveHost::Host(host) = &ftp.passive_host {
        names.push(host.clone());
    }
    names.retain(|name| !name.is_empty() && name.is_ascii());
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// AES-128 first: as safe here as AES-256 and a fifth faster. The client's own order still decides, so that one without
/// AES in its processor gets ChaCha20.
fn provider() -> CryptoProvider {
    use provider::cipher_suite as c;
    let cipher_suites = vec![
        c::TLS13_AES_128_GCM_SHA256,
        c::TLS13_AES_256_GCM_SHA384,
        c::TLS13_CHACHA20_POLY1305_SHA256,
        c::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        c::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        c::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        c::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        c::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        c::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    CryptoProvider { cipher_suites, ..provider::default_provider() }
}

fn build(
    places: &Places,
    ticketer: &Arc<dyn ProducesTickets>,
    sessions: &Arc<dyn StoresServerSessions>,
) -> Result<Current, TlsError> {
    let certificates = Arc::new(places.read(&provider())?);
    let config = |provider: CryptoProvider| {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.ticketer = ticketer.clone();
        config.session_storage = sessions.clone();
        // Early data could be replayed, and a replayed STOR is an upload that nobody sent.
        config.max_early_data_size = 0;
        Ok::<_, TlsError>(config)
    };
    let control = config(tickets::repeatable(provider()))?;
    let mut data = config(provider())?;
    data.send_tls13_tickets = 0;
    Ok(Current { configs: Configs { control: Arc::new(control), data: Arc::new(data) }, certificates })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

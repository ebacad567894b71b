//! Certificate and TLS configurations, reloaded without dropping sessions. Knows no protocol above TLS.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config;
use crate::lifecycle::Lifecycle;
use crate::private;

/// Sessions of clients without ticket support that can be resumed at a time.
const SESSIONS_KEPT: usize = 4_096;
/// Largest certificate or key file, in bytes.
const MAX_PEM_BYTES: u64 = 1_048_576;
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How long a self-signed certificate is valid.
const SELF_SIGNED_DAYS: i64 = 3_650;

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
    /// The TLS library cannot start.
    #[error("TLS cannot start: {0}")]
    Library(#[from] rustls::Error),
    /// The self-signed certificate cannot be made.
    #[error("no self-signed certificate can be made: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// The TLS side of all listeners. A reload swaps what later handshakes use.
pub struct Tls {
    files: RwLock<Files>,
    provider: Arc<CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    current: RwLock<Current>,
    /// The files as they were when they were read last, sound or not.
    seen: Mutex<Option<Stamp>>,
}

/// Where certificate and key stand.
#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// The configured ones; without them the self-signed ones, made for `names` if they are missing.
    fn of(config: &config::Tls, data_dir: &Path, names: &[String]) -> Result<Self, TlsError> {
        match config.files() {
            Some((certificate, key)) => Ok(Self { certificate: certificate.to_owned(), key: key.to_owned() }),
            None => self_signed(data_dir, names).map(|(certificate, key)| Self { certificate, key }),
        }
    }

    fn stamp(&self) -> io::Result<Stamp> {
        stamp(&self.certificate, &self.key)
    }
}

#[derive(Clone)]
struct Current {
    configs: Configs,
    fingerprint: String,
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

/// What tells one version of the two files from another.
type Stamp = [(u64, u64, SystemTime); 2];

impl Tls {
    /// Reads the configured certificate; without one, the self-signed one in the data directory, which is made for
    /// `names` if it is missing.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(config: &config::Tls, data_dir: &Path, names: &[String]) -> Result<Arc<Self>, TlsError> {
        let files = Files::of(config, data_dir, names)?;
        let provider = Arc::new(provider());
        let ticketer = provider::Ticketer::new()?;
        let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SESSIONS_KEPT);
        let seen = files.stamp().ok();
        let current = build(&files.certificate, &files.key, &provider, &ticketer, &sessions)?;
        let (files, current, seen) = (RwLock::new(files), RwLock::new(current), Mutex::new(seen));
        Ok(Arc::new(Self { files, provider, ticketer, sessions, current, seen }))
    }

    /// What a handshake that begins now must use. A session takes both at its control connection's handshake.
    #[must_use]
    pub fn configs(&self) -> Configs {
        self.current.read().unwrap_or_else(PoisonError::into_inner).configs.clone()
    }

    /// SHA-256 of the certificate, as `AB:CD:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.current.read().unwrap_or_else(PoisonError::into_inner).fingerprint.clone()
    }

    /// Takes over the files that the configuration names now, or reads the same ones again. With an error everything
    /// stays as it was.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload(&self, config: &config::Tls, data_dir: &Path, names: &[String]) -> Result<(), TlsError> {
        self.take(Files::of(config, data_dir, names)?)
    }

    fn take(&self, files: Files) -> Result<(), TlsError> {
        let seen = files.stamp().ok();
        let next = build(&files.certificate, &files.key, &self.provider, &self.ticketer, &self.sessions)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = files;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(())
    }

    /// Reads the files again if they have changed since they were read last, sound or not.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        // Files that cannot be looked at are in the middle of being replaced, or gone: the next look tells.
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Ok(now) = files.stamp() else { return Ok(false) };
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before == Some(now) { Ok(false) } else { self.take(files).map(|()| true) }
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
    let Some((certificate, key)) = config.files() else { return Ok(()) };
    let ticketer = provider::Ticketer::new()?;
    let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(1);
    build(certificate, key, &Arc::new(provider()), &ticketer, &sessions).map(drop)
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
    certificate: &Path,
    key: &Path,
    provider: &Arc<CryptoProvider>,
    ticketer: &Arc<dyn ProducesTickets>,
    sessions: &Arc<dyn StoresServerSessions>,
) -> Result<Current, TlsError> {
    let chain = read_chain(certificate)?;
    let key = read_key(key)?;
    let fingerprint = chain.first().map(|leaf| fingerprint(leaf)).unwrap_or_default();
    let mut control = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Unfit { path: certificate.to_owned(), source })?;
    control.ticketer = ticketer.clone();
    control.session_storage = sessions.clone();
    // Early data could be replayed, and a replayed STOR is an upload that nobody sent.
    control.max_early_data_size = 0;
    let mut data = control.clone();
    data.send_tls13_tickets = 0;
    Ok(Current { configs: Configs { control: Arc::new(control), data: Arc::new(data) }, fingerprint })
}

fn read_pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    private::read(path, MAX_PEM_BYTES).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_pem(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap_or_default();
    if chain.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read_pem(path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsError::Empty { path: path.to_owned(), what: "private key without a passphrase" })
}

fn stamp(certificate: &Path, key: &Path) -> io::Result<Stamp> {
    let of = |path: &Path| {
        // Following links: certbot and Kubernetes swap the link, not the file.
        let metadata = std::fs::metadata(path)?;
        Ok::<_, io::Error>((metadata.ino(), metadata.len(), metadata.modified()?))
    };
    Ok([of(certificate)?, of(key)?])
}

/// SHA-256 of a certificate, as `AB:CD:…`.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// The certificate and key in the data directory, made if both are missing.
fn self_signed(data_dir: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), TlsError> {
    let directory = data_dir.join("tls");
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    // The certificate is written last: where it stands, its key stands too.
    if certificate.exists() {
        return Ok((certificate, key));
    }
    let key_pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut parameters = rcgen::CertificateParams::new(names)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Landfall");
    parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    #[expect(clippy::disallowed_methods, reason = "the certificate's dates are the real ones")]
    let now = time::OffsetDateTime::now_utc();
    // A client whose clock is behind must not find a certificate from the future.
    parameters.not_before = now - time::Duration::days(1);
    parameters.not_after = now + time::Duration::days(SELF_SIGNED_DAYS);
    let made = parameters.self_signed(&key_pair)?;
    let write = |path: &Path, pem: &str| {
        private::write(path, pem.as_bytes()).map_err(|source| TlsError::File { path: path.to_owned(), source })
    };
    private::create_dir(&directory).map_err(|source| TlsError::File { path: directory.clone(), source })?;
    write(&key, &key_pair.serialize_pem())?;
    write(&certificate, &made.pem())?;
    Ok((certificate, key))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

    use super::*;

    fn load(directory: &Path) -> Arc<Tls> {
        Tls::load(&config::Tls::default(), directory, &own_names(&config::Ftp::default())).unwrap()
    }

    fn files(tls: &Tls) -> Files {
        tls.files.read().unwrap().clone()
    }

    fn reload(tls: &Tls, directory: &Path) -> Result<(), TlsError> {
        tls.reload(&config::Tls::default(), directory, &own_names(&config::Ftp::default()))
    }

    fn client(tls: &Tls, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in read_chain(&files(tls).certificate).unwrap() {
            roots.add(certificate).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Shakes hands in memory; how the server came to its keys, and how many bytes it sent after that.
    fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> (HandshakeKind, bool) {
        let mut client = ClientConnection::new(client.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut server = ServerConnection::new(server.clone()).unwrap();
        let mut late = false;
        while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            server.read_tls(&mut &*bytes).unwrap();
            server.process_new_packets().unwrap();
            let mut bytes = Vec::new();
            late |= !client.is_handshaking() && server.wants_write();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut rest = &*bytes;
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        server.writer().write_all(b"hello").unwrap();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &*bytes).unwrap();
        client.process_new_packets().unwrap();
        let mut hello = [0; 5];
        client.reader().read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"hello");
        (server.handshake_kind().unwrap(), late)
    }

    #[test]
    fn made_once_and_kept() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let first = load(directory.path()).fingerprint();
        assert_eq!(load(directory.path()).fingerprint(), first);
        assert_eq!(first.len(), 32 * 3 - 1);
        for file in ["tls/key.pem", "tls/cert.pem"] {
            let mode = std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_data_connection_resumes_its_control_connection() {
        let directory = tempfile::tempdir().unwrap();
        let tls = load(directory.path());
        let Configs { control, data } = tls.configs();
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let client = client(&tls, version);
            let (kind, _) = shake(&control, &client);
            assert_eq!(kind, HandshakeKind::Full, "{version:?}");
            let (kind, late) = shake(&data, &client);
            assert_eq!((kind, late), (HandshakeKind::Resumed, false), "{version:?}");
        }
    }

    #[test]
    fn tickets_outlive_a_reload() {
        let directory = tempfile::tempdir().unwrap();
        let tls = load(directory.path());
        let client = client(&tls, &rustls::version::TLS13);
        shake(&tls.configs().control, &client);
        reload(&tls, directory.path()).unwrap();
        assert_eq!(shake(&tls.configs().data, &client).0, HandshakeKind::Resumed);
    }

    #[test]
    fn a_broken_file_changes_nothing_and_a_new_one_counts() {
        let directory = tempfile::tempdir().unwrap();
        let tls = load(directory.path());
        let first = tls.fingerprint();
        assert!(!tls.reload_if_changed().unwrap());
        std::fs::write(&files(&tls).certificate, "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
        assert!(tls.reload_if_changed().is_err());
        assert!(!tls.reload_if_changed().unwrap(), "complained twice about the same file");
        assert_eq!(tls.fingerprint(), first);

        let other = tempfile::tempdir().unwrap();
        let next = load(other.path());
        std::fs::copy(&files(&next).certificate, &files(&tls).certificate).unwrap();
        assert!(tls.reload_if_changed().is_err(), "a certificate without its key");
        std::fs::copy(&files(&next).key, &files(&tls).key).unwrap();
        assert!(tls.reload_if_changed().unwrap());
        assert_eq!(tls.fingerprint(), next.fingerprint());
    }

    #[test]
    fn errors_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
        let config = config::Tls { certificate: certificate.clone(), key: key.clone() };
        let error = |config: &config::Tls| Tls::load(config, directory.path(), &[]).err().unwrap().to_string();
        assert!(error(&config).contains("c.pem"));
        std::fs::write(&certificate, "nothing").unwrap();
        assert!(error(&config).contains("c.pem: no certificate"));
        std::fs::copy(&files(&load(directory.path())).certificate, &certificate).unwrap();
        std::fs::write(&key, "nothing").unwrap();
        assert!(error(&config).contains("k.pem: no private key"));
    }
}

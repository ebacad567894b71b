//! A certificate with its key: where it stands, read, and made where there is none. Knows no connection.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;
use crate::private;

/// Largest certificate or key file, in bytes.
const MAX_PEM_BYTES: u64 = 1_048_576;
/// How long a self-signed certificate is valid.
const SELF_SIGNED_DAYS: i64 = 3_650;

/// What tells one version of the two files from another.
pub(super) type Stamp = [(u64, u64, SystemTime); 2];

/// Where certificate and key stand.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    /// Reads both. They must fit together.
    pub(super) fn read(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let (chain, key) = (read_chain(&self.certificate)?, read_key(&self.key)?);
        CertifiedKey::from_der(chain, key, provider)
            .map(Arc::new)
            .map_err(|source| TlsError::Unfit { path: self.certificate.clone(), source })
    }

    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        let of = |path: &Path| {
            // Following links: certbot and Kubernetes swap the link, not the file.
            let metadata = std::fs::metadata(path)?;
            Ok::<_, io::Error>((metadata.ino(), metadata.len(), metadata.modified()?))
        };
        Ok([of(&self.certificate)?, of(&self.key)?])
    }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    private::read(path, MAX_PEM_BYTES).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
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

/// SHA-256 of a certificate, as `AB:CD:…`.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// The certificate and key in the data directory, made if both are missing.
pub(super) fn self_signed(data_dir: &Path, names: &[String]) -> Result<Files, TlsError> {
    let directory = data_dir.join("tls");
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    // The certificate is written last: where it stands, its key stands too.
    if certificate.exists() {
        return Ok(Files { certificate, key });
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
    Ok(Files { certificate, key })
}

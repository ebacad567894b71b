//! The SSH host keys: made once, kept in the data directory in OpenSSH's form, the same ever after.
//! Knows no protocol.

use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};

use crate::private;

/// Largest key file, in bytes.
const MAX_KEY_BYTES: u64 = 65_536;

/// In the order in which they are offered.
const KEYS: [(&str, Algorithm); 2] = [
    ("ssh_host_ed25519_key", Algorithm::Ed25519),
    ("ssh_host_ecdsa_key", Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }),
];

/// Why there is no host key.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that is no key. It is not replaced: clients would be told that the server is an impostor.
    #[error("{path}: not an OpenSSH private key without a passphrase: {source}", path = .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: russh::keys::ssh_key::Error,
    },
}

/// Loads the host keys, Ed25519 first; makes those that are missing.
///
/// # Errors
/// [`HostKeyError`].
pub fn load(data_dir: &Path) -> Result<Vec<PrivateKey>, HostKeyError> {
    let directory = data_dir.join("ssh");
    let file = |path: &Path, source| HostKeyError::File { path: path.to_owned(), source };
    private::create_dir(&directory).map_err(|source| file(&directory, source))?;
    KEYS.into_iter()
        .map(|(name, algorithm)| {
            let path = directory.join(name);
            let wrong = |source| HostKeyError::Key { path: path.clone(), source };
            match private::read(&path, MAX_KEY_BYTES) {
                Ok(text) => PrivateKey::from_openssh(&text).map_err(wrong),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let key = PrivateKey::random(&mut rand::rng(), algorithm).map_err(wrong)?;
                    let text = key.to_openssh(LineEnding::LF).map_err(wrong)?;
                    private::write(&path, text.as_bytes()).map_err(|source| file(&path, source))?;
                    Ok(key)
                }
                Err(error) => Err(file(&path, error)),
            }
        })
        .collect()
}

/// A key's fingerprint with its kind, as `ssh-keygen -l` prints them: `SHA256:… (ED25519)`.
#[must_use]
pub fn fingerprint(key: &PrivateKey) -> String {
    let kind = match key.algorithm() {
        Algorithm::Ed25519 => "ED25519".to_owned(),
        Algorithm::Ecdsa { .. } => "ECDSA".to_owned(),
        other => other.to_string(),
    };
    format!("{} ({kind})", key.fingerprint(HashAlg::Sha256))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let first = load(directory.path()).unwrap();
        assert_eq!(first.iter().map(PrivateKey::algorithm).collect::<Vec<_>>(), KEYS.map(|(_, algorithm)| algorithm));
        assert_eq!(load(directory.path()).unwrap(), first);
        for (name, _) in KEYS {
            let path = directory.path().join("ssh").join(name);
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let shown: Vec<String> = first.iter().map(fingerprint).collect();
        assert!(shown[0].starts_with("SHA256:") && shown[0].ends_with(" (ED25519)"), "{shown:?}");
        assert!(shown[1].ends_with(" (ECDSA)"), "{shown:?}");
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        load(directory.path()).unwrap();
        let path = directory.path().join("ssh/ssh_host_ed25519_key");
        std::fs::write(&path, "damaged").unwrap();
        assert!(load(directory.path()).unwrap_err().to_string().contains("ssh_host_ed25519_key"));
        assert_eq!(std::fs::read(&path).unwrap(), b"damaged");
    }
}

//! The one file of a backup: a tar archive of database, host keys and certificate, ended by a manifest with each part's
//! SHA-256. A file without its manifest was not written to its end. Knows neither a server nor a command.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::private;

/// Name of the database in the archive and in the data directory.
pub const DATABASE: &str = "landfall.db";
/// Folders of the data directory whose files are part of a backup.
pub const FOLDERS: [&str; 2] = ["ssh", "tls"];

const MANIFEST: &str = "manifest.json";
/// The form of the archive; another number is another program's.
const FORM: u32 = 1;
/// Largest manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 65_536;
/// Largest key or certificate, in bytes.
const MAX_KEY_BYTES: u64 = 1_048_576;
/// Parts of an archive.
const MAX_PARTS: usize = 64;
const CHUNK_BYTES: usize = 65_536;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not an archive of ours, or a damaged one.
    #[error("{path} is no sound backup: {reason}", path = .path.display())]
    Unsound {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// One part of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `landfall.db`, `ssh/ssh_host_ed25519_key`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, 64 lowercase hexadecimal digits.
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    form: u32,
    version: String,
    parts: Vec<Part>,
}

/// Writes an archive with these files under these names, reads it back, and only then gives it its name.
///
/// # Errors
/// [`ArchiveError`].
pub fn write(path: &Path, files: &[(String, PathBuf)]) -> Result<Vec<Part>, ArchiveError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ArchiveError::File { path, source }
    };
    let temporary = private::beside(path, "new").map_err(failed(path))?;
    let written = (|| {
        let file = private::create(&temporary).map_err(failed(&temporary))?;
        let mut archive = tar::Builder::new(BufWriter::with_capacity(CHUNK_BYTES, file));
        let mut parts = Vec::new();
        for (name, source) in files {
            parts.push(append(&mut archive, name, source).map_err(failed(source))?);
        }
        let manifest = Manifest { form: FORM, version: env!("CARGO_PKG_VERSION").to_owned(), parts };
        let finished = (|| {
            let text = serde_json::to_vec_pretty(&manifest)?;
            archive.append_data(&mut header(text.len() as u64), MANIFEST, &*text)?;
            archive.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
        })();
        finished.map_err(failed(&temporary))?;
        let parts = read(&temporary, None)?;
        if parts != manifest.parts {
            return Err(unsound(&temporary, "it does not read back as it was written"));
        }
        private::publish(&temporary, path).map_err(failed(path))?;
        Ok(parts)
    })();
    if written.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    written
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o600);
    header
}

fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, source: &Path) -> io::Result<Part> {
    let file = File::open(source)?;
    let size = file.metadata()?.len();
    let mut hashing =
        Hashing { inner: BufReader::with_capacity(CHUNK_BYTES, file).take(size), context: Context::new(&SHA256) };
    archive.append_data(&mut header(size), name, &mut hashing)?;
    Ok(Part { name: name.to_owned(), size, sha256: hashing.digest() })
}

/// Reads an archive to its end and checks every part; writes the parts below `into`, if given, which must be empty.
///
/// # Errors
/// [`ArchiveError`].
pub fn read(path: &Path, into: Option<&Path>) -> Result<Vec<Part>, ArchiveError> {
    // The system's words are fit to print; those of the tar reader quote the file, which may be a key.
    let broken = |error: io::Error| match error.raw_os_error() {
        Some(_) => ArchiveError::File { path: path.to_owned(), source: error },
        None => unsound(path, "it cannot be read as one that `landfall backup` wrote"),
    };
    let file = File::open(path).map_err(|source| ArchiveError::File { path: path.to_owned(), source })?;
    let mut archive = tar::Archive::new(BufReader::with_capacity(CHUNK_BYTES, file));
    let mut parts: Vec<Part> = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() {
            return Err(unsound(path, "a part of it is no plain file"));
        }
        if name == MANIFEST {
            let mut text = Vec::new();
            entry.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).map_err(broken)?;
            let manifest: Manifest =
                serde_json::from_slice(&text).map_err(|_| unsound(path, "its manifest cannot be read"))?;
            if manifest.form != FORM {
                return Err(unsound(
                    path,
                    &format!("it is of another form ({}), made by {}", manifest.form, manifest.version),
                ));
            }
            return if manifest.parts == parts {
                Ok(parts)
            } else {
                Err(unsound(path, "a part differs from the manifest"))
            };
        }
        if !is_part(&name, entry.size()) || parts.len() >= MAX_PARTS || parts.iter().any(|part| part.name == name) {
            return Err(unsound(path, "it holds what no backup holds"));
        }
        let target = into.map(|into| into.join(&name));
        let size = entry.size();
        let mut hashing = Hashing { inner: &mut entry, context: Context::new(&SHA256) };
        extract(&mut hashing, target.as_deref()).map_err(broken)?;
        parts.push(Part { name, size, sha256: hashing.digest() });
    }
    Err(unsound(path, "its end is missing"))
}

/// Only names that a backup has, so that an archive from elsewhere cannot write where it likes.
fn is_part(name: &str, size: u64) -> bool {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    match name.split_once('/') {
        None => name == DATABASE,
        Some((folder, file)) => FOLDERS.contains(&folder) && plain(file) && size <= MAX_KEY_BYTES,
    }
}

fn extract(from: &mut impl Read, target: Option<&Path>) -> io::Result<()> {
    let Some(target) = target else { return io::copy(from, &mut io::sink()).map(drop) };
    private::create_dir(private::directory_of(target))?;
    let mut file = private::create(target)?;
    io::copy(from, &mut file)?;
    file.sync_all()
}

fn unsound(path: &Path, reason: &str) -> ArchiveError {
    ArchiveError::Unsound { path: path.to_owned(), reason: reason.to_owned() }
}

/// A reader that digests what it reads.
struct Hashing<R> {
    inner: R,
    context: Context,
}

impl<R> Hashing<R> {
    fn digest(self) -> String {
        let mut digits = String::with_capacity(64);
        for byte in self.context.finish().as_ref() {
            // Writing to a String cannot fail.
            let _infallible = write!(digits, "{byte:02x}");
        }
        digits
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        if let Some(bytes) = buf.get(..count) {
            self.context.update(bytes);
        }
        Ok(count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn sample(directory: &Path) -> (PathBuf, Vec<Part>) {
        let (database, key) = (directory.join("db"), directory.join("key"));
        std::fs::write(&database, vec![7; 200_000]).unwrap();
        std::fs::write(&key, "a key").unwrap();
        let path = directory.join("backup.tar");
        let files = [(DATABASE.to_owned(), database), ("ssh/ssh_host_ed25519_key".to_owned(), key)];
        let parts = write(&path, &files).unwrap();
        (path, parts)
    }

    #[test]
    fn written_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let (path, parts) = sample(directory.path());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let into = directory.path().join("into");
        assert_eq!(read(&path, Some(&into)).unwrap(), parts);
        assert_eq!(std::fs::read(into.join(DATABASE)).unwrap(), vec![7; 200_000]);
        assert_eq!(std::fs::read(into.join("ssh/ssh_host_ed25519_key")).unwrap(), b"a key");
    }

    #[test]
    fn damage_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (path, _) = sample(directory.path());
        let sound = std::fs::read(&path).unwrap();
        for cut in [0, 100, 512, 100_000, 201_000, sound.len() - 2_048] {
            std::fs::write(&path, &sound[..cut]).unwrap();
            assert!(read(&path, None).is_err(), "cut at {cut}");
        }
        for flip in [600, 150_000] {
            let mut damaged = sound.clone();
            damaged[flip] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(read(&path, None).is_err(), "flipped at {flip}");
        }
    }

    #[test]
    fn names_stay_inside() {
        for name in ["/etc/passwd", "../landfall.db", "ssh/../../x", "ssh/", "ssh/.x", "other", "ssh/a/b", "tls"] {
            assert!(!is_part(name, 1), "{name}");
        }
        assert!(is_part(DATABASE, u64::MAX) && is_part("tls/key.pem", 1) && !is_part("tls/key.pem", u64::MAX));
    }
}

//! Files that only this program's user may read: keys, certificates, the lock. Written whole or not at all.
//! Knows nothing of what stands in them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Owner reads and writes, nobody else does anything.
const FILE_MODE: u32 = 0o600;
/// The same for a directory.
const DIRECTORY_MODE: u32 = 0o700;

/// Makes a directory, and those above it, as far as they are missing. One that exists keeps its mode.
///
/// # Errors
/// What the system says.
pub fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Writes a file: under another name first, synced, then renamed, then the directory synced. After a crash at any
/// instant the old content is there, or the new.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = beside(path, "new")?;
    let written = (|| {
        let mut file = create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        publish(&temporary, path)
    })();
    if written.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    written
}

/// Creates a file for writing; what stood there, left by a crash, is thrown away.
///
/// # Errors
/// What the system says.
pub fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Renames a synced file to its final name and makes that durable.
///
/// # Errors
/// What the system says.
pub fn publish(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    File::open(directory_of(to))?.sync_all()
}

/// Reads a file of bounded size.
///
/// # Errors
/// What the system says, and [`io::ErrorKind::FileTooLarge`].
pub fn read(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(most_bytes.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {most_bytes} bytes")));
    }
    Ok(content)
}

/// `.NAME.SUFFIX` in the same directory.
///
/// # Errors
/// When the path names no file.
pub fn beside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidFilename, "not the name of a file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(suffix);
    Ok(path.with_file_name(hidden))
}

/// The directory that a file stands in.
#[must_use]
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn written_whole_and_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        create_dir(&inner).unwrap();
        let file = inner.join("key");
        std::fs::write(beside(&file, "new").unwrap(), "left by a crash").unwrap();
        write(&file, b"first").unwrap();
        write(&file, b"second").unwrap();
        assert_eq!(read(&file, 6).unwrap(), b"second");
        assert_eq!(read(&file, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&inner), mode(inner.parent().unwrap())), (0o600, 0o700, 0o700));
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 1);
    }
}

//! MLST and MLSD facts (RFC 3659 section 7): which are chosen, and their line. Pure.

use std::io::Write;

use landfall_auth::Permissions;
use landfall_storage::{Kind, Stat};

use super::time;

/// The facts that can be asked for, in the order they are written.
pub const NAMES: [&str; 6] = ["type", "size", "modify", "perm", "unique", "UNIX.mode"];

/// Which facts a session wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen([bool; NAMES.len()]);

impl Default for Chosen {
    fn default() -> Self {
        Self([true, true, true, true, true, false])
    }
}

impl Chosen {
    /// What `OPTS MLST type;size;` chooses; unknown facts are passed over (RFC 3659 section 7.9).
    #[must_use]
    pub fn parse(list: &str) -> Self {
        Self(NAMES.map(|name| list.split(';').any(|wanted| wanted.trim().eq_ignore_ascii_case(name))))
    }

    /// As the reply to OPTS and without marks: `type;size;`.
    #[must_use]
    pub fn names(self) -> String {
        NAMES.iter().zip(self.0).filter(|(_, on)| *on).flat_map(|(name, _)| [*name, ";"]).collect()
    }

    /// As FEAT shows them: all names, the chosen ones with a star.
    #[must_use]
    pub fn feature(self) -> String {
        NAMES.iter().zip(self.0).flat_map(|(name, on)| [*name, if on { "*" } else { "" }, ";"]).collect()
    }

    /// The facts of one name, up to and without the space before the name.
    #[must_use]
    pub fn line(self, stat: &Stat, may: Permissions) -> String {
        let mut line = Vec::with_capacity(96);
        self.write(&mut line, stat, may);
        String::from_utf8(line).unwrap_or_default()
    }

    /// The same for the top directory, which nobody removes or renames.
    #[must_use]
    pub fn line_of_top(self, stat: &Stat, may: Permissions) -> String {
        let mut line = Vec::with_capacity(96);
        self.write_with(&mut line, stat, perm(stat, may).filter(|letter| !matches!(letter, b'd' | b'f')));
        String::from_utf8(line).unwrap_or_default()
    }

    /// As [`Chosen::line`], appended to `out`.
    pub fn write(self, out: &mut Vec<u8>, stat: &Stat, may: Permissions) {
        self.write_with(out, stat, perm(stat, may));
    }

    fn write_with(self, out: &mut Vec<u8>, stat: &Stat, mut perm: impl Iterator<Item = u8>) {
        for (name, on) in NAMES.iter().zip(self.0) {
            if !on || (*name == "size" && stat.kind != Kind::File) || (*name == "unique" && stat.inode == 0) {
                continue;
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            // A Vec takes all that is written to it.
            match *name {
                "type" => out.extend_from_slice(match stat.kind {
                    Kind::File => b"file",
                    Kind::Directory => b"dir",
                    Kind::Other => b"OS.unix=other",
                }),
                "size" => write!(out, "{}", stat.size).unwrap_or_default(),
                "modify" => time::write(out, stat.modified),
                "perm" => out.extend(&mut perm),
                "unique" => write!(out, "{:x}", stat.inode).unwrap_or_default(),
                _ => write!(out, "{:04o}", stat.mode & 0o7777).unwrap_or_default(),
            }
            out.push(b';');
        }
    }
}

/// Is this the owner's view of an upload that has not landed yet? It has no inode of its own.
#[must_use]
pub fn is_suspended(stat: &Stat) -> bool {
    stat.kind == Kind::File && stat.inode == 0
}

/// What the user may do with it (RFC 3659 section 7.5.5).
fn perm(stat: &Stat, may: Permissions) -> impl Iterator<Item = u8> {
    let letters = match stat.kind {
        Kind::File => [
            (may.write && (may.overwrite || is_suspended(stat)), b'a'),
            (may.delete, b'd'),
            (may.rename, b'f'),
            (may.read && !is_suspended(stat), b'r'),
            (may.write && (may.overwrite || is_suspended(stat)), b'w'),
            (false, 0),
            (false, 0),
        ],
        Kind::Directory => [
            (may.write, b'c'),
            (may.delete, b'd'),
            (true, b'e'),
            (may.rename, b'f'),
            (may.list, b'l'),
            (may.mkdir, b'm'),
            (may.delete, b'p'),
        ],
        Kind::Other => [(false, 0); 7],
    };
    letters.into_iter().filter(|(on, _)| *on).map(|(_, letter)| letter)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn file() -> Stat {
        let modified = UNIX_EPOCH + Duration::from_secs(1_709_210_096);
        Stat { kind: Kind::File, size: 1234, modified, mode: 0o640, inode: 255 }
    }

    #[test]
    fn facts_of_a_file_and_a_directory() {
        let may = Permissions::default();
        assert_eq!(
            Chosen::default().line(&file(), may),
            "type=file;size=1234;modify=20240229123456;perm=adfrw;unique=ff;"
        );
        let suspended = Stat { inode: 0, ..file() };
        assert_eq!(Chosen::parse("perm").line(&suspended, may), "perm=adfw;");
        let directory = Stat { kind: Kind::Directory, ..file() };
        assert_eq!(
            Chosen::parse("Type;PERM;unix.mode;frobs").line(&directory, may),
            "type=dir;perm=cdeflmp;UNIX.mode=0640;"
        );
        assert_eq!(Chosen::parse("perm").line_of_top(&directory, may), "perm=celmp;");
    }

    #[test]
    fn a_dropbox_shows_what_it_forbids() {
        let may = Permissions { list: false, read: false, overwrite: false, delete: false, ..Permissions::default() };
        assert_eq!(Chosen::parse("perm").line(&file(), may), "perm=f;");
        assert_eq!(Chosen::parse("perm").line(&Stat { inode: 0, ..file() }, may), "perm=afw;");
    }

    #[test]
    fn choices() {
        assert_eq!(Chosen::parse("").names(), "");
        assert_eq!(Chosen::parse("size;type").names(), "type;size;");
        assert_eq!(Chosen::parse("size").feature(), "type;size*;modify;perm;unique;UNIX.mode;");
    }
}

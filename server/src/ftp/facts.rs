//! MLST and MLSD facts (RFC 3659 section 7): which are chosen, and their line. Pure.

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
        self.line_with(stat, &perm(stat, may))
    }

    /// The same for the top directory, which nobody removes or renames.
    #[must_use]
    pub fn line_of_top(self, stat: &Stat, may: Permissions) -> String {
        self.line_with(stat, &perm(stat, may).replace(['d', 'f'], ""))
    }

    fn line_with(self, stat: &Stat, perm: &str) -> String {
        let mut line = String::with_capacity(96);
        for (name, on) in NAMES.iter().zip(self.0) {
            if !on {
                continue;
            }
            let value = match *name {
                "type" => match stat.kind {
                    Kind::File => "file".to_owned(),
                    Kind::Directory => "dir".to_owned(),
                    Kind::Other => "OS.unix=other".to_owned(),
                },
                "size" if stat.kind == Kind::File => stat.size.to_string(),
                "modify" => time::format(stat.modified),
                "perm" => perm.to_owned(),
                "unique" if stat.inode != 0 => format!("{:x}", stat.inode),
                "UNIX.mode" => format!("{:04o}", stat.mode & 0o7777),
                _ => continue,
            };
            line.push_str(name);
            line.push('=');
            line.push_str(&value);
            line.push(';');
        }
        line
    }
}

/// Is this the owner's view of an upload that has not landed yet? It has no inode of its own.
#[must_use]
pub fn is_suspended(stat: &Stat) -> bool {
    stat.kind == Kind::File && stat.inode == 0
}

/// What the user may do with it (RFC 3659 section 7.5.5).
fn perm(stat: &Stat, may: Permissions) -> String {
    let letters: &[(bool, char)] = match stat.kind {
        Kind::File => &[
            (may.write && (may.overwrite || is_suspended(stat)), 'a'),
            (may.delete, 'd'),
            (may.rename, 'f'),
            (may.read && !is_suspended(stat), 'r'),
            (may.write && (may.overwrite || is_suspended(stat)), 'w'),
        ],
        Kind::Directory => &[
            (may.write, 'c'),
            (may.delete, 'd'),
            (true, 'e'),
            (may.rename, 'f'),
            (may.list, 'l'),
            (may.mkdir, 'm'),
            (may.delete, 'p'),
        ],
        Kind::Other => &[],
    };
    letters.iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect()
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

//! Lines of LIST and NLST, the flags and the glob that LIST takes. Pure.

use std::time::SystemTime;

use landfall_storage::{Kind, Stat};

use super::facts::is_suspended;
use super::time;

/// What a listing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The path; `None` for the current directory.
    pub path: Option<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    /// Takes leading `ls` flags (`-la`) off an argument. They are a habit of clients and change nothing here: hidden
    /// names are always shown, the order is the storage's, and `-R` lists one level, so that no command walks a tree.
    #[must_use]
    pub fn parse(argument: &'a [u8]) -> Self {
        let mut rest = argument;
        loop {
            rest = rest.trim_ascii_start();
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if word.len() < 2 || word[0] != b'-' || !word[1..].iter().all(u8::is_ascii_alphanumeric) {
                break;
            }
            rest = after;
        }
        Self { path: (!rest.is_empty()).then_some(rest) }
    }
}

/// One line in the form of `ls -l`, which every client parses; with its line end.
pub fn long(out: &mut Vec<u8>, name: &str, stat: &Stat, owner: &str, now: SystemTime) {
    let (letter, links) = match stat.kind {
        Kind::File => ('-', 1),
        Kind::Directory => ('d', 2),
        Kind::Other => ('l', 1),
    };
    out.push(letter as u8);
    // What has not landed cannot be read, by nobody.
    let mode = if is_suspended(stat) { stat.mode & !0o444 } else { stat.mode };
    for shift in (0..9).rev() {
        out.push(if mode >> shift & 1 == 1 { b"xwr"[shift % 3] } else { b'-' });
    }
    let date = time::listed(stat.modified, now);
    out.extend_from_slice(format!(" {links:>3} {owner:<8} {owner:<8} {:>12} {date} {name}\r\n", stat.size).as_bytes());
}

/// Is this a name that a client can be told and can say again? An operator's own file may have a line end in its name.
#[must_use]
pub fn showable(name: &str) -> bool {
    !name.chars().any(char::is_control)
}

/// A pattern of `*` (any run of characters) and `?` (one) for one name. Matching takes time in proportion to
/// pattern × name at worst, and no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<char>);

impl Glob {
    /// The pattern that `text` is, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.contains(['*', '?']).then(|| Self(text.chars().collect()))
    }

    /// Does `name` match?
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let pattern = &self.0;
        let name: Vec<char> = name.chars().collect();
        let (mut p, mut n) = (0, 0);
        // Where the last star stood, and up to where it has eaten.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(c) if *c == '?' || name.get(n) == Some(c) => {
                    p += 1;
                    n += 1;
                }
                _ => {
                    let Some((at, eaten)) = star else { return false };
                    star = Some((at, eaten + 1));
                    p = at + 1;
                    n = eaten + 1;
                }
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_lines() {
        let now = UNIX_EPOCH + Duration::from_secs(1_709_300_000);
        let modified = UNIX_EPOCH + Duration::from_secs(1_709_210_096);
        let stat = Stat { kind: Kind::File, size: 1234, modified, mode: 0o640, inode: 1 };
        let mut out = Vec::new();
        long(&mut out, "a b.jpg", &stat, "acme", now);
        long(&mut out, "half.jpg", &Stat { mode: 0o600, inode: 0, ..stat.clone() }, "acme", now);
        long(&mut out, "in", &Stat { kind: Kind::Directory, size: 0, mode: 0o755, ..stat }, "acme", now);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "-rw-r-----   1 acme     acme             1234 Feb 29 12:34 a b.jpg\r\n\
             --w-------   1 acme     acme             1234 Feb 29 12:34 half.jpg\r\n\
             drwxr-xr-x   2 acme     acme                0 Feb 29 12:34 in\r\n"
        );
    }

    #[test]
    fn flags_come_off() {
        for (argument, path) in [
            ("", None),
            ("-la", None),
            ("-a -l ", None),
            ("-l in box", Some("in box")),
            ("-", Some("-")),
            ("./-a", Some("./-a")),
            ("-a.jpg", Some("-a.jpg")),
            ("x -l", Some("x -l")),
        ] {
            assert_eq!(Wanted::parse(argument.as_bytes()).path, path.map(str::as_bytes), "{argument:?}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, name, yes) in [
            ("*", "", true),
            ("*.jpg", "a.jpg", true),
            ("*.jpg", "a.jpeg", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "é", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxbxxa", false),
            ("**", "x", true),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(name), yes, "{pattern} {name}");
        }
        assert_eq!(Glob::parse("plain"), None);
        assert!(!Glob::parse(&"*a".repeat(100)).unwrap().matches(&"a".repeat(99)));
    }

    proptest! {
        #[test]
        fn flags_of_any_bytes(argument in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Wanted::parse(&argument);
        }

        #[test]
        fn a_name_matches_itself_with_a_star_in_it(name in "[a-c]{1,12}", at in 0usize..12) {
            let at = at.min(name.len());
            let pattern = format!("{}*{}", &name[..at], &name[at..]);
            prop_assert!(Glob::parse(&pattern).unwrap().matches(&name));
        }
    }
}

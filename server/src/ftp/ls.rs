//! Lines of LIST and NLST, the flags and the glob that LIST takes. Pure.

use std::io::Write;
use std::time::SystemTime;

use landfall_storage::{Kind, Stat};

use super::facts::is_suspended;
use super::time;

/// Flags of `ls` that clients send. A word with any other letter in it is a name.
const FLAGS: &[u8] = b"aAlLRtrFT1";

/// What a listing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The path; `None` for the current directory.
    pub path: Option<&'a [u8]>,
    /// `-t`: newest first.
    pub by_time: bool,
    /// `-r` with `-t`: oldest first.
    pub reversed: bool,
    /// `-R`: what is below, too.
    pub recursive: bool,
}

impl<'a> Wanted<'a> {
    /// Takes leading `ls` flags (`-la`, `-a -l`, up to `--`) off an argument. Most are a habit of clients and change
    /// nothing here: hidden names are always shown, and the form is the verb's. One blank parts the flags from the path;
    /// further ones are the path's own (RFC 959 section 5.3.1).
    #[must_use]
    pub fn parse(argument: &'a [u8]) -> Self {
        let mut wanted = Self { path: None, by_time: false, reversed: false, recursive: false };
        let mut rest = argument;
        loop {
            let word = rest.trim_ascii_start();
            let end = word.iter().position(|byte| *byte == b' ').unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            let Some(flags) = word.strip_prefix(b"-").filter(|flags| !flags.is_empty()) else { break };
            let last = flags == b"-";
            if !last && !flags.iter().all(|flag| FLAGS.contains(flag)) {
                break;
            }
            wanted.by_time |= flags.contains(&b't');
            wanted.reversed |= flags.contains(&b'r');
            wanted.recursive |= flags.contains(&b'R');
            rest = after.get(1..).unwrap_or_default();
            if last {
                break;
            }
        }
        // Blanks and nothing else are a client that had nothing to say.
        wanted.path = (!rest.trim_ascii().is_empty()).then_some(rest);
        wanted
    }
}

/// One line in the form of `ls -l`, which every client parses; with its line end.
pub fn long(out: &mut Vec<u8>, name: &str, stat: &Stat, owner: &str, now: SystemTime) {
    let (letter, links) = match stat.kind {
        Kind::File => (b'-', 1),
        Kind::Directory => (b'd', 2),
        // What can neither be read nor entered, such as a link out of the storage. Not `l`: clients take the text after
        // ` -> ` for granted there, and where a link leads to is nobody's business.
        Kind::Other => (b's', 1),
    };
    out.push(letter);
    // What has not landed cannot be read, by nobody.
    let mode = if is_suspended(stat) { stat.mode & !0o444 } else { stat.mode };
    for shift in (0..9).rev() {
        out.push(if mode >> shift & 1 == 1 { b"xwr"[shift % 3] } else { b'-' });
    }
    // A Vec takes all that is written to it.
    write!(out, " {links:>3} {owner:<8} {owner:<8} {:>12} ", stat.size).ok();
    time::write_listed(out, stat.modified, now);
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Is this a name that a client can be told and can say again? An operator's own file may have a line end in its name.
#[must_use]
pub fn showable(name: &str) -> bool {
    !name.chars().any(char::is_control)
}

/// Steps that the patterns of one listing may take, some seconds' worth: a pattern of many stars over many names that
/// nearly match would keep a processor busy for hours.
const MAX_GLOB_STEPS: u64 = 1_000_000_000;

/// A pattern has taken [`MAX_GLOB_STEPS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooCostly;

/// A pattern of `*` (any run of characters) and `?` (one) for names of one directory. Matching a name takes time in
/// proportion to pattern × name at worst, and no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Vec<u8>,
    steps_left: u64,
}

impl Glob {
    /// The pattern that `text` is, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.contains(['*', '?']).then(|| Self { pattern: text.into(), steps_left: MAX_GLOB_STEPS })
    }

    /// Does `name` match?
    ///
    /// # Errors
    /// [`TooCostly`], from when on it is of no use any more.
    pub fn matches(&mut self, name: &str) -> Result<bool, TooCostly> {
        let (pattern, name) = (self.pattern.as_slice(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where the last star stood, and up to where it has eaten.
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = name.get(n) {
            self.steps_left = self.steps_left.checked_sub(1).ok_or(TooCostly)?;
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(b'?') if !is_inside(*byte) => {
                    p += 1;
                    n += 1;
                    while name.get(n).is_some_and(|byte| is_inside(*byte)) {
                        n += 1;
                    }
                }
                Some(literal) if literal == byte && *literal != b'?' => {
                    p += 1;
                    n += 1;
                }
                _ => {
                    let Some((at, eaten)) = star else { return Ok(false) };
                    star = Some((at, eaten + 1));
                    p = at + 1;
                    n = eaten + 1;
                }
            }
        }
        Ok(pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*'))
    }
}

/// Is this a byte within a UTF-8 character, not its first?
const fn is_inside(byte: u8) -> bool {
    byte & 0xc0 == 0x80
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
        long(&mut out, "in", &Stat { kind: Kind::Directory, size: 0, mode: 0o755, ..stat.clone() }, "acme", now);
        long(&mut out, "out", &Stat { kind: Kind::Other, size: 0, mode: 0o777, ..stat }, "acme", now);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "-rw-r-----   1 acme     acme             1234 Feb 29 12:34 a b.jpg\r\n\
             --w-------   1 acme     acme             1234 Feb 29 12:34 half.jpg\r\n\
             drwxr-xr-x   2 acme     acme                0 Feb 29 12:34 in\r\n\
             srwxrwxrwx   1 acme     acme                0 Feb 29 12:34 out\r\n"
        );
    }

    #[test]
    fn flags_come_off() {
        for (argument, path) in [
            ("", None),
            ("  ", None),
            ("-la", None),
            ("-al ", None),
            ("-a -l ", None),
            ("-a  -l", None),
            ("-l in box", Some("in box")),
            ("-l  in box ", Some(" in box ")),
            (" in box", Some(" in box")),
            ("-", Some("-")),
            ("./-a", Some("./-a")),
            ("-a.jpg", Some("-a.jpg")),
            ("-backup", Some("-backup")),
            ("-- -la", Some("-la")),
            ("-a -- --", Some("--")),
            ("--", None),
            ("---", Some("---")),
            ("x -l", Some("x -l")),
        ] {
            assert_eq!(Wanted::parse(argument.as_bytes()).path, path.map(str::as_bytes), "{argument:?}");
        }
    }

    #[test]
    fn flags_that_mean_something() {
        for (argument, flags) in [
            ("-la", [false, false, false]),
            ("-lt", [true, false, false]),
            ("-ltr x", [true, true, false]),
            ("-lRa", [false, false, true]),
            ("-t -R -r", [true, true, true]),
            ("-- -tRr", [false, false, false]),
        ] {
            let Wanted { by_time, reversed, recursive, .. } = Wanted::parse(argument.as_bytes());
            assert_eq!([by_time, reversed, recursive], flags, "{argument:?}");
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
            ("?", "\u{e9}", true),
            ("??", "\u{e9}", false),
            ("*?", "\u{e9}", true),
            ("*??", "\u{e9}", false),
            ("?\u{e9}?", "\u{20ac}\u{e9}x", true),
            ("a?", "a?", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxbxxa", false),
            ("**", "x", true),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(name), Ok(yes), "{pattern} {name}");
        }
        assert_eq!(Glob::parse("plain"), None);
        assert_eq!(Glob::parse(&"*a".repeat(100)).unwrap().matches(&"a".repeat(99)), Ok(false));
    }

    #[test]
    fn a_pattern_has_so_many_steps_and_no_more() {
        let mut glob = Glob { steps_left: 100_000, ..Glob::parse(&format!("*{}b", "a".repeat(100))).unwrap() };
        let name = "a".repeat(200);
        assert_eq!(glob.matches(&name), Ok(false));
        let costly = (0..100).map(|_| glob.matches(&name)).find(Result::is_err);
        assert_eq!(costly, Some(Err(TooCostly)));
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
            prop_assert_eq!(Glob::parse(&pattern).unwrap().matches(&name), Ok(true));
        }
    }
}

//! Commands of the control connection: one table of verbs, and the parser from a line to a [`Command`].
//! Pure: knows no socket and no session; whatever bytes come in, it answers with a value.

/// Longest command line without its line end, in bytes.
pub const MAX_LINE_BYTES: usize = 4_096;

/// What a command asks for; aliases (the X-forms of RFC 775) share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described once, by its help text in the table")]
pub enum Verb {
    Abor,
    Acct,
    Allo,
    Appe,
    Auth,
    Avbl,
    Ccc,
    Cdup,
    Clnt,
    Csid,
    Cwd,
    Dele,
    Eprt,
    Epsv,
    Feat,
    Hash,
    Help,
    Host,
    Lang,
    List,
    Md5,
    Mdtm,
    Mff,
    Mfmt,
    Mkd,
    Mlsd,
    Mlst,
    Mode,
    Nlst,
    Noop,
    Opts,
    Pass,
    Pasv,
    Pbsz,
    Port,
    Prot,
    Pwd,
    Quit,
    Rang,
    Rein,
    Rest,
    Retr,
    Rmd,
    Rmda,
    Rnfr,
    Rnto,
    Site,
    Size,
    Stat,
    Stor,
    Stou,
    Stru,
    Syst,
    Type,
    User,
    Xcrc,
    Xmd5,
    Xsha1,
    Xsha256,
    Xsha512,
}

/// Does a verb take something after it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// Nothing may follow.
    None,
    /// Something may follow.
    Optional,
    /// Something must follow.
    Required,
}

/// When is a verb obeyed?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before login as well.
    Anytime,
    /// Only when logged in; 530 before.
    LoggedIn,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// As it is sent, in capitals.
    pub name: &'static str,
    /// What it asks for.
    pub verb: Verb,
    /// When it is obeyed.
    pub when: When,
    /// What may follow.
    pub argument: Argument,
    /// The RFC or draft that it is from; `habit` where servers and clients have agreed without one.
    pub source: &'static str,
    /// One line for `HELP NAME`, beginning with what may follow.
    pub help: &'static str,
}

const fn row(
    name: &'static str,
    verb: Verb,
    when: When,
    argument: Argument,
    source: &'static str,
    help: &'static str,
) -> Spec {
    Spec { name, verb, when, argument, source, help }
}

const HASH: &str = "draft-bryan-ftpext-hash";
const PETERSON: &str = "draft-peterson-streamlined-ftp-command-extensions";
const PART_HELP: &str = "<path> [[<start>] <end>]: digest of a landed file, or of what is before the end";

use Argument::{None as Bare, Optional, Required};
use When::{Anytime, LoggedIn};

/// Every command there is.
pub static TABLE: &[Spec] = &[
    row("ABOR", Verb::Abor, LoggedIn, Bare, "RFC 959", "stop the transfer; an upload is suspended"),
    row("ACCT", Verb::Acct, LoggedIn, Required, "RFC 959", "<account>: accepted and not needed"),
    row(
        "ALLO",
        Verb::Allo,
        LoggedIn,
        Required,
        "RFC 959",
        "<bytes>: size of the upload that follows; it must then match",
    ),
    row("APPE", Verb::Appe, LoggedIn, Required, "RFC 959", "<path>: upload after what is held under that name"),
    row("AUTH", Verb::Auth, Anytime, Required, "RFC 2228, 4217", "TLS: begin TLS on this connection"),
    row("AVBL", Verb::Avbl, LoggedIn, Optional, PETERSON, "[<path>]: bytes left for you"),
    row(
        "CCC",
        Verb::Ccc,
        LoggedIn,
        Bare,
        "RFC 2228, 4217",
        "refused: a connection under TLS stays so (534); 533 in clear",
    ),
    row("CDUP", Verb::Cdup, LoggedIn, Bare, "RFC 959", "go one directory up"),
    row("CLNT", Verb::Clnt, Anytime, Required, "habit", "<name>: tell which client this is"),
    row("CSID", Verb::Csid, Anytime, Required, "habit", "Name=<name>; Version=<version>;: tell which client this is"),
    row("CWD", Verb::Cwd, LoggedIn, Required, "RFC 959", "<path>: change directory"),
    row("DELE", Verb::Dele, LoggedIn, Required, "RFC 959", "<path>: remove a file"),
    row("EPRT", Verb::Eprt, LoggedIn, Required, "RFC 2428", "|<1 or 2>|<address>|<port>|: active data connection"),
    row("EPSV", Verb::Epsv, LoggedIn, Optional, "RFC 2428", "[1|2|ALL]: passive data connection, IPv4 and IPv6"),
    row("FEAT", Verb::Feat, Anytime, Bare, "RFC 2389", "list the extensions"),
    row("HASH", Verb::Hash, LoggedIn, Required, HASH, "<path>: digest of a landed file, or of what RANG said of it"),
    row("HELP", Verb::Help, Anytime, Optional, "RFC 959", "[<command>]: this help"),
    row("HOST", Verb::Host, Anytime, Required, "RFC 7151", "<name>: which of this server's names is meant"),
    row("LANG", Verb::Lang, Anytime, Optional, "RFC 2640", "[EN]: language of the replies"),
    row("LIST", Verb::List, LoggedIn, Optional, "RFC 959", "[<path>]: list names with facts, for people"),
    row("MD5", Verb::Md5, LoggedIn, Required, "draft-twine-ftpmd5", "<path>: MD5 of a landed file"),
    row(
        "MDTM",
        Verb::Mdtm,
        LoggedIn,
        Required,
        "RFC 3659",
        "[<YYYYMMDDhhmmss>] <path>: show (or set) the modification time",
    ),
    row(
        "MFF",
        Verb::Mff,
        LoggedIn,
        Required,
        "draft-somers-ftp-mfxx",
        "modify=<YYYYMMDDhhmmss>;UNIX.mode=<mode>; <path>: set one fact or both",
    ),
    row(
        "MFMT",
        Verb::Mfmt,
        LoggedIn,
        Required,
        "draft-somers-ftp-mfxx",
        "<YYYYMMDDhhmmss> <path>: set the modification time",
    ),
    row("MKD", Verb::Mkd, LoggedIn, Required, "RFC 959", "<path>: make a directory"),
    row("MLSD", Verb::Mlsd, LoggedIn, Optional, "RFC 3659", "[<path>]: list names with facts, for programs"),
    row("MLST", Verb::Mlst, LoggedIn, Optional, "RFC 3659", "[<path>]: facts of one name"),
    row("MODE", Verb::Mode, LoggedIn, Required, "RFC 959", "S: stream is the only mode"),
    row("NLST", Verb::Nlst, LoggedIn, Optional, "RFC 959", "[<path>]: list names only"),
    row("NOOP", Verb::Noop, Anytime, Optional, "RFC 959", "do nothing"),
    row(
        "OPTS",
        Verb::Opts,
        Anytime,
        Required,
        "RFC 2389",
        "UTF8 ON | MLST [<fact>;...] | HASH [<algorithm>]: set an option",
    ),
    row("PASS", Verb::Pass, Anytime, Optional, "RFC 959", "<password>: second half of the login"),
    row("PASV", Verb::Pasv, LoggedIn, Bare, "RFC 959", "passive data connection, IPv4"),
    row("PBSZ", Verb::Pbsz, Anytime, Required, "RFC 2228, 4217", "0: as PROT wants it"),
    row("PORT", Verb::Port, LoggedIn, Required, "RFC 959", "<h1,h2,h3,h4,p1,p2>: active data connection, IPv4"),
    row("PROT", Verb::Prot, Anytime, Required, "RFC 2228, 4217", "C | P: data connections in clear or private"),
    row("PWD", Verb::Pwd, LoggedIn, Bare, "RFC 959", "show the current directory"),
    row("QUIT", Verb::Quit, Anytime, Bare, "RFC 959", "say goodbye; a transfer under way ends first"),
    row(
        "RANG",
        Verb::Rang,
        LoggedIn,
        Required,
        "draft-bryan-ftp-range",
        "<first> <last>: bytes that the next RETR or HASH is of; 1 0 for all",
    ),
    row("REIN", Verb::Rein, Anytime, Bare, "RFC 959", "log out and begin again"),
    row("REST", Verb::Rest, LoggedIn, Required, "RFC 959, 3659", "<offset>: where the next RETR or STOR begins"),
    row("RETR", Verb::Retr, LoggedIn, Required, "RFC 959", "<path>: download"),
    row("RMD", Verb::Rmd, LoggedIn, Required, "RFC 959", "<path>: remove an empty directory"),
    row("RMDA", Verb::Rmda, LoggedIn, Required, PETERSON, "<path>: remove a directory and all in it"),
    row("RNFR", Verb::Rnfr, LoggedIn, Required, "RFC 959", "<path>: what to rename"),
    row("RNTO", Verb::Rnto, LoggedIn, Required, "RFC 959", "<path>: its new name"),
    row(
        "SITE",
        Verb::Site,
        LoggedIn,
        Required,
        "RFC 959",
        "HELP | CHMOD <mode> <path> | UTIME <YYYYMMDDhhmmss> <path>",
    ),
    row("SIZE", Verb::Size, LoggedIn, Required, "RFC 3659", "<path>: size in bytes (TYPE I only)"),
    row(
        "STAT",
        Verb::Stat,
        LoggedIn,
        Optional,
        "RFC 959",
        "[<path>]: this session, a transfer's progress, or a listing",
    ),
    row("STOR", Verb::Stor, LoggedIn, Required, "RFC 959", "<path>: upload"),
    row("STOU", Verb::Stou, LoggedIn, Optional, "RFC 959, 1123", "[<name>]: upload under a name of its own"),
    row("STRU", Verb::Stru, LoggedIn, Required, "RFC 959", "F: file is the only structure"),
    row("SYST", Verb::Syst, Anytime, Bare, "RFC 959", "kind of system"),
    row("TYPE", Verb::Type, LoggedIn, Required, "RFC 959", "I | A: bytes as they are, or text with CRLF line ends"),
    row("USER", Verb::User, Anytime, Required, "RFC 959", "<name>: first half of the login"),
    row("XCRC", Verb::Xcrc, LoggedIn, Required, "habit", PART_HELP),
    row("XCUP", Verb::Cdup, LoggedIn, Bare, "RFC 775", "as CDUP"),
    row("XCWD", Verb::Cwd, LoggedIn, Required, "RFC 775", "as CWD"),
    row("XMD5", Verb::Xmd5, LoggedIn, Required, "habit", PART_HELP),
    row("XMKD", Verb::Mkd, LoggedIn, Required, "RFC 775", "as MKD"),
    row("XPWD", Verb::Pwd, LoggedIn, Bare, "RFC 775", "as PWD"),
    row("XRMD", Verb::Rmd, LoggedIn, Required, "RFC 775", "as RMD"),
    row("XSHA", Verb::Xsha1, LoggedIn, Required, "habit", "as XSHA1"),
    row("XSHA1", Verb::Xsha1, LoggedIn, Required, "habit", PART_HELP),
    row("XSHA256", Verb::Xsha256, LoggedIn, Required, "habit", PART_HELP),
    row("XSHA512", Verb::Xsha512, LoggedIn, Required, "habit", PART_HELP),
];

/// What other RFCs name and this server does not do: 502 and not 500 (RFC 959 section 5.4). RFC 959's own SMNT, RFC
/// 2228's protected commands, which TLS makes needless, and RFC 1639's forerunners of EPRT and EPSV.
const NOT_OFFERED: [&str; 7] = ["ADAT", "CONF", "ENC", "LPRT", "LPSV", "MIC", "SMNT"];

/// The row of a verb, written in any case.
#[must_use]
pub fn spec(name: &[u8]) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

/// A command line, understood.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// Its row.
    pub spec: &'static Spec,
    /// What follows the first space, byte by byte as sent: spaces belong to names (RFC 959 section 5.3.1).
    pub argument: Vec<u8>,
}

/// Never shows a password.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Command");
        debug.field("name", &self.spec.name);
        if self.spec.verb == Verb::Pass {
            debug.finish_non_exhaustive()
        } else {
            debug.field("argument", &String::from_utf8_lossy(&self.argument)).finish()
        }
    }
}

/// Why a line is not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// Nothing on the line.
    Empty,
    /// The first word of an HTTP request: a browser was led here by somebody else's page.
    Http,
    /// Not in the table.
    Unknown,
    /// Not in the table, but in some RFC.
    NotOffered,
    /// Something must follow.
    ArgumentMissing(&'static Spec),
    /// Nothing may follow.
    ArgumentUnwanted(&'static Spec),
}

impl Command {
    /// Understands one line, given without its line end.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (word, rest) = line.split_at(space);
        let argument = rest.get(1..).unwrap_or_default();
        if word.is_empty() {
            return Err(ParseError::Empty);
        }
        let Some(spec) = spec(word) else {
            return Err(match word {
                word if is_http(word) => ParseError::Http,
                word if NOT_OFFERED.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word)) => {
                    ParseError::NotOffered
                }
                _ => ParseError::Unknown,
            });
        };
        match spec.argument {
            Required if argument.is_empty() => Err(ParseError::ArgumentMissing(spec)),
            // Blanks after a bare verb are a habit of hand-written clients.
            Bare if argument.iter().any(|byte| *byte != b' ') => Err(ParseError::ArgumentUnwanted(spec)),
            Bare => Ok(Self { spec, argument: Vec::new() }),
            Required | Optional => Ok(Self { spec, argument: argument.to_vec() }),
        }
    }

    /// What follows as text, for verbs whose argument is no path.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.argument)
    }
}

fn is_http(word: &[u8]) -> bool {
    const METHODS: [&str; 11] =
        ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE", "PRI", "PROPFIND"];
    METHODS.iter().any(|method| method.as_bytes() == word)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_become_commands() {
        for (line, name, argument) in [
            ("NOOP", "NOOP", ""),
            ("noop", "NOOP", ""),
            ("QUIT ", "QUIT", ""),
            ("STOR a b .jpg", "STOR", "a b .jpg"),
            ("STOR  led by a space ", "STOR", " led by a space "),
            ("pAsS se cret", "PASS", "se cret"),
            ("PASS", "PASS", ""),
            ("XCWD /a", "XCWD", "/a"),
        ] {
            let command = Command::parse(line.as_bytes()).unwrap();
            assert_eq!((command.spec.name, &*command.text()), (name, argument), "{line}");
        }
    }

    #[test]
    fn lines_that_are_no_commands() {
        assert_eq!(Command::parse(b""), Err(ParseError::Empty));
        assert_eq!(Command::parse(b" NOOP"), Err(ParseError::Empty));
        assert_eq!(Command::parse(b"FROB x"), Err(ParseError::Unknown));
        assert_eq!(Command::parse(b"smnt x"), Err(ParseError::NotOffered));
        assert_eq!(Command::parse(b"GET / HTTP/1.1"), Err(ParseError::Http));
        assert_eq!(Command::parse(b"STOR"), Err(ParseError::ArgumentMissing(spec(b"STOR").unwrap())));
        assert_eq!(Command::parse(b"STOR "), Err(ParseError::ArgumentMissing(spec(b"STOR").unwrap())));
        assert_eq!(Command::parse(b"PASV x"), Err(ParseError::ArgumentUnwanted(spec(b"PASV").unwrap())));
    }

    #[test]
    fn the_table_has_no_name_twice_and_is_sorted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name || pair[1].name.starts_with('X')));
        for spec in TABLE {
            assert_eq!(TABLE.iter().filter(|other| other.name == spec.name).count(), 1, "{}", spec.name);
        }
    }

    #[test]
    fn verbs_md_holds_this_table() {
        let rows = TABLE.iter().map(|spec| {
            let early = if spec.when == Anytime { "yes" } else { "" };
            let help = spec.help.replace('|', "\\|").replace('<', "\\<");
            format!("| {} | {} | {early} | {help} |\n", spec.name, spec.source)
        });
        let table: String = rows.collect();
        assert!(include_str!("VERBS.md").contains(&table), "VERBS.md should have:\n{table}");
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Command::parse(b"PASS canary").unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(command) = Command::parse(&line) {
                prop_assert!(line.len() >= command.argument.len());
            }
        }

        #[test]
        fn arguments_come_through_unchanged(argument in proptest::collection::vec(any::<u8>(), 1..200)) {
            let line = [b"STOR ".as_slice(), &argument].concat();
            prop_assert_eq!(Command::parse(&line).unwrap().argument, argument);
        }
    }
}

//! Verbs that set or tell something of the session itself: TYPE, MODE, STRU, OPTS, FEAT, HELP, REST, ALLO, LANG.

use super::command::{TABLE, spec};
use super::facts::Chosen;
use super::reply::Reply;
use super::session::{Protection, Session};
use crate::config::TlsPolicy;
use crate::delivery::Algorithm;

impl Session {
    /// What really works, and nothing else (RFC 2389 section 3).
    pub(super) fn feat(&self) -> Reply {
        let config = &self.engine.config;
        let mut lines: Vec<String> = Vec::new();
        if config.tls != TlsPolicy::Off && self.engine.tls.is_some() {
            lines.extend(["AUTH TLS", "PBSZ", "PROT"].map(str::to_owned));
        }
        if config.active {
            lines.push("EPRT".to_owned());
        }
        if self.engine.tls.as_ref().is_some_and(|tls| tls.has_hosts()) {
            lines.push("HOST".to_owned());
        }
        let always = [
            "AVBL",
            "CLNT",
            "CSID",
            "EPSV",
            "LANG EN*",
            "MD5",
            "MDTM",
            "MFF modify;UNIX.mode;",
            "MFMT",
            "RANG STREAM",
            "REST STREAM",
            "RMDA <path>",
            "SIZE",
            "TVFS",
            "UTF8",
            "XCRC",
            "XMD5",
            "XSHA",
            "XSHA1",
            "XSHA256",
            "XSHA512",
        ];
        lines.extend(always.map(str::to_owned));
        // The one that is chosen with a star (draft-bryan-ftpext-hash section 3.1).
        let star = |algorithm| if algorithm == self.state.algorithm { "*;" } else { ";" };
        let hashes = Algorithm::ALL.map(|algorithm| format!("{}{}", algorithm.name(), star(algorithm)));
        lines.push(format!("HASH {}", hashes.concat()));
        lines.push(format!("MLST {}", self.state.facts.feature()));
        Reply::lines(211, "Extensions:", lines, "End")
    }

    pub(super) fn help(argument: &[u8]) -> Reply {
        if argument.is_empty() {
            let names: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
            let lines = names.chunks(10).map(|row| row.join(" ")).collect();
            return Reply::lines(214, "Commands:", lines, "HELP NAME tells about one");
        }
        match spec(argument.trim_ascii()) {
            Some(spec) => Reply::new(214, format!("{} {}", spec.name, spec.help)),
            None => Reply::new(502, "This command is not known; HELP lists all"),
        }
    }

    pub(super) fn lang(text: &str) -> Result<Reply, Reply> {
        let asked = text.trim();
        let subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if !asked.is_empty() && !asked.split('-').all(subtag) {
            return Err(Reply::new(501, "LANG takes a language tag like EN"));
        }
        // RFC 2640 section 4.1: en covers en-GB and its like.
        if asked.is_empty() || asked.split('-').next().is_some_and(|first| first.eq_ignore_ascii_case("en")) {
            return Ok(Reply::new(200, "Replies are in English"));
        }
        Err(Reply::new(504, "Replies are in English only"))
    }

    pub(super) fn set_type(&mut self, text: &str) -> Result<Reply, Reply> {
        let asked = text.trim().to_ascii_uppercase();
        self.state.ascii = match asked.as_str() {
            "I" | "L 8" | "L8" => false,
            "A" | "A N" => true,
            _ => return Err(Reply::new(504, "TYPE takes I (bytes as they are) or A (text)")),
        };
        Ok(Reply::new(200, if self.state.ascii { "TYPE A" } else { "TYPE I" }))
    }

    pub(super) fn mode(text: &str) -> Result<Reply, Reply> {
        if text.trim().eq_ignore_ascii_case("S") {
            return Ok(Reply::new(200, "MODE S"));
        }
        Err(Reply::new(504, "MODE S is the only one"))
    }

    pub(super) fn stru(text: &str) -> Result<Reply, Reply> {
        if text.trim().eq_ignore_ascii_case("F") {
            return Ok(Reply::new(200, "STRU F"));
        }
        Err(Reply::new(504, "STRU F is the only one"))
    }

    pub(super) fn opts(&mut self, text: &str) -> Result<Reply, Reply> {
        let (name, value) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        match name.to_ascii_uppercase().as_str() {
            "UTF8" | "UTF-8" => match value.trim().to_ascii_uppercase().as_str() {
                "" | "ON" | "NLST" => Ok(Reply::new(200, "Names are UTF-8")),
                _ => Err(Reply::new(501, "Names are UTF-8 always")),
            },
            "HASH" => {
                if !value.trim().is_empty() {
                    self.state.algorithm = Algorithm::parse(value.trim())
                        .ok_or_else(|| Reply::new(501, "Unknown algorithm, current selection not changed"))?;
                }
                Ok(Reply::new(200, self.state.algorithm.name()))
            }
            // RFC 3659 section 7.8: each fact with its semicolon, and no space. What is written otherwise chooses nothing.
            "MLST" if !value.is_empty() && (!value.ends_with(';') || value.contains(' ')) => {
                Err(Reply::new(501, "OPTS MLST takes facts like type;size;"))
            }
            "MLST" => {
                self.state.facts = Chosen::parse(value);
                // RFC 3659 section 7.9: without a fact, without the space as well.
                Ok(Reply::new(200, format!("MLST OPTS {}", self.state.facts.names()).trim_end().to_owned()))
            }
            _ if spec(name.as_bytes()).is_some() => Err(Reply::new(501, "This command has no options")),
            _ => Err(Reply::new(501, "OPTS takes HASH, MLST or UTF8")),
        }
    }

    pub(super) fn rest(&mut self, text: &str) -> Result<Reply, Reply> {
        let offset = number(text.trim()).ok_or_else(|| Reply::new(501, "REST takes a number of bytes, 0 or more"))?;
        if offset > 0 && self.state.ascii {
            // Where a byte of the converted text stands in the file cannot be known.
            return Err(Reply::new(501, "REST needs TYPE I"));
        }
        (self.state.restart, self.state.range) = (offset, None);
        Ok(Reply::new(350, format!("The next transfer begins at byte {offset}")))
    }

    /// `ALLO bytes [R bytes]` (RFC 959 section 4.1.3).
    pub(super) fn allo(&mut self, text: &str) -> Result<Reply, Reply> {
        let mut words = text.split_ascii_whitespace();
        let bytes = words.next().and_then(number);
        let rest = match (words.next(), words.next(), words.next()) {
            (None, ..) => true,
            (Some(r), Some(record), None) => r.eq_ignore_ascii_case("R") && number(record).is_some(),
            _ => false,
        };
        let bytes = bytes.filter(|_| rest).ok_or_else(|| Reply::new(501, "ALLO takes a number of bytes"))?;
        // Clients that have no size say 0.
        self.state.announced_bytes = (bytes > 0).then_some(bytes);
        Ok(Reply::new(200, "The next upload must have this size"))
    }

    /// ABOR while nothing runs: a data connection that was prepared is given up (RFC 959 section 4.1.3).
    pub(super) fn abort_nothing(&mut self) -> Reply {
        self.state.way = None;
        Reply::new(225, "No transfer to stop")
    }

    /// The client says which it is and is told what it may want to know of us; no version, since strangers may ask.
    pub(super) fn csid(text: &str) -> Result<Reply, Reply> {
        let named = text.split(';').any(|pair| {
            pair.split_once('=')
                .is_some_and(|(key, value)| key.trim().eq_ignore_ascii_case("Name") && !value.is_empty())
        });
        if !named {
            return Err(Reply::new(501, "CSID takes Name=<name>; Version=<version>;"));
        }
        Ok(Reply::new(200, "Name=Landfall; CaseSensitive=1; DirSep=/;"))
    }

    /// What STAT without a path tells, transfer aside.
    pub(super) fn status(&self) -> Reply {
        let user = self.files.as_ref().map_or("nobody", |files| files.user().name.as_str());
        let connection = if self.control.is_tls() { "under TLS" } else { "in clear" };
        let data = if self.state.protection == Protection::Private { "private" } else { "in clear" };
        let lines = vec![
            format!("Logged in as {user}, control connection {connection}, data connections {data}"),
            format!("TYPE {}, MODE S, STRU F", if self.state.ascii { "A" } else { "I" }),
            "No transfer".to_owned(),
        ];
        Reply::lines(211, "Landfall", lines, "End")
    }

    pub(super) fn site_help(argument: &[u8]) -> Reply {
        let lines = [
            "CHMOD <mode> <path>",
            "HELP",
            "UTIME <YYYYMMDDhhmm[ss]> <path>",
            "UTIME <path> <accessed> <modified> <created> UTC",
        ];
        let asked = String::from_utf8_lossy(argument.trim_ascii()).to_ascii_uppercase();
        let about = |line: &&str| asked.is_empty() || line.split(' ').next() == Some(&asked);
        let lines: Vec<String> = lines.into_iter().filter(about).map(str::to_owned).collect();
        if lines.is_empty() {
            return Reply::new(501, "This SITE command is not known; SITE HELP lists all");
        }
        Reply::lines(214, "SITE commands:", lines, "End")
    }
}

/// Digits and nothing else: the numbers of RFC 959 and RFC 3659 have no sign.
pub(super) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

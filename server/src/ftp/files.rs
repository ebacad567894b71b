//! Verbs on names: directories, removal, renames, facts, times. Everything goes through `delivery::Session`.

use std::time::SystemTime;

use landfall_auth::{Overwrite, Permissions};
use landfall_storage::{Kind, VirtualPath};

use super::reply::{Reply, file_refused, quoted};
use super::session::{End, Session};
use super::time;
use crate::delivery::{Cleared, Left};

/// Either reply is said; the error side lets `?` end a verb early.
type Answer = Result<Reply, Reply>;

impl Session {
    pub(super) fn pwd(&self) -> Reply {
        Reply::new(257, format!("{} is the current directory", quoted(self.state.directory.as_str())))
    }

    pub(super) async fn cwd(&mut self, name: &[u8]) -> Answer {
        let path = self.path(name)?;
        self.files()?.enter(&path).await?;
        let reply = Reply::new(250, format!("Now in {path}"));
        self.state.directory = path;
        Ok(reply)
    }

    pub(super) async fn mkd(&mut self, name: &[u8]) -> Answer {
        let path = self.new_path(name)?;
        self.files()?.make_dir(&path).await?;
        Ok(Reply::new(257, format!("{} is made", quoted(path.as_str()))))
    }

    pub(super) async fn rmd(&mut self, name: &[u8]) -> Answer {
        let path = self.path(name)?;
        self.files()?.remove_dir(&path).await?;
        Ok(Reply::new(250, "Removed"))
    }

    /// draft-peterson-streamlined-ftp-command-extensions: a directory and all in it, as far as that can be done.
    pub(super) async fn rmda(&mut self, name: &[u8]) -> Result<(), End> {
        let (path, files) = match self.path(name).and_then(|path| Ok((path, self.files()?))) {
            Ok(found) => found,
            Err(reply) => return self.say(&reply).await,
        };
        self.work(&format!("RMDA {path}"), "names have been removed so far", move |course| async move {
            let step = move || {
                course.add(1);
                !course.is_cancelled()
            };
            files.remove_tree(&path, step).await.map_or_else(Reply::from, |cleared| cleared_reply(&cleared))
        })
        .await
    }

    pub(super) async fn dele(&mut self, name: &[u8]) -> Answer {
        let path = self.path(name)?;
        self.files()?.remove_file(&path).await?;
        Ok(Reply::new(250, "Removed"))
    }

    pub(super) async fn rnfr(&mut self, name: &[u8]) -> Answer {
        let path = self.path(name)?;
        // What cannot be seen may still be renamed: whether it is there shows at RNTO.
        let files = self.files()?;
        if permissions(&files).list {
            files.stat(&path).await?;
        }
        self.state.rename_from = Some(path);
        Ok(Reply::new(350, "RNTO with the new name, please"))
    }

    pub(super) async fn rnto(&mut self, name: &[u8]) -> Answer {
        let from = self.state.rename_from.take().ok_or_else(|| Reply::new(503, "RNFR comes before RNTO"))?;
        let to = self.new_path(name)?;
        let name = to.file_name().unwrap_or("/");
        match self.files()?.rename(&from, &to, true).await {
            Ok(Some(receipt)) => Ok(super::outcome::landed(&receipt, 250)),
            Ok(None) => Ok(Reply::new(250, "Renamed")),
            Err(refusal) => Err(file_refused(name, &refusal)),
        }
    }

    /// RFC 3659 section 4. In TYPE A the size on the wire is another than the stored one, and telling the stored one
    /// would lead to a wrong resume.
    pub(super) async fn size(&mut self, name: &[u8]) -> Answer {
        if self.state.ascii {
            return Err(Reply::new(550, "SIZE needs TYPE I"));
        }
        let stat = self.files()?.stat(&self.path(name)?).await?;
        match stat.kind {
            Kind::File => Ok(Reply::new(213, stat.size.to_string())),
            Kind::Directory | Kind::Other => Err(Reply::new(550, "not a file")),
        }
    }

    /// RFC 3659 section 3, and the habit of setting by `MDTM time name`. A file whose own name looks like that wins.
    pub(super) async fn mdtm(&mut self, argument: &[u8]) -> Answer {
        let files = self.files()?;
        let whole = self.path(argument)?;
        let setting = split_time(argument);
        match (files.stat(&whole).await, setting) {
            (Ok(stat), _) if stat.kind == Kind::File => Ok(Reply::new(213, time::format(stat.modified))),
            (Ok(_), _) => Err(Reply::new(550, "not a file")),
            (Err(_), Some((modified, name))) => {
                files.set_modified(&self.path(name)?, modified).await?;
                Ok(Reply::new(213, time::format(modified)))
            }
            (Err(refusal), None) => Err(refusal.into()),
        }
    }

    /// draft-somers-ftp-mfxx section 3.
    pub(super) async fn mfmt(&mut self, argument: &[u8]) -> Answer {
        let (modified, name) =
            split_time(argument).ok_or_else(|| Reply::new(501, "MFMT takes YYYYMMDDhhmmss and a path"))?;
        let path = self.path(name)?;
        self.files()?.set_modified(&path, modified).await?;
        Ok(Reply::new(213, format!("Modify={}; {path}", time::format(modified))))
    }

    /// draft-somers-ftp-mfxx section 5, for the two facts that can be set: all that are named, or none.
    pub(super) async fn mff(&mut self, argument: &[u8]) -> Answer {
        const FORM: &str = "MFF takes modify=YYYYMMDDhhmmss; or UNIX.mode=644; or both, and a path";
        let form = || Reply::new(501, FORM);
        let end = argument.windows(2).position(|two| two == b"; ").ok_or_else(form)?;
        let (facts, name) = argument.split_at(end);
        let facts = std::str::from_utf8(facts).map_err(|_| form())?;
        let (mut modified, mut mode) = (None, None);
        for fact in facts.split(';') {
            let (fact, value) = fact.split_once('=').ok_or_else(form)?;
            if fact.eq_ignore_ascii_case("modify") {
                modified = Some(time::parse(value).ok_or_else(form)?);
            } else if fact.eq_ignore_ascii_case("UNIX.mode") {
                mode = Some(parse_mode(value.as_bytes()).ok_or_else(form)?);
            } else {
                return Err(Reply::new(504, FORM));
            }
        }
        let path = self.path(name.get(2..).unwrap_or_default())?;
        let files = self.files()?;
        let mut told = Vec::new();
        // First what is refused more often; and the time is not changed by it.
        if let Some(mode) = mode {
            let given = files.set_mode(&path, mode).await?;
            told.push(format!("UNIX.mode={given:04o};"));
        }
        if let Some(modified) = modified {
            files.set_modified(&path, modified).await?;
            told.insert(0, format!("modify={};", time::format(modified)));
        }
        Ok(Reply::new(213, format!("{} {path}", told.concat())))
    }

    /// draft-peterson-streamlined-ftp-command-extensions: room is the user's, wherever it is asked for, but the
    /// directory must be one.
    pub(super) async fn avbl(&mut self, name: &[u8]) -> Answer {
        let files = self.files()?;
        if !name.is_empty() {
            files.enter(&self.path(name)?).await?;
        }
        let space = files.space().await?;
        Ok(Reply::new(213, space.free_bytes.to_string()))
    }

    pub(super) async fn mlst(&mut self, name: &[u8]) -> Answer {
        let files = self.files()?;
        let path = if name.is_empty() { self.state.directory.clone() } else { self.path(name)? };
        let stat = files.stat(&path).await?;
        let (facts, may) = (self.state.facts, permissions(&files));
        let facts = if path.is_root() { facts.line_of_top(&stat, may) } else { facts.line(&stat, may) };
        let line = format!("{facts} {path}");
        Ok(Reply::lines(250, "Facts:", vec![line], "End"))
    }

    pub(super) async fn site(&mut self, argument: &[u8]) -> Answer {
        let end = argument.iter().position(|byte| *byte == b' ').unwrap_or(argument.len());
        let (word, rest) = argument.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        match word.to_ascii_uppercase().as_slice() {
            b"HELP" => Ok(Self::site_help(rest)),
            b"CHMOD" => self.chmod(rest).await,
            b"UTIME" => self.utime(rest).await,
            _ => Err(Reply::new(504, "SITE HELP lists what there is")),
        }
    }

    async fn chmod(&mut self, argument: &[u8]) -> Answer {
        let parsed = split_word(argument).and_then(|(mode, name)| Some((parse_mode(mode)?, name)));
        let (mode, name) = parsed.ok_or_else(|| Reply::new(501, "SITE CHMOD takes a mode up to 777 and a path"))?;
        let path = self.path(name)?;
        let given = self.files()?.set_mode(&path, mode).await?;
        Ok(Reply::new(200, format!("Mode {given:03o}")))
    }

    /// Two forms are in use: `time path`, and `path atime mtime ctime UTC`.
    async fn utime(&mut self, argument: &[u8]) -> Answer {
        let parsed = split_utime(argument).or_else(|| split_time(argument)).or_else(|| split_minute(argument));
        let (modified, name) = parsed.ok_or_else(|| {
            Reply::new(501, "SITE UTIME takes YYYYMMDDhhmm[ss] and a path, or a path and three times and UTC")
        })?;
        let path = self.path(name)?;
        self.files()?.set_modified(&path, modified).await?;
        Ok(Reply::new(200, format!("Modify={}", time::format(modified))))
    }
}

fn cleared_reply(cleared: &Cleared) -> Reply {
    let Cleared { files, directories, left } = cleared;
    let counts = format!("{files} files and {directories} directories");
    match left {
        Left::Nothing => Reply::new(250, format!("Removed, with {counts} in all")),
        Left::Something => Reply::new(550, format!("{counts} are removed; the rest could not be")),
        Left::BeyondLimit => Reply::new(450, format!("{counts} are removed, and more are left; send RMDA again")),
        Left::Stopped => Reply::new(426, format!("{counts} were removed before the stop")),
    }
}

/// What the user's own grant says; who is to use another name for each file may not overwrite either.
pub(super) fn permissions(files: &crate::delivery::Session) -> Permissions {
    let grant = &files.user().effective;
    let mut may = grant.permissions.unwrap_or_default();
    may.overwrite &= grant.overwrite.unwrap_or_default() != Overwrite::Reject;
    may
}

/// The directory that a name stands in, and the name.
pub(super) fn split_path(path: &VirtualPath) -> Option<(VirtualPath, &str)> {
    Some((path.parent()?, path.file_name()?))
}

fn split_word(argument: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = argument.iter().position(|byte| *byte == b' ')?;
    let (word, rest) = argument.split_at(end);
    rest.get(1..).filter(|rest| !rest.is_empty()).map(|rest| (word, rest))
}

/// `YYYYMMDDhhmmss path`.
fn split_time(argument: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (word, name) = split_word(argument)?;
    Some((time::parse(std::str::from_utf8(word).ok()?)?, name))
}

/// `YYYYMMDDhhmm path`.
fn split_minute(argument: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (word, name) = split_word(argument)?;
    let minute = std::str::from_utf8(word).ok().filter(|word| word.len() == 12)?;
    Some((time::parse(&format!("{minute}00"))?, name))
}

/// Octal digits, nothing above the nine permission bits.
fn parse_mode(digits: &[u8]) -> Option<u32> {
    let octal = (1..=4).contains(&digits.len()) && digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
    let mode = u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| octal)?, 8).ok()?;
    (mode <= 0o777).then_some(mode)
}

/// `path atime mtime ctime UTC`.
fn split_utime(argument: &[u8]) -> Option<(SystemTime, &[u8])> {
    let mut words = argument.rsplitn(5, |byte| *byte == b' ');
    let (zone, _changed, modified, _accessed) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let name = words.next()?;
    let modified = time::parse(std::str::from_utf8(modified).ok()?)?;
    zone.eq_ignore_ascii_case(b"UTC").then_some((modified, name))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn both_forms_of_utime() {
        let wanted = time::parse("20240229123456").unwrap();
        assert_eq!(split_time(b"20240229123456 a b.jpg"), Some((wanted, b"a b.jpg".as_slice())));
        assert_eq!(
            split_utime(b"a b.jpg 20200101000000 20240229123456 20200101000000 UTC"),
            Some((wanted, b"a b.jpg".as_slice()))
        );
        assert_eq!(split_utime(b"a.jpg 20240229123456"), None);
        assert_eq!(split_time(b"20240229123456 "), None);
        assert_eq!(
            split_minute(b"202402291234 a b.jpg"),
            Some((wanted - Duration::from_secs(56), b"a b.jpg".as_slice()))
        );
    }

    #[test]
    fn modes() {
        for (text, mode) in [("644", Some(0o644)), ("0600", Some(0o600)), ("7", Some(7))] {
            assert_eq!(parse_mode(text.as_bytes()), mode, "{text}");
        }
        for text in ["", "+644", "4755", "01000", "888", "00644", "u+w"] {
            assert_eq!(parse_mode(text.as_bytes()), None, "{text}");
        }
    }
}

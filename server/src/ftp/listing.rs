//! LIST, NLST, MLSD, STAT with a path: names of a directory, streamed, so that a million of them cost no memory.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use landfall_auth::Permissions;
use landfall_storage::{Entry, VirtualPath};

use super::course::Course;
use super::data::Terms;
use super::download::{Outcome, Stop, over};
use super::facts::Chosen;
use super::files::{permissions, split_path};
use super::ls::{self, Glob, Wanted};
use super::reply::Reply;
use super::session::{End, Session};
use super::transfer::Job;
use crate::delivery::{Activity, Listing, Reason};

/// Written when so much has come together.
const CHUNK_BYTES: usize = 32 * 1_024;
/// Or when so much time has gone by.
const CHUNK_WAIT: Duration = Duration::from_millis(200);
/// STAT answers on the control connection, where a reply must end some time.
const MAX_STAT_LINES: usize = 1_000;

/// How a name is written.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// LIST.
    Long { owner: String, now: SystemTime },
    /// NLST: fit to be sent back as they are (RFC 1123 section 4.1.2.7), so led by the directory as the client named it.
    Bare { prefix: String },
    /// MLSD.
    Facts { chosen: Chosen, may: Permissions },
}

impl Form {
    fn write(&self, out: &mut Vec<u8>, entry: &Entry) {
        match self {
            Self::Long { owner, now } => ls::long(out, &entry.name, &entry.stat, owner, *now),
            Self::Bare { prefix } => {
                for part in [prefix.as_str(), entry.name.as_str(), "\r\n"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
            Self::Facts { chosen, may } => {
                for part in [chosen.line(&entry.stat, *may).as_str(), " ", entry.name.as_str(), "\r\n"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
        }
    }
}

/// A listing about to run.
pub(super) struct Names {
    entries: Listing,
    glob: Option<Glob>,
    form: Form,
    activity: Arc<Activity>,
}

impl Names {
    /// Runs it to its end. Blocks.
    pub(super) fn run(self, socket: TcpStream, terms: &Terms, course: &Course, done: impl FnOnce(Outcome)) {
        let Self { entries, glob, form, activity } = self;
        over(socket, terms, course, done, |data| {
            let mut out = Vec::with_capacity(CHUNK_BYTES + 4_096);
            let mut written = Instant::now();
            let mut write = |out: &mut Vec<u8>| -> Result<(), Stop> {
                data.write_all(out)?;
                course.add(out.len());
                activity.sent(out.len() as u64);
                out.clear();
                Ok(())
            };
            for entry in entries {
                let entry = entry?;
                if shown(&entry, glob.as_ref()) {
                    form.write(&mut out, &entry);
                }
                if out.len() >= CHUNK_BYTES || (!out.is_empty() && written.elapsed() >= CHUNK_WAIT) {
                    write(&mut out)?;
                    written = Instant::now();
                }
            }
            write(&mut out)
        });
    }
}

fn shown(entry: &Entry, glob: Option<&Glob>) -> bool {
    ls::showable(&entry.name) && glob.is_none_or(|glob| glob.matches(&entry.name))
}

/// What a client asks to be listed, found.
struct Found {
    entries: Listing,
    glob: Option<Glob>,
    /// The directory as the client named it, with a slash; empty for the current one and for a single file.
    prefix: String,
}

impl Session {
    pub(super) async fn list(&mut self, argument: &[u8]) -> Result<(), End> {
        let form = self.long_form();
        self.send_names("LIST", self.find(Wanted::parse(argument).path).await, |_| form).await
    }

    pub(super) async fn nlst(&mut self, argument: &[u8]) -> Result<(), End> {
        let found = self.find(Wanted::parse(argument).path).await;
        self.send_names("NLST", found, |found| Form::Bare { prefix: found.prefix.clone() }).await
    }

    /// RFC 3659 section 7: a directory and nothing else, and no patterns.
    pub(super) async fn mlsd(&mut self, name: &[u8]) -> Result<(), End> {
        let found = async {
            let files = self.files()?;
            let path = if name.is_empty() { self.state.directory.clone() } else { self.path(name)? };
            let entries = files.list(&path).await.map_err(|refusal| match refusal.reason {
                Reason::WrongKind => Reply::new(501, "not a directory; MLST tells about one file"),
                _ => refusal.into(),
            })?;
            Ok(Found { entries, glob: None, prefix: String::new() })
        }
        .await;
        let chosen = self.state.facts;
        let may = self.files.as_ref().map(permissions).unwrap_or_default();
        self.send_names("MLSD", found, |_| Form::Facts { chosen, may }).await
    }

    async fn send_names(
        &mut self,
        verb: &'static str,
        found: Result<Found, Reply>,
        form: impl FnOnce(&Found) -> Form,
    ) -> Result<(), End> {
        (self.state.restart, self.state.range) = (0, None);
        let started = found.and_then(|found| {
            let activity = self.files()?.activity().clone();
            let form = form(&found);
            Ok((self.prepare()?, Names { entries: found.entries, glob: found.glob, form, activity }))
        });
        match started {
            Ok((prepared, names)) => {
                self.transfer(prepared, verb.to_owned(), Reply::new(150, "The list comes"), Job::List(names)).await
            }
            Err(reply) => self.say(&reply).await,
        }
    }

    fn long_form(&self) -> Form {
        let owner = self.files.as_ref().map(|files| files.user().name.clone()).unwrap_or_default();
        Form::Long { owner, now: crate::clock::now() }
    }

    /// A directory's names, those that match a pattern in the last part of the path, or one file.
    async fn find(&self, name: Option<&[u8]>) -> Result<Found, Reply> {
        let files = self.files()?;
        let Some(name) = name else {
            let entries = files.list(&self.state.directory).await?;
            return Ok(Found { entries, glob: None, prefix: String::new() });
        };
        let path = self.path(name)?;
        let said = String::from_utf8_lossy(name);
        let parent_said = said.rfind('/').map_or("", |slash| &said[..=slash]);
        if let Some((directory, last)) = split_path(&path)
            && let Some(glob) = Glob::parse(last)
        {
            let entries = files.list(&directory).await?;
            return Ok(Found { entries, glob: Some(glob), prefix: parent_said.to_owned() });
        }
        match files.list(&path).await {
            Ok(entries) => {
                let slash = if said.ends_with('/') { "" } else { "/" };
                Ok(Found { entries, glob: None, prefix: format!("{said}{slash}") })
            }
            Err(refusal) if matches!(refusal.reason, Reason::WrongKind | Reason::NotFound) => {
                // A file, perhaps one's own that is suspended.
                let entry = Entry { name: last_of(&path), stat: files.stat(&path).await? };
                Ok(Found { entries: Box::new(std::iter::once(Ok(entry))), glob: None, prefix: parent_said.to_owned() })
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// STAT: of the session, or a listing on the control connection (RFC 959 section 4.1.3).
    pub(super) async fn stat(&mut self, argument: &[u8]) -> Result<Reply, Reply> {
        let Some(name) = Wanted::parse(argument).path else {
            return Ok(if argument.is_empty() { self.status() } else { self.stat_names(None).await? });
        };
        self.stat_names(Some(name)).await
    }

    async fn stat_names(&self, name: Option<&[u8]>) -> Result<Reply, Reply> {
        let Found { entries, glob, .. } = self.find(name).await?;
        let form = self.long_form();
        let lines = tokio::task::spawn_blocking(move || {
            let shown = entries.filter(|entry| entry.as_ref().map_or(true, |entry| shown(entry, glob.as_ref())));
            let line = |entry: Entry| {
                let mut line = Vec::new();
                form.write(&mut line, &entry);
                String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
            };
            shown.take(MAX_STAT_LINES).map(|entry| entry.map(line)).collect::<Result<Vec<String>, _>>()
        });
        let lines = lines.await.map_err(|_| Reply::new(451, "the listing failed; try again later"))??;
        Ok(Reply::lines(213, "The names:", lines, "End"))
    }
}

fn last_of(path: &VirtualPath) -> String {
    path.file_name().unwrap_or("/").to_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::UNIX_EPOCH;

    use landfall_storage::{Kind, Stat};

    use super::*;

    #[test]
    fn one_name_in_each_form() {
        let stat = Stat { kind: Kind::File, size: 5, modified: UNIX_EPOCH, mode: 0o644, inode: 1 };
        let entry = Entry { name: "a b.jpg".to_owned(), stat };
        let written = |form: Form| {
            let mut out = Vec::new();
            form.write(&mut out, &entry);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(Form::Bare { prefix: "in/".to_owned() }), "in/a b.jpg\r\n");
        let chosen = Chosen::parse("size");
        assert_eq!(written(Form::Facts { chosen, may: Permissions::default() }), "size=5; a b.jpg\r\n");
        let long = written(Form::Long { owner: "acme".to_owned(), now: UNIX_EPOCH });
        assert!(long.starts_with("-rw-r--r-- ") && long.ends_with(" Jan  1 00:00 a b.jpg\r\n"), "{long}");
    }

    #[test]
    fn a_name_that_would_forge_lines_is_left_out() {
        let stat = Stat { kind: Kind::File, size: 5, modified: UNIX_EPOCH, mode: 0o644, inode: 1 };
        assert!(!shown(&Entry { name: "a\r\n-rw".to_owned(), stat: stat.clone() }, None));
        assert!(shown(&Entry { name: "a".to_owned(), stat }, None));
    }
}

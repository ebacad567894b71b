//! LIST, NLST, MLSD, STAT with a path: what a client asks for, and its names on their way out, streamed, so that a
//! million of them cost no memory. The walk itself is `walk.rs`, the lines are `ls.rs` and `facts.rs`.

use std::cell::Cell;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use landfall_auth::Permissions;
use landfall_storage::{Entry, VirtualPath};

use super::course::Course;
use super::data::Terms;
use super::download::{self, Stop, over};
use super::facts::Chosen;
use super::files::{permissions, split_path};
use super::ls::{self, Glob, Wanted};
use super::reply::Reply;
use super::session::{End, Session};
use super::transfer::Job;
use super::walk::{Item, Order, Remark, Walk};
use crate::delivery::{Activity, Reason, Refusal};

/// Written when so much has come together.
const CHUNK_BYTES: usize = 32 * 1_024;
/// Or when so much time has gone by.
const CHUNK_WAIT: Duration = Duration::from_millis(200);
/// STAT answers on the control connection, where a reply must end some time.
const MAX_STAT_LINES: usize = 1_000;
/// And begin some time: names looked at for a pattern.
const MAX_STAT_NAMES: usize = 100_000;

/// How a name is written.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// LIST; the prefix is for the headings of `-R`.
    Long { owner: String, now: SystemTime, prefix: String },
    /// NLST: fit to be sent back as they are (RFC 1123 section 4.1.2.7), so led by the directory as the client named it.
    Bare { prefix: String },
    /// MLSD.
    Facts { chosen: Chosen, may: Permissions },
}

impl Form {
    /// One name; `below` is the way to it from the directory asked for, empty for what stands in that.
    fn write(&self, out: &mut Vec<u8>, below: &str, entry: &Entry) {
        match self {
            Self::Long { owner, now, .. } => ls::long(out, &entry.name, &entry.stat, owner, *now),
            Self::Bare { .. } => self.write_bare(out, below, &entry.name),
            Self::Facts { chosen, may } => {
                chosen.write(out, &entry.stat, *may);
                for part in [" ", &entry.name, "\r\n"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
        }
    }

    /// A name of which nothing else is known: all that NLST needs.
    fn write_bare(&self, out: &mut Vec<u8>, below: &str, name: &str) {
        if let Self::Bare { prefix } = self {
            for part in [prefix, below, name, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }

    /// The line above a further directory's names, as `ls -R` has it. NLST's names say it themselves.
    fn write_heading(&self, out: &mut Vec<u8>, below: &str) {
        if let Self::Long { prefix, .. } = self {
            let top = if prefix.is_empty() { "./" } else { prefix };
            for part in ["\r\n", top, below.trim_end_matches('/'), ":\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

/// A listing about to run.
pub(super) struct Names {
    walk: Walk,
    form: Form,
    activity: Arc<Activity>,
}

impl Names {
    /// Runs it to its end. Blocks. `done` also hears what is to be said of the listing as a whole.
    pub(super) fn run(
        self,
        socket: TcpStream,
        terms: &Terms,
        course: &Course,
        done: impl FnOnce(download::Outcome, Option<Remark>),
    ) {
        let Self { mut walk, form, activity } = self;
        let remark = Cell::new(None);
        over(
            socket,
            terms,
            course,
            |outcome| done(outcome, remark.get()),
            |data| {
                let mut out = Vec::with_capacity(CHUNK_BYTES + 4_096);
                let mut written = Instant::now();
                while let Some(item) = walk.next() {
                    // A directory in which no name matches writes nothing, and would never notice.
                    if course.is_cancelled() {
                        break;
                    }
                    match item? {
                        Item::Directory => form.write_heading(&mut out, walk.below()),
                        Item::Entry(entry) => form.write(&mut out, walk.below(), &entry),
                        Item::Name(name) => form.write_bare(&mut out, walk.below(), &name),
                        Item::Hidden => {}
                    }
                    if out.len() >= CHUNK_BYTES || (!out.is_empty() && written.elapsed() >= CHUNK_WAIT) {
                        data.write_all(&out)?;
                        course.add(out.len());
                        activity.sent(out.len() as u64);
                        out.clear();
                        written = Instant::now();
                    }
                }
                remark.set(walk.remark());
                data.write_all(&out)?;
                course.add(out.len());
                activity.sent(out.len() as u64);
                Ok::<(), Stop>(())
            },
        );
    }
}

/// What a client asks to be listed, found.
struct Found {
    walk: Walk,
    /// The directory as the client named it, with a slash; empty for the current one and for a single file.
    prefix: String,
    /// STAT's code (RFC 959 section 4.2): 212 for a directory, 213 for a file.
    code: u16,
}

/// What the form of a listing tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    Facts,
    Names,
}

impl Session {
    pub(super) async fn list(&mut self, argument: &[u8]) -> Result<(), End> {
        let found = self.find(&Wanted::parse(argument), Telling::Facts).await;
        let form = self.long_form();
        self.send_names("LIST", found, form).await
    }

    pub(super) async fn nlst(&mut self, argument: &[u8]) -> Result<(), End> {
        let found = self.find(&Wanted::parse(argument), Telling::Names).await;
        self.send_names("NLST", found, |prefix| Form::Bare { prefix }).await
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
            Ok(Found { walk: Walk::new(entries, None, Order::Storage), prefix: String::new(), code: 212 })
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
        form: impl FnOnce(String) -> Form,
    ) -> Result<(), End> {
        (self.state.restart, self.state.range) = (0, None);
        let started = found.and_then(|Found { walk, prefix, .. }| {
            let activity = self.files()?.activity().clone();
            Ok((self.prepare()?, Names { walk, form: form(prefix), activity }))
        });
        match started {
            Ok((prepared, names)) => {
                self.transfer(prepared, verb.to_owned(), Reply::new(150, "The list comes"), Job::List(names)).await
            }
            Err(reply) => self.say(&reply).await,
        }
    }

    fn long_form(&self) -> impl FnOnce(String) -> Form + use<> {
        let owner = self.files.as_ref().map(|files| files.user().name.clone()).unwrap_or_default();
        move |prefix| Form::Long { owner, now: crate::clock::now(), prefix }
    }

    /// A directory's names, those that match a pattern in the last part of the path, or one file.
    async fn find(&self, wanted: &Wanted<'_>, telling: Telling) -> Result<Found, Reply> {
        let files = self.files()?;
        let (order, below) = (Order::of(wanted), wanted.recursive);
        let walk = async |glob, top: &VirtualPath| {
            Ok::<_, Refusal>(if telling == Telling::Names && order == Order::Storage && !below {
                Walk::names(files.names(top).await?, glob)
            } else {
                let walk = Walk::new(files.list(top).await?, glob, order);
                if below { walk.recursive(files.clone(), top.clone()) } else { walk }
            })
        };
        let directory = |walk, prefix: &str| Found { walk, prefix: prefix.to_owned(), code: 212 };
        let Some(name) = wanted.path else {
            return Ok(directory(walk(None, &self.state.directory).await?, ""));
        };
        let path = self.path(name)?;
        let said = String::from_utf8_lossy(name);
        let parent_said = said.rfind('/').map_or("", |slash| &said[..=slash]);
        let refusal = match walk(None, &path).await {
            Ok(walk) => {
                let slash = if said.ends_with('/') { "" } else { "/" };
                return Ok(directory(walk, &format!("{said}{slash}")));
            }
            Err(refusal) if matches!(refusal.reason, Reason::WrongKind | Reason::NotFound) => refusal,
            Err(refusal) => return Err(refusal.into()),
        };
        // A file, perhaps one's own that is suspended. One whose name looks like a pattern goes before the pattern.
        if let Ok(stat) = files.stat(&path).await {
            let entry = Entry { name: path.file_name().unwrap_or("/").to_owned(), stat };
            let walk = Walk::new(Box::new(std::iter::once(Ok(entry))), None, Order::Storage);
            return Ok(Found { walk, prefix: parent_said.to_owned(), code: 213 });
        }
        if let Some((top, last)) = split_path(&path)
            && let Some(glob) = Glob::parse(last)
        {
            return Ok(directory(walk(Some(glob), &top).await?, parent_said));
        }
        Err(refusal.into())
    }

    /// STAT: of the session, or a listing on the control connection (RFC 959 section 4.1.3).
    pub(super) async fn stat(&mut self, argument: &[u8]) -> Result<(), End> {
        if argument.is_empty() {
            return self.say(&self.status()).await;
        }
        // The reply is made whole before it is sent, so it does not go through trees.
        let wanted = Wanted { recursive: false, ..Wanted::parse(argument) };
        let Found { walk, code, prefix } = match self.find(&wanted, Telling::Facts).await {
            Ok(found) => found,
            Err(reply) => return self.say(&reply).await,
        };
        let form = self.long_form()(prefix);
        let doing = format!("STAT {}", String::from_utf8_lossy(argument));
        self.work(&doing, "", |course| async move {
            let told = tokio::task::spawn_blocking(move || told(walk, &form, &course));
            match told.await {
                Ok(Ok((lines, _))) if lines.is_empty() => Reply::new(code, "No names"),
                Ok(Ok((lines, last))) => Reply::lines(code, "The names:", lines, last),
                Ok(Err(reply)) => reply,
                Err(_) => Reply::new(451, "the listing failed; try again later"),
            }
        })
        .await
    }
}

/// The lines of a STAT, and what it ends with.
fn told(mut walk: Walk, form: &Form, course: &Course) -> Result<(Vec<String>, &'static str), Reply> {
    let mut lines = Vec::new();
    let mut looked = 0;
    for item in walk.by_ref() {
        if course.is_cancelled() {
            return Err(Reply::new(426, "Stopped"));
        }
        looked += 1;
        let Item::Entry(entry) = item? else { continue };
        if lines.len() == MAX_STAT_LINES || looked > MAX_STAT_NAMES {
            return Ok((lines, "These are not all; LIST tells all"));
        }
        let mut line = Vec::with_capacity(128);
        form.write(&mut line, "", &entry);
        lines.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
    }
    let last = match walk.remark() {
        Some(Remark::TooCostly) => "These may not be all; use a simpler pattern",
        Some(Remark::Unsorted | Remark::TooMany) | None => "End",
    };
    Ok((lines, last))
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
        let written = |form: Form, below: &str| {
            let mut out = Vec::new();
            form.write_heading(&mut out, below);
            form.write(&mut out, below, &entry);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(Form::Bare { prefix: "in/".to_owned() }, "x/y/"), "in/x/y/a b.jpg\r\n");
        let chosen = Chosen::parse("size");
        assert_eq!(written(Form::Facts { chosen, may: Permissions::default() }, ""), "size=5; a b.jpg\r\n");
        for (prefix, heading) in [("", "\r\n./x/y:\r\n-rw-r--r-- "), ("/in/", "\r\n/in/x/y:\r\n-rw-r--r-- ")] {
            let long = Form::Long { owner: "acme".to_owned(), now: UNIX_EPOCH, prefix: prefix.to_owned() };
            let long = written(long, "x/y/");
            assert!(long.starts_with(heading) && long.ends_with(" Jan  1 00:00 a b.jpg\r\n"), "{long}");
        }
    }
}

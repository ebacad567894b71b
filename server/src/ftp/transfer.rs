//! A transfer seen from the control connection: it begins, is asked about, is stopped, may land, and gets its reply.
//! The bytes move on a thread of their own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::TcpStream;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use landfall_storage::{Begin, Kind, VirtualPath};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Engine;
use super::attend::Overheard;
use super::course::{Course, StopOnDrop};
use super::data::Terms;
use super::download::{self, Outgoing};
use super::facts;
use super::listing::Names;
use super::outcome::Outcome;
use super::passive::{self, Way};
use super::reply::{Reply, file_refused};
use super::session::{End, Session};
use super::upload::{Incoming, Question, Suspension};
use crate::delivery::{self, Reason, Refusal, Upload};

/// How long a data connection that stands already may take to be noticed, after the transfer was stopped.
const LATE_CONNECTION_WAIT: Duration = Duration::from_millis(10);
/// Names tried for STOU.
const MAX_UNIQUE_NAMES: u32 = 8;

/// What is to be moved.
pub(super) enum Job {
    Receive(Incoming),
    Send(Outgoing),
    List(Names),
}

/// Of all transfers, one user may run this share: nobody keeps the others out.
const SHARE_OF_ONE_USER: u32 = 4;

/// Transfers under way, in all and by user.
#[derive(Default)]
pub(super) struct Running {
    total: u32,
    users: HashMap<String, u32>,
}

/// A place among the transfers of all sessions.
pub(super) struct Place {
    engine: Arc<Engine>,
    user: String,
}

impl Place {
    fn take(engine: &Arc<Engine>, user: String) -> Option<Self> {
        let most = engine.limits.transfers;
        let mut running = engine.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        let own = running.users.get(&user).copied().unwrap_or(0);
        if running.total >= most || own >= most.div_ceil(SHARE_OF_ONE_USER) {
            return None;
        }
        running.total += 1;
        running.users.insert(user.clone(), own + 1);
        Some(Self { engine: engine.clone(), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.engine.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.total = running.total.saturating_sub(1);
        if let Some(own) = running.users.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                running.users.remove(&self.user);
            }
        }
    }
}

/// All that a transfer needs beside its job.
pub(super) struct Prepared {
    way: Way,
    terms: Terms,
    place: Place,
    /// How much is to come or to go, where that is known.
    pub(super) total_bytes: Option<u64>,
    question: Option<oneshot::Receiver<Question>>,
}

impl Session {
    pub(super) async fn retr(&mut self, name: &[u8]) -> Result<(), End> {
        let range = self.state.range.take();
        let offset = std::mem::take(&mut self.state.restart);
        let started = async {
            let path = self.path(name)?;
            let files = self.files()?;
            self.offset_fits(offset)?;
            if range.is_some() && self.state.ascii {
                return Err(Reply::new(551, "RANG needs TYPE I"));
            }
            let file = match files.download(&path).await {
                Ok(file) => file,
                Err(refusal) => return Err(not_to_be_read(&files, &path, refusal).await),
            };
            let size = file.size();
            if offset > size {
                return Err(Reply::new(554, format!("offset {offset} is beyond the {size} bytes of the file")));
            }
            // draft-bryan-ftp-range section 4.3: of what lies beyond the end, nothing is sent.
            let (offset, end) =
                range.map_or((offset, size), |(start, last)| (start.min(size), last.saturating_add(1).min(size)));
            let opening = Reply::new(150, format!("{} bytes come", end - offset));
            let activity = files.activity().clone();
            let pace = files.outgoing_pace().clone();
            let job = Job::Send(Outgoing { file, offset, end, ascii: self.state.ascii, activity, pace });
            let mut prepared = self.prepare()?;
            prepared.total_bytes = Some(end - offset);
            Ok((prepared, format!("RETR {path}"), opening, job))
        };
        match started.await {
            Ok((prepared, doing, opening, job)) => self.transfer(prepared, doing, opening, job).await,
            Err(reply) => self.say(&reply).await,
        }
    }

    pub(super) async fn stor(&mut self, name: &[u8]) -> Result<(), End> {
        let begin = match std::mem::take(&mut self.state.restart) {
            0 => Begin::Fresh,
            offset => Begin::Resume { offset },
        };
        self.receive("STOR", name, begin, Reply::new(150, "Send the file")).await
    }

    pub(super) async fn appe(&mut self, name: &[u8]) -> Result<(), End> {
        if let Err(reply) = self.no_restart() {
            return self.say(&reply).await;
        }
        self.receive("APPE", name, Begin::Append, Reply::new(150, "Send the rest")).await
    }

    /// The name stands in the 150 as RFC 1123 section 4.1.2.9 wants it, so that it can be said again.
    pub(super) async fn stou(&mut self, name: &[u8]) -> Result<(), End> {
        if let Err(reply) = self.no_restart() {
            return self.say(&reply).await;
        }
        match self.unique(name).await {
            Ok(unique) => {
                let opening = Reply::new(150, format!("FILE: {unique}"));
                self.receive("STOU", unique.as_bytes(), Begin::Fresh, opening).await
            }
            Err(reply) => self.say(&reply).await,
        }
    }

    /// A name that nothing has: the one asked for with a number that nobody else draws.
    async fn unique(&self, name: &[u8]) -> Result<String, Reply> {
        let files = self.files()?;
        let wanted = if name.is_empty() { b"upload".as_slice() } else { name };
        self.new_file_path(wanted)?;
        let wanted = std::str::from_utf8(wanted).map_err(|_| Reply::from(landfall_storage::PathError::NotUtf8))?;
        let (stem, extension) = match wanted.rfind('.') {
            Some(dot) if dot > 0 => wanted.split_at(dot),
            _ => (wanted, ""),
        };
        for _ in 0..MAX_UNIQUE_NAMES {
            let mut random = [0; 8];
            aws_lc_rs::rand::fill(&mut random).map_err(|_| Reply::new(451, "no unique name was found"))?;
            let candidate = format!("{stem}-{:016x}{extension}", u64::from_ne_bytes(random));
            if files.stat(&self.new_path(candidate.as_bytes())?).await.is_err() {
                return Ok(candidate);
            }
        }
        Err(Reply::new(450, "no unique name was found; try again"))
    }

    async fn receive(&mut self, verb: &str, name: &[u8], begin: Begin, opening: Reply) -> Result<(), End> {
        let announced_bytes = self.state.announced_bytes.take();
        if self.state.range.take().is_some() {
            // A part that is cut off within a file could not be told from the whole: nothing would land whole or not at all.
            return self.say(&Reply::new(504, "RANG is for RETR and HASH; REST tells where an upload goes on")).await;
        }
        let doing = |path: &VirtualPath| format!("{verb} {path}");
        let started = async {
            let path = self.new_file_path(name)?;
            if let Begin::Resume { offset } = begin {
                self.offset_fits(offset)?;
            }
            // Beginning afresh gives up what is suspended: only when a data connection can follow.
            Ok((self.prepare()?, self.files()?, path))
        };
        let (mut prepared, files, path) = match started.await {
            Ok(started) => started,
            Err(reply) => return self.say(&reply).await,
        };
        let ascii = self.state.ascii;
        // Only here the size announced is sure to be the whole file's.
        let expected = announced_bytes.filter(|_| begin == Begin::Fresh && !ascii);
        let Some(outcome) = self.begun(&files, &path, begin, expected, &doing(&path)).await? else { return Ok(()) };
        let upload = match outcome {
            Ok(upload) => upload,
            Err(refusal) => {
                return self.say(&file_refused(path.file_name().unwrap_or_default(), &refusal)).await;
            }
        };
        let (question, asked) = oneshot::channel();
        prepared.question = Some(asked);
        prepared.total_bytes = announced_bytes;
        let job = Job::Receive(Incoming { upload, ascii, announced_bytes, question });
        self.transfer(prepared, doing(&path), opening, job).await
    }

    /// Begins an upload. What may have to copy a landed file first takes its time, and is attended meanwhile; `None` where
    /// it was stopped, which is told then.
    async fn begun(
        &mut self,
        files: &delivery::Session,
        path: &VirtualPath,
        begin: Begin,
        expected_bytes: Option<u64>,
        doing: &str,
    ) -> Result<Option<Result<Upload, Refusal>>, End> {
        if begin == Begin::Fresh {
            return Ok(Some(files.upload(path, begin, expected_bytes).await));
        }
        let mut heard = Overheard::before("bytes of the landed file are copied");
        let (own, path) = (files.clone(), path.clone());
        let (outcome, stopped) = self
            .attended(doing, &mut heard, |course| async move {
                begin_upload(&own, &path, begin, expected_bytes, &course).await
            })
            .await?;
        if stopped {
            drop(outcome);
            files.doing("idle");
            let reply = Reply::new(426, "Stopped before it began; nothing was changed");
            return self.conclude(Some(Outcome::Answered(reply)), heard).await.map(|()| None);
        }
        let failed = || Refusal::new(Reason::Internal, "the server failed; nothing was changed; try again later");
        Ok(Some(outcome.unwrap_or_else(|| Err(failed()))))
    }

    /// APPE and STOU know themselves where they begin. Who says REST before them means to send the rest of something,
    /// and it would end up in the wrong place.
    fn no_restart(&mut self) -> Result<(), Reply> {
        match std::mem::take(&mut self.state.restart) {
            0 => Ok(()),
            _ => Err(Reply::new(503, "REST goes with RETR and STOR only; nothing was changed")),
        }
    }

    fn offset_fits(&self, offset: u64) -> Result<(), Reply> {
        if offset > 0 && self.state.ascii {
            return Err(Reply::new(501, "REST needs TYPE I"));
        }
        Ok(())
    }

    /// Takes what PASV and its like have prepared, if policy lets it be used.
    pub(super) fn prepare(&mut self) -> Result<Prepared, Reply> {
        let terms = self.data_terms()?;
        let way = self.state.way.take().ok_or_else(|| Reply::new(425, "Use EPSV or PASV first"))?;
        self.state.way_until = None;
        Ok(Prepared { way, terms, place: self.place()?, total_bytes: None, question: None })
    }

    /// A place for this user among all transfers.
    pub(super) fn place(&self) -> Result<Place, Reply> {
        let user = self.files.as_ref().map(|files| files.user().name.clone()).unwrap_or_default();
        Place::take(&self.engine, user)
            .ok_or_else(|| Reply::new(450, "Too many transfers run at this moment; try again in a while"))
    }

    /// Runs a transfer, and listens to the control connection all the while.
    pub(super) async fn transfer(
        &mut self,
        prepared: Prepared,
        doing: String,
        opening: Reply,
        job: Job,
    ) -> Result<(), End> {
        let Prepared { way, terms, place, total_bytes, question } = prepared;
        let Some(files) = self.files.clone() else { return Ok(()) };
        files.doing(&doing);
        let course = Arc::new(Course::new(doing, total_bytes));
        let _stop = StopOnDrop(course.clone());
        let (done, outcome) = oneshot::channel();
        let within = Duration::from_secs(self.engine.limits.data_connect_seconds.max(1));
        let (engine, own) = (self.engine.clone(), self.own);
        let connecting = async move { passive::connect(way, own, within, &engine.shared.ports).await };
        let mut running = Box::pin(run(self.engine.clone(), connecting, terms, job, course.clone(), done, place));
        // Many have connected before they say STOR: then the thread can begin at once. Otherwise the wait is on a task of
        // its own: whatever becomes of this one, the job is ended on a thread that may block.
        if !poll_fn(|context| Poll::Ready(running.as_mut().poll(context).is_ready())).await {
            tokio::spawn(running);
        }
        self.say(&opening).await?;

        let mut heard = Overheard::answered("bytes so far");
        let outcome = self.attend(&course, outcome, question, &mut heard, &files).await?;
        files.doing("idle");
        self.conclude(outcome, heard).await
    }
}

/// Why there is nothing to download: what the owner sees of a suspended upload cannot be read before it has landed.
pub(super) async fn not_to_be_read(files: &delivery::Session, path: &VirtualPath, refusal: Refusal) -> Reply {
    if refusal.reason == Reason::NotFound
        && let Ok(stat) = files.stat(path).await
        && stat.kind == Kind::File
    {
        return Reply::new(550, format!("not landed yet: only {} bytes have come; resume it first", stat.size));
    }
    refusal.into()
}

/// Begins an upload. A restart where nothing is suspended means the landed file (RFC 959 section 4.1.3): what comes
/// takes the place of its bytes from there on, in a copy that lands in its stead.
async fn begin_upload(
    files: &delivery::Session,
    path: &VirtualPath,
    begin: Begin,
    expected_bytes: Option<u64>,
    course: &Arc<Course>,
) -> Result<Upload, Refusal> {
    let counted = Arc::clone(course);
    let step: delivery::Step = Arc::new(move |bytes| {
        counted.add(usize::try_from(bytes).unwrap_or(usize::MAX));
        !counted.is_cancelled()
    });
    let refusal = match (begin, files.upload_by_steps(path, begin, expected_bytes, &step).await) {
        (Begin::Resume { .. }, Err(refusal)) if refusal.reason == Reason::BadOffset => refusal,
        (_, outcome) => return outcome,
    };
    let (Begin::Resume { offset }, Ok(stat)) = (begin, files.stat(path).await) else { return Err(refusal) };
    if stat.kind != Kind::File || facts::is_suspended(&stat) {
        return Err(refusal);
    }
    if offset > stat.size {
        return Err(Refusal::new(
            Reason::BadOffset,
            format!("offset {offset} is beyond the {} bytes of the file", stat.size),
        ));
    }
    let mut upload = files.upload_by_steps(path, Begin::Append, expected_bytes, &step).await?;
    if course.is_cancelled() {
        // Whole, the copy is not kept; cut, it would be.
        return Ok(upload);
    }
    let cut = tokio::task::spawn_blocking(move || upload.truncate(offset).map(|()| upload));
    cut.await.map_err(|error| {
        tracing::error!(%error, "an upload could not be begun");
        Refusal::new(Reason::Internal, "the server failed; nothing was changed; try again later")
    })?
}

/// Waits for the data connection, then moves the bytes on a thread that may block.
async fn run(
    engine: Arc<Engine>,
    connecting: impl Future<Output = std::io::Result<tokio::net::TcpStream>>,
    terms: Terms,
    job: Job,
    course: Arc<Course>,
    done: oneshot::Sender<Outcome>,
    place: Place,
) {
    tokio::pin!(connecting);
    let connected = tokio::select! {
        biased;
        connected = &mut connecting => connected,
        // A client that gave up may have connected and sent all it wanted to before that, and is heard later here.
        () = course.cancelled() => timeout(LATE_CONNECTION_WAIT, connecting)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into())),
    };
    let connected = connected.and_then(tokio::net::TcpStream::into_std);
    let connected = connected.and_then(|socket| {
        course.attach(socket.try_clone()?);
        Ok(socket)
    });
    // Not waited for: it says itself when it is done.
    drop(tokio::task::spawn_blocking(move || match connected {
        Ok(socket) => job.run(socket, &terms, &course, &engine, Done { tell: done, place }),
        Err(error) => {
            tracing::debug!(%error, "no data connection");
            job.give_up(&course, Done { tell: done, place });
        }
    }));
}

impl Job {
    fn run(self, socket: TcpStream, terms: &Terms, course: &Course, engine: &Arc<Engine>, done: Done) {
        // Who reads slowly under TLS keeps this thread a little longer, and the place with it.
        let lingers = terms.tls.is_some();
        let mut kept = None;
        match self {
            Self::Receive(incoming) => {
                let outcome = incoming.run(socket, terms, course, engine);
                done.tell(Outcome::Received(outcome));
            }
            Self::Send(outgoing) => outgoing.run(socket, terms, course, engine, |outcome| {
                kept = done.tell_and_keep(lingers, Outcome::Sent(outcome));
            }),
            Self::List(names) => names.run(socket, terms, course, |outcome, remark| {
                kept = done.tell_and_keep(lingers, Outcome::Listed(outcome, remark));
            }),
        }
        drop(kept);
    }

    fn give_up(self, course: &Course, done: Done) {
        let stopped = course.is_cancelled();
        let outcome = match self {
            Self::Receive(incoming) => {
                let why = if stopped { Suspension::Stopped } else { Suspension::NotConnected };
                Outcome::Received(incoming.suspend(why))
            }
            Self::Send(_) | Self::List(_) if stopped => Outcome::Sent(download::Outcome::Stopped),
            Self::Send(_) | Self::List(_) => Outcome::Sent(download::Outcome::NotConnected),
        };
        done.tell(outcome);
    }
}

/// The end of a transfer: the place is free before the client hears of it and begins the next.
struct Done {
    tell: oneshot::Sender<Outcome>,
    place: Place,
}

impl Done {
    fn tell(self, outcome: Outcome) {
        self.tell_and_keep(false, outcome);
    }

    fn tell_and_keep(self, keep: bool, outcome: Outcome) -> Option<Place> {
        let Self { tell, place } = self;
        let kept = keep.then_some(place);
        // The control side may be gone; the work is done all the same.
        tell.send(outcome).ok();
        kept
    }
}

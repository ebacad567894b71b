//! Requests about names, done one after the other in order of arrival on their channel, beside the queues of the open
//! handles. A request waits for the CLOSEs that came before it: a STAT behind a CLOSE sees what has landed, also when the
//! client did not wait for the CLOSE's reply.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use landfall_storage::{Begin, VirtualPath};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::attributes::{self, Attributes};
use super::checking::{self, Check};
use super::connection::Busy;
use super::extensions;
use super::handles::Handles;
use super::outbox::Outbox;
use super::packets;
use super::queue::{Answers, File, Kind, Lane, Op, REQUEST_BYTES};
use super::receiving::Receiving;
use super::requests::{Flags, Named};
use super::sending::{Listed, Sending};
use crate::delivery::{Reason, Refusal, Session, Step};

/// Digests by name on one channel at a time: each has a file open. Others wait, and what was asked for after them.
const MAX_CHECKS: usize = 8;

/// The handles of a channel, filled here and looked up by the pump.
#[derive(Default)]
pub(super) struct Table(Mutex<Handles<Lane>>);

impl Table {
    /// The handles.
    pub(super) fn lock(&self) -> MutexGuard<'_, Handles<Lane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in waiting.
pub(super) struct Waiting {
    pub(super) id: u32,
    pub(super) what: Named,
    /// CLOSEs that came before it and that no request before it waits for.
    pub(super) closing: Vec<oneshot::Receiver<()>>,
    /// What it counts for, in bytes.
    pub(super) backlog_bytes: usize,
}

/// Does requests about names until the channel takes no more.
pub(super) struct Names {
    outbox: Arc<Outbox>,
    table: Arc<Table>,
    session: Session,
    checks: Arc<Semaphore>,
}

impl Names {
    /// Of a channel.
    pub(super) fn new(outbox: Arc<Outbox>, table: Arc<Table>) -> Self {
        let session = outbox.connection.session.clone();
        Self { outbox, table, session, checks: Arc::new(Semaphore::new(MAX_CHECKS)) }
    }

    /// The task.
    pub(super) async fn run(self, mut requests: mpsc::UnboundedReceiver<Box<Waiting>>) {
        while let Some(waiting) = requests.recv().await {
            let Waiting { id, what, closing, backlog_bytes } = *waiting;
            for closing in closing {
                // An error is the sender's end: the CLOSE is done.
                let _ = closing.await;
            }
            self.outbox.room().await;
            self.outbox.connection.unqueue(backlog_bytes);
            if self.forward(id, &what) {
                continue;
            }
            let mut answers = Answers::default();
            if self.outbox.connection.halted.is_cancelled() {
                answers.count = 1;
            } else {
                let _busy = Busy::new(&self.outbox.connection);
                // Boxed: channels that wait are many.
                Box::pin(self.perform(id, what, &mut answers)).await;
            }
            self.outbox.answer(answers.out.freeze(), answers.count);
        }
    }

    /// The same as the pump does when a request comes, for an upload that was opened since: true when its queue answers.
    fn forward(&self, id: u32, what: &Named) -> bool {
        // A CLOSE takes its handle out of the table first: while this is locked, it cannot come before.
        let table = self.table.lock();
        let Some((lane, op)) = of_upload(&table, id, what) else { return false };
        // It was taken off for this queue, and counts in that one until it is done.
        self.outbox.connection.queue(REQUEST_BYTES);
        lane.push(op);
        true
    }

    async fn perform(&self, id: u32, what: Named, answers: &mut Answers) {
        let outcome = self.reply(id, what, &mut answers.out).await;
        match outcome {
            Ok(Reply::Written) => answers.count += 1,
            Ok(Reply::Later) => {}
            Ok(Reply::Done) => answers.outcome(id, &Ok(())),
            Err(refusal) => answers.refuse(id, &refusal),
        }
    }

    /// Does one request; appends its reply, unless that is a plain status.
    async fn reply(&self, id: u32, what: Named, out: &mut BytesMut) -> Result<Reply, Refusal> {
        match what {
            Named::Open { path, flags, attributes } => {
                let handle = self.open(path?, flags, &attributes).await?;
                packets::handle(out, id, &handle);
                return Ok(Reply::Written);
            }
            Named::OpenDir { path } => {
                let handle = self.open_dir(path?).await?;
                packets::handle(out, id, &handle);
                return Ok(Reply::Written);
            }
            Named::Stat { path } => {
                let stat = self.session.stat(&path?).await?;
                packets::attrs(out, id, |out| attributes::encode(out, &stat));
                return Ok(Reply::Written);
            }
            Named::RealPath { path } => {
                let path = path?;
                let mut name = BytesMut::new();
                packets::string(&mut name, path.as_str().as_bytes());
                packets::string(&mut name, path.as_str().as_bytes());
                attributes::encode_none(&mut name);
                packets::name(out, id, 1, &name);
                return Ok(Reply::Written);
            }
            Named::Space { path } => {
                path?;
                let space = self.session.space().await?;
                extensions::space_reply(out, id, &space);
                return Ok(Reply::Written);
            }
            Named::Check { path, check } => {
                self.check(id, path?, check).await?;
                return Ok(Reply::Later);
            }
            Named::Names { users, groups } => {
                extensions::names_reply(out, id, &users, &groups, &self.session.user().name);
                return Ok(Reply::Written);
            }
            Named::SetStat { path, attributes } => self.set_stat(&path?, &attributes).await?,
            Named::Remove { path } => self.session.remove_file(&path?).await?,
            Named::MakeDir { path } => self.session.make_dir(&path?).await?,
            Named::RemoveDir { path } => self.session.remove_dir(&path?).await?,
            Named::Rename { from, to, replace } => {
                self.session.rename(&from?, &to?, replace).await?;
            }
        }
        Ok(Reply::Done)
    }

    /// Begins a digest; the answer comes from its own task.
    async fn check(&self, id: u32, path: VirtualPath, check: Check) -> Result<(), Refusal> {
        let place = tokio::select! {
            place = Arc::clone(&self.checks).acquire_owned() => place.map_err(|_| stopping())?,
            () = self.outbox.gone.cancelled() => return Err(stopping()),
        };
        let file = self.session.download(&path).await?;
        checking::begin(&self.outbox, id, path, file, check, move || drop(place));
        Ok(())
    }

    async fn open(&self, path: VirtualPath, flags: Flags, attributes: &Attributes) -> Result<[u8; 8], Refusal> {
        let connection = &self.outbox.connection;
        if connection.lifecycle.is_draining() {
            return Err(stopping());
        }
        let place = connection.handle_place()?;
        let file = if flags.has(Flags::WRITE) || flags.has(Flags::APPEND) {
            File::Receiving(Box::new(self.receive(&path, flags, attributes).await?))
        } else {
            let download = self.session.download(&path).await?;
            File::Sending(Box::new(Sending::new(download, &path, connection)))
        };
        self.hold(Lane::new(path, file, Arc::clone(&self.outbox), place))
    }

    /// Opens for writing. With TRUNC the file begins anew. Without, it goes on with what the owner's suspended upload
    /// holds, or with a copy of what has landed: version 3 knows no other way to resume.
    async fn receive(&self, path: &VirtualPath, flags: Flags, attributes: &Attributes) -> Result<Receiving, Refusal> {
        let create = flags.has(Flags::CREAT);
        // Permissions are for a file that is made; some clients send zero otherwise.
        let mut mode = attributes.permissions().filter(|_| create);
        if !create {
            let landed = self.session.stat(path).await?;
            // One that landed keeps its own. (What is suspended has no inode to show, nor a mode yet.)
            if landed.inode != 0 {
                mode = Some(landed.mode & 0o777);
            }
        }
        let upload = if create && flags.has(Flags::EXCL) {
            self.session.upload_new(path).await?
        } else {
            let begin = if flags.has(Flags::TRUNC) { Begin::Fresh } else { Begin::Append };
            self.session.upload_by_steps(path, begin, None, &self.while_wanted()).await?
        };
        Ok(Receiving::new(upload, flags.has(Flags::APPEND), mode, &self.outbox.connection))
    }

    async fn open_dir(&self, path: VirtualPath) -> Result<[u8; 8], Refusal> {
        let place = self.outbox.connection.handle_place()?;
        let names = self.session.list(&path).await?;
        let directory = self.session.stat(&path).await?;
        let file = File::Listed(Box::new(Listed::new(names, directory)));
        self.hold(Lane::new(path, file, Arc::clone(&self.outbox), place))
    }

    /// Gives an open file its handle.
    fn hold(&self, lane: Arc<Lane>) -> Result<[u8; 8], Refusal> {
        // The connection has as many places as the table, and this one is taken: the table cannot be full.
        let handle = self.table.lock().insert(lane);
        match handle {
            Some(handle) => Ok(handle),
            None => Err(Refusal::new(Reason::Busy, "too many handles are open; close some of them first")),
        }
    }

    async fn set_stat(&self, path: &VirtualPath, attributes: &Attributes) -> Result<(), Refusal> {
        let mut looked = false;
        if let Some(size) = attributes.size {
            self.cut(path, size).await?;
            looked = true;
        }
        if let Some(time) = attributes.modified() {
            self.session.set_modified(path, time).await?;
            looked = true;
        }
        if let Some(mode) = attributes.permissions() {
            self.session.set_mode(path, mode).await?;
            looked = true;
        }
        if !looked {
            // Owner and group only: accepted and ignored, for names that are there.
            self.session.stat(path).await?;
        }
        Ok(())
    }

    /// Cuts what has landed. That is a landing as well: what is left of it is put in its place.
    async fn cut(&self, path: &VirtualPath, size: u64) -> Result<(), Refusal> {
        let standing = self.session.stat(path).await?;
        if size == standing.size {
            return Ok(());
        }
        if size > standing.size {
            return Err(longer(standing.size));
        }
        if standing.inode == 0 {
            let sentence = format!("only {} bytes of it have come; open it to go on with it", standing.size);
            return Err(Refusal::new(Reason::Incomplete, sentence));
        }
        self.session.cut(path, size, &self.while_wanted()).await.map(|_receipt| ())
    }

    /// A step of something long: ends it when nobody is there any more to be answered.
    fn while_wanted(&self) -> Step {
        let gone = self.outbox.gone.clone();
        Arc::new(move |_| !gone.is_cancelled())
    }
}

/// STAT and SETSTAT of a name that this channel is uploading to mean the upload, as they would on a file system: sshfs asks
/// by name where it has a handle, too. The upload's own queue answers them, so they keep their place before a CLOSE.
pub(super) fn of_upload(table: &Handles<Lane>, id: u32, what: &Named) -> Option<(Arc<Lane>, Op)> {
    let (path, op) = match what {
        Named::Stat { path: Ok(path) } => (path, Op::Stat { id }),
        Named::SetStat { path: Ok(path), attributes } => (path, Op::SetStat { id, attributes: Box::new(*attributes) }),
        _ => return None,
    };
    Some((Arc::clone(uploading(table, path)?), op))
}

/// The upload of that name that was opened last.
fn uploading<'a>(table: &'a Handles<Lane>, path: &VirtualPath) -> Option<&'a Arc<Lane>> {
    let uploads = table.iter().filter(|lane| lane.kind == Kind::Receiving && lane.path == *path);
    uploads.max_by_key(|lane| lane.opened)
}

/// A size was asked for that only more bytes can give.
fn longer(held: u64) -> Refusal {
    Refusal::new(
        Reason::BadOffset,
        format!("the file has {held} bytes; write what comes behind them to make it longer"),
    )
}

enum Reply {
    Written,
    Done,
    /// From elsewhere.
    Later,
}

/// The drain has begun.
pub(super) fn stopping() -> Refusal {
    Refusal::new(Reason::Busy, "the server is stopping; try again in a minute")
}

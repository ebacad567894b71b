//! Requests about names, done one after the other in order of arrival on their channel, beside the queues of the open
//! handles. A request waits for the CLOSEs that came before it: a STAT behind a CLOSE sees what has landed, also when the
//! client did not wait for the CLOSE's reply.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use landfall_storage::{Begin, VirtualPath};
use tokio::sync::{mpsc, oneshot};

use super::attributes::{self, Attributes};
use super::connection::Busy;
use super::extensions;
use super::handles::Handles;
use super::outbox::Outbox;
use super::packets;
use super::queue::{Answers, File, Lane};
use super::receiving::Receiving;
use super::requests::{Flags, Named};
use super::sending::{Listed, Sending};
use crate::delivery::{Reason, Refusal, Session};

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
}

impl Names {
    /// Of a channel.
    pub(super) fn new(outbox: Arc<Outbox>, table: Arc<Table>) -> Self {
        let session = outbox.connection.session.clone();
        Self { outbox, table, session }
    }

    /// The task.
    pub(super) async fn run(self, mut requests: mpsc::UnboundedReceiver<Waiting>) {
        while let Some(waiting) = requests.recv().await {
            for closing in waiting.closing {
                // An error is the sender's end: the CLOSE is done.
                let _ = closing.await;
            }
            self.outbox.room().await;
            self.outbox.connection.unqueue(waiting.backlog_bytes);
            let mut answers = Answers::default();
            if self.outbox.connection.halted.is_cancelled() {
                answers.count = 1;
            } else {
                let _busy = Busy::new(&self.outbox.connection);
                self.perform(waiting.id, waiting.what, &mut answers).await;
            }
            self.outbox.answer(answers.out.freeze(), answers.count);
        }
    }

    async fn perform(&self, id: u32, what: Named, answers: &mut Answers) {
        let outcome = self.reply(id, what, &mut answers.out).await;
        match outcome {
            Ok(Reply::Written) => answers.count += 1,
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
        let exclusive = create && flags.has(Flags::EXCL);
        // Permissions are for a file that is made; some clients send zero otherwise.
        let mut mode = attributes.permissions().filter(|_| create);
        if !create || exclusive {
            match self.session.stat(path).await {
                Ok(_) if exclusive => {
                    return Err(Refusal::new(Reason::AlreadyExists, "a file of that name exists already"));
                }
                // One that landed keeps its own. (What is suspended has no inode to show, nor a mode yet.)
                Ok(landed) if landed.inode != 0 => mode = Some(landed.mode & 0o777),
                Err(refusal) if !(exclusive && refusal.reason == Reason::NotFound) => return Err(refusal),
                Ok(_) | Err(_) => {}
            }
        }
        let begin = if flags.has(Flags::TRUNC) || exclusive { Begin::Fresh } else { Begin::Append };
        let upload = self.session.upload(path, begin, None).await?;
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
            if self.session.stat(path).await?.size != size {
                let sentence = "the size of a file that landed cannot be set; upload it again";
                return Err(Refusal::new(Reason::BadOffset, sentence));
            }
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
}

enum Reply {
    Written,
    Done,
}

/// The drain has begun.
pub(super) fn stopping() -> Refusal {
    Refusal::new(Reason::Busy, "the server is stopping; try again in a minute")
}

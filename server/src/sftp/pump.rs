//! The pump of one channel: packets in, requests out to the queues, and the end of it all. Generic over where bytes come
//! from and go to, so that tests and fuzzers can drive it without SSH.
//!
//! It never waits for anything that needs the peer to read: the only wait between two packets is the one for room for a
//! WRITE's payload, and that comes back from the storage alone. What is short is done on its own thread, once nothing more
//! has come (`queue.rs`).

use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::extensions;
use super::names::{self, Names, Table, Waiting, stopping};
use super::outbox::{Outbox, Sink};
use super::packets::{self, Fault, Framer, Packet, Payload, Reader};
use super::queue::{Chunk, Kind, Lane, Op, REQUEST_BYTES};
use super::requests::{self, Held, INIT, Named, Part, Request};
use super::status::{self, Code};
use crate::delivery::{Reason, Refusal};

/// What is taken in before it is done, in bytes, while more is there.
const GATHERED_BYTES: usize = 256 * 1024;

/// Handles whose requests are done here, one after the other, before the others get threads of their own.
const LANES_AT_ONCE: usize = 4;

/// What comes next on a channel.
#[derive(Debug)]
pub(super) enum Input {
    /// A piece of the stream.
    Data(Bytes),
    /// The client sends no more, but still reads.
    End,
}

/// Where the bytes come from: an SSH channel, or a test. `None` when the channel is gone.
pub(super) trait Source: Send {
    /// The next piece.
    fn next(&mut self) -> impl Future<Output = Option<Input>> + Send;
}

/// How the stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client said so, and waits for what is left.
    Polite,
    /// Nobody is there any more.
    Gone,
    /// The stream made no sense.
    Fault(Fault),
}

struct Pump {
    connection: Arc<Connection>,
    outbox: Arc<Outbox>,
    table: Arc<Table>,
    /// Boxed: a channel has room for 32 at once, and most sessions wait.
    names: mpsc::UnboundedSender<Box<Waiting>>,
    /// CLOSEs of uploads that no request about a name waits for yet.
    closing: Vec<oneshot::Receiver<()>>,
    /// Handles with something to do that no job does yet.
    waiting: Vec<Arc<Lane>>,
    ready: bool,
}

#[expect(clippy::disallowed_methods, reason = "bounded in bytes, over all queues, by the connection's backlog")]
fn names_queue() -> (mpsc::UnboundedSender<Box<Waiting>>, mpsc::UnboundedReceiver<Box<Waiting>>) {
    mpsc::unbounded_channel()
}

/// Serves one channel to its end: what was asked before it is done, what was not closed is suspended.
pub(super) async fn serve<I: Source, O: Sink + 'static>(connection: Arc<Connection>, source: I, sink: O) {
    let outbox = Outbox::new(Arc::clone(&connection));
    let table = Arc::<Table>::default();
    let (names, requests) = names_queue();
    let writer = Arc::clone(&outbox);
    let mut writer = connection.tasks.spawn(async move { writer.send_all(sink).await });
    let worker = connection.tasks.spawn(Names::new(Arc::clone(&outbox), Arc::clone(&table)).run(requests));
    let all = Arc::clone(&outbox);
    let pump = Pump { connection, outbox, table, names, closing: Vec::new(), waiting: Vec::new(), ready: false };
    let mut source = pump.run(source, worker).await;
    // The writer ends on its own: the outbox is closed.
    tokio::select! {
        _ = &mut writer => {}
        () = watch(source.as_mut(), &all) => {}
    }
}

impl Pump {
    async fn run<I: Source>(mut self, mut source: I, worker: tokio::task::JoinHandle<()>) -> Option<I> {
        let end = self.read(&mut source).await;
        self.go();
        let polite = end == End::Polite;
        match &end {
            End::Polite => {}
            End::Gone => self.outbox.gone.cancel(),
            End::Fault(fault) => {
                // Nor is anything sent any more: replies still to come might wait for a client that does not read.
                self.outbox.gone.cancel();
                if *fault == Fault::Flood {
                    // What ran out is the connection's, and a client that ignores its window would send on.
                    self.connection.halted.cancel();
                }
                tracing::warn!(
                    user = %self.connection.session.user().name, peer = %self.connection.session.peer(), %fault,
                    "SFTP channel ended"
                );
            }
        }
        let Self { outbox, table, names, .. } = self;
        abandon(&outbox, &table);
        drop(names);
        // A source that is not read must not be kept: russh would wait for it.
        let mut source = polite.then_some(source);
        let rest = async {
            // Requests about names that came before the end are done; files that they open are not kept.
            let _ = worker.await;
            abandon(&outbox, &table);
            outbox.settle().await;
        };
        tokio::select! {
            () = rest => {}
            // A client that waits politely may still go away.
            () = watch(source.as_mut(), &outbox) => {}
        }
        outbox.close();
        source
    }

    /// Reads requests until there are no more.
    async fn read<I: Source>(&mut self, source: &mut I) -> End {
        let mut framer = Framer::default();
        let mut gathered_bytes = 0;
        loop {
            let input = tokio::select! {
                biased;
                () = self.connection.halted.cancelled() => return End::Gone,
                input = source.next() => input,
                // What is there already comes first: small WRITEs are put together, and many of them answered as one.
                () = std::future::ready(()), if !self.waiting.is_empty() => {
                    self.go();
                    continue;
                }
            };
            self.connection.progress();
            let wait = match input {
                Some(Input::Data(bytes)) => {
                    let wait = self.connection.session.incoming_pace().moved(bytes.len());
                    gathered_bytes += bytes.len();
                    framer.push(bytes);
                    wait
                }
                Some(Input::End) => return End::Polite,
                None => return End::Gone,
            };
            loop {
                match framer.next_packet() {
                    Ok(Some(packet)) => match self.take(packet).await {
                        Ok(true) => {}
                        Ok(false) => return End::Gone,
                        Err(fault) => return End::Fault(fault),
                    },
                    Ok(None) => break,
                    Err(fault) => return End::Fault(fault),
                }
            }
            if gathered_bytes >= GATHERED_BYTES || wait.is_some() {
                gathered_bytes = 0;
                self.go();
            }
            // What is not taken in stays with the client, by the channel's window.
            if let Some(wait) = wait {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.connection.halted.cancelled() => return End::Gone,
                }
            }
        }
    }

    /// Takes one packet on; false when the connection is halted.
    async fn take(&mut self, packet: Packet) -> Result<bool, Fault> {
        match packet {
            Packet::Write { id, handle, offset, data } if self.ready => self.write(id, &handle, offset, data).await,
            Packet::Write { .. } => Err(Fault::Init),
            Packet::Other { kind, body } => self.request(kind, body).map(|()| true),
        }
    }

    async fn write(&mut self, id: u32, handle: &[u8], offset: u64, data: Payload) -> Result<bool, Fault> {
        let lane = self.table.lock().find(handle).filter(|lane| lane.kind == Kind::Receiving).cloned();
        self.outbox.expect();
        let Some(lane) = lane else {
            self.refuse(id, &status::bad_handle());
            return Ok(true);
        };
        let bytes = data.iter().map(Bytes::len).sum();
        // Behind a copy it may wait for longer than the others can: so it takes no more than a part of the room.
        let place = if lane.is_copying() { Some(self.connection.early_place(bytes)) } else { None };
        if let Some(None) = place {
            self.queue(REQUEST_BYTES)?;
            self.queue_at(&lane, Op::Crowded { id });
            return Ok(true);
        }
        let room = if let Some(room) = self.connection.try_write_room(bytes) {
            room
        } else {
            // It comes back when those before are done.
            self.go();
            let Some(room) = self.connection.write_room(bytes).await else { return Ok(false) };
            room
        };
        self.queue_at(
            &lane,
            Op::Write(Box::new(Chunk { id, offset, data, bytes, _place: place.flatten(), _room: room })),
        );
        Ok(true)
    }

    fn request(&mut self, kind: u8, body: Bytes) -> Result<(), Fault> {
        let body_bytes = body.len();
        let mut reader = Reader::new(body);
        // INIT carries a version where other requests carry their id.
        let id = reader.u32()?;
        if kind == INIT || !self.ready {
            return self.init(kind, id);
        }
        let Some(row) = requests::row(kind) else {
            self.outbox.expect();
            self.refuse(id, &Refusal::new(Reason::Unsupported, "that request is not known here"));
            return Ok(());
        };
        let request = (row.parse)(&mut reader)?;
        self.outbox.expect();
        tracing::trace!(id, request = row.name, "SFTP request");
        let changes = row.writes || matches!(request, Request::Named(Named::Rename { .. } | Named::SetStat { .. }));
        if changes && self.connection.lifecycle.is_draining() {
            self.refuse(id, &stopping());
            return Ok(());
        }
        match request {
            Request::Named(what) => self.name(id, what, body_bytes),
            Request::Held { handle, what } => self.held(id, &handle, &what),
            Request::Copy { from, to, part } => self.copy(id, &from, &to, part),
            Request::Limits => {
                let mut out = BytesMut::new();
                extensions::limits_reply(&mut out, id);
                self.outbox.answer(out.freeze(), 1);
                Ok(())
            }
            Request::Noted => {
                let mut out = BytesMut::new();
                packets::status(&mut out, id, Code::Ok, "OK");
                self.outbox.answer(out.freeze(), 1);
                Ok(())
            }
            Request::Refused(sentence) => {
                self.refuse(id, &Refusal::new(Reason::Unsupported, sentence));
                Ok(())
            }
        }
    }

    /// The handshake: INIT first, and once.
    fn init(&mut self, kind: u8, version: u32) -> Result<(), Fault> {
        if kind != INIT || self.ready {
            return Err(Fault::Init);
        }
        if version < 3 {
            return Err(Fault::Version(version));
        }
        self.ready = true;
        let mut out = BytesMut::new();
        packets::version(&mut out, extensions::announced());
        self.outbox.answer(out.freeze(), 0);
        Ok(())
    }

    fn name(&mut self, id: u32, what: Named, body_bytes: usize) -> Result<(), Fault> {
        let meant = names::of_upload(&self.table.lock(), id, &what);
        if let Some((lane, op)) = meant {
            self.queue(REQUEST_BYTES)?;
            self.queue_at(&lane, op);
            return Ok(());
        }
        let backlog_bytes = REQUEST_BYTES + body_bytes;
        self.queue(backlog_bytes)?;
        let closing = std::mem::take(&mut self.closing);
        // The worker lives as long as this sender.
        let _ = self.names.send(Box::new(Waiting { id, what, closing, backlog_bytes }));
        Ok(())
    }

    fn held(&mut self, id: u32, handle: &[u8], what: &Held) -> Result<(), Fault> {
        let lane = match what {
            Held::Close => self.table.lock().remove(handle),
            _ => self.table.lock().find(handle).cloned(),
        };
        let Some(lane) = lane else {
            self.refuse(id, &status::bad_handle());
            return Ok(());
        };
        let op = match *what {
            Held::Close if lane.kind == Kind::Receiving => {
                let (done, closing) = oneshot::channel();
                self.closing.retain_mut(|closing| closing.try_recv() == Err(oneshot::error::TryRecvError::Empty));
                self.closing.push(closing);
                Op::Close { id, done: Some(done) }
            }
            Held::Close => Op::Close { id, done: None },
            Held::Read { offset, wanted_bytes } => Op::Read { id, wanted_bytes, offset },
            Held::Stat if lane.kind == Kind::Listed => {
                return self.name(id, Named::Stat { path: Ok(lane.path.clone()) }, 0);
            }
            Held::Space => return self.name(id, Named::Space { path: Ok(lane.path.clone()) }, 0),
            Held::Stat => Op::Stat { id },
            Held::SetStat { attributes } if lane.kind != Kind::Receiving && attributes.size.is_some() => {
                let sentence = "this handle is not open for writing; open it for writing to give it another size";
                self.refuse(id, &Refusal::new(Reason::WrongKind, sentence));
                return Ok(());
            }
            Held::SetStat { attributes } if lane.kind != Kind::Receiving => {
                return self.name(id, Named::SetStat { path: Ok(lane.path.clone()), attributes }, 0);
            }
            Held::SetStat { attributes } => Op::SetStat { id, attributes: Box::new(attributes) },
            Held::ReadDir => Op::ReadDir { id },
            Held::Sync => Op::Sync { id },
            Held::Check(check) => Op::Check { id, check: Box::new(check) },
        };
        self.queue(REQUEST_BYTES)?;
        self.queue_at(&lane, op);
        Ok(())
    }

    /// A request of the handle that is written to; what it reads from stays open until it is done.
    fn copy(&mut self, id: u32, from: &[u8], to: &[u8], part: Part) -> Result<(), Fault> {
        let table = self.table.lock();
        let (from, to) = (table.find(from).cloned(), table.find(to).cloned());
        drop(table);
        let (Some(from), Some(to)) = (from, to.filter(|to| to.kind == Kind::Receiving)) else {
            self.refuse(id, &status::bad_handle());
            return Ok(());
        };
        let Some(source) = from.source() else {
            let sentence = "bytes are copied from files that have landed; open one for reading alone";
            self.refuse(id, &Refusal::new(Reason::WrongKind, sentence));
            return Ok(());
        };
        self.queue(REQUEST_BYTES)?;
        self.queue_at(&to, Op::Copy { id, copy: Box::new((source, part)) });
        Ok(())
    }

    /// Queues a request at its handle; [`Pump::go`] has it done.
    fn queue_at(&mut self, lane: &Arc<Lane>, op: Op) {
        if lane.add(op) {
            self.waiting.push(Arc::clone(lane));
        }
    }

    /// Has done what waits.
    fn go(&mut self) {
        for (number, lane) in self.waiting.drain(..).enumerate() {
            if number < LANES_AT_ONCE { lane.go() } else { lane.start() }
        }
    }

    /// Counts a request that will wait. One too many gets no answer, nor does anything after it.
    fn queue(&self, bytes: usize) -> Result<(), Fault> {
        if self.connection.queue(bytes) {
            return Ok(());
        }
        self.connection.unqueue(bytes);
        self.outbox.answer(Bytes::new(), 1);
        Err(Fault::Flood)
    }

    fn refuse(&self, id: u32, refusal: &Refusal) {
        let mut out = BytesMut::new();
        packets::status(&mut out, id, status::code(refusal.reason), &refusal.sentence);
        self.outbox.answer(out.freeze(), 1);
    }
}

/// Suspends what is open.
fn abandon(outbox: &Outbox, table: &Table) {
    let lanes: Vec<_> = table.lock().drain().collect();
    for lane in lanes {
        outbox.expect();
        lane.push(Op::Abandon);
    }
}

/// Behind a polite end: sees when the channel is gone as well. Never resolves: what is left is done either way.
async fn watch<I: Source>(source: Option<&mut I>, outbox: &Outbox) {
    if let Some(source) = source {
        // Data behind the end is nobody's.
        while source.next().await.is_some() {}
        outbox.gone.cancel();
    }
    std::future::pending::<()>().await;
}

//! The engine without SSH in front of it, for fuzzers and the tests that replay their corpora: packets as it reads them,
//! and channels over any two ends. Adds nothing to what the parts do, and knows no socket.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::connection::Connection;
pub use super::connection::Left;
use super::outbox::{Gone, Sink};
use super::packets::{Framer, Packet, Reader};
use super::pump::{self, Input, Source};
use super::requests;
use crate::delivery::Session;
use crate::lifecycle::Lifecycle;

/// One packet as the engine understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// `SSH_FXP_*`.
    pub kind: u8,
    /// Request id; the version of INIT.
    pub id: u32,
    /// What is asked, in the words of `requests.rs`; empty for a kind that is not known, and for WRITE.
    pub request: String,
    /// Of a WRITE: handle, offset, payload.
    pub write: Option<(Bytes, u64, Vec<u8>)>,
}

/// The stream of one channel on its way through framer and parsers.
#[derive(Default)]
pub struct Stream(Framer);

impl Stream {
    /// Takes the next piece, and gives the packets that are whole now.
    ///
    /// # Errors
    /// Why the stream makes no sense any more; with the packets before that.
    pub fn push(&mut self, piece: Bytes) -> Result<Vec<Understood>, (Vec<Understood>, String)> {
        let mut found = Vec::new();
        self.0.push(piece);
        loop {
            match self.0.next_packet().and_then(|packet| packet.map(understand).transpose()) {
                Ok(Some(packet)) => found.push(packet),
                Ok(None) => return Ok(found),
                Err(fault) => return Err((found, fault.to_string())),
            }
        }
    }

    /// Bytes that it holds, and the pieces that these are in.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        self.0.held()
    }
}

fn understand(packet: Packet) -> Result<Understood, super::packets::Fault> {
    match packet {
        Packet::Write { id, handle, offset, data } => {
            let write = Some((handle, offset, data.concat()));
            Ok(Understood { kind: super::packets::WRITE, id, request: String::new(), write })
        }
        Packet::Other { kind, body } => {
            let mut reader = Reader::new(body);
            let id = reader.u32()?;
            let request = match requests::row(kind) {
                Some(row) => format!("{:?}", (row.parse)(&mut reader)?),
                None => String::new(),
            };
            Ok(Understood { kind, id, request, write: None })
        }
    }
}

/// A logged-in connection, for as many channels as wanted.
pub struct Bare(Arc<Connection>);

impl Bare {
    /// Of a session that just began.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self(Connection::new(session, Lifecycle::default()))
    }

    /// Opens a channel, as a task of the connection's. From the client come pieces, and `None` when it says that it sends
    /// no more; it is gone when that end is dropped. Replies are sent as far as `window` has permits, one for each byte.
    pub fn open(&self, from: mpsc::Receiver<Option<Bytes>>, to: mpsc::UnboundedSender<Bytes>, window: Arc<Semaphore>) {
        let (from, to) = (FromClient(from), ToClient { replies: to, window });
        self.0.tasks.spawn(pump::serve(Arc::clone(&self.0), from, to));
    }

    /// As a kick does.
    pub fn halt(&self) {
        self.0.halted.cancel();
    }

    /// Waits until nothing of it is at work any more, and says what is left in its budgets.
    pub async fn end(&self) -> Left {
        self.halt();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.left()
    }
}

struct FromClient(mpsc::Receiver<Option<Bytes>>);

impl Source for FromClient {
    async fn next(&mut self) -> Option<Input> {
        self.0.recv().await.map(|piece| piece.map_or(Input::End, Input::Data))
    }
}

/// The longest piece that is sent at once, in bytes, as a channel's packet is.
const PIECE_BYTES: usize = 32 * 1024;

struct ToClient {
    replies: mpsc::UnboundedSender<Bytes>,
    window: Arc<Semaphore>,
}

impl Sink for ToClient {
    async fn send(&mut self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            // As much as the window takes, one byte if it must be.
            let free = self.window.available_permits().clamp(1, PIECE_BYTES);
            let piece = bytes.split_to(bytes.len().min(free));
            let permits = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            tokio::select! {
                taken = self.window.acquire_many(permits) => taken.map_err(|_| Gone)?.forget(),
                () = self.replies.closed() => return Err(Gone),
            }
            self.replies.send(piece).map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn finish(&mut self) {}

    async fn close(&mut self) {}
}

//! The socket as russh sees it: read in large pieces, and cut off at will. Knows no SSH.
//!
//! russh reads four bytes of each packet and then the rest: two system calls per packet without a buffer in between.
//! And its session task cannot be stopped from outside, except by the socket's end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What one read takes while much is coming, in bytes.
const LARGE_READ_BYTES: usize = 128 * 1024;
/// And otherwise: idle connections are many, and keep no buffer at all.
const SMALL_READ_BYTES: usize = 4 * 1024;
/// How long the large buffer outlives the last read that filled a small one: to clear and map it anew for each of many
/// small files costs more than their deciphering. Looked at when something happens, at the latest with a keepalive.
const LARGE_KEPT: Duration = Duration::from_secs(2);

/// Longest rest of a packet that is waited for before anybody is logged in, in bytes. russh takes 256 KiB from everybody
/// and makes room for all of it when a packet is announced; a few thousand strangers who announce one each and send
/// nothing would fill the memory. No client needs a tenth of this.
const STRANGERS_PACKET_BYTES: usize = 16 * 1024;

/// A socket that ends when told to.
pub(super) struct Wire {
    stream: TcpStream,
    /// Is somebody logged in?
    known: Arc<AtomicBool>,
    buffer: Vec<u8>,
    /// Read into the buffer, and of that given away.
    filled: usize,
    taken: usize,
    /// When much came last.
    much: Option<Instant>,
    hangup: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    /// Over `stream`, until `hangup`; `known` once somebody is logged in.
    pub(super) fn new(stream: TcpStream, known: Arc<AtomicBool>, hangup: CancellationToken) -> Self {
        Self {
            stream,
            known,
            buffer: Vec::new(),
            filled: 0,
            taken: 0,
            much: None,
            hangup: Box::pin(hangup.cancelled_owned()),
        }
    }

    fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.hangup.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Reads into the buffer, whose size follows what came last.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let much = self.much.is_some();
        let size = if much { LARGE_READ_BYTES } else { SMALL_READ_BYTES };
        if self.buffer.len() != size {
            self.buffer = Vec::new();
            ready!(self.stream.poll_read_ready(context))?;
            self.buffer = vec![0; size];
        }
        let mut room = ReadBuf::new(&mut self.buffer);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut room);
        let filled = room.filled().len();
        if read.is_pending() {
            if self.much.is_none_or(|when| when.elapsed() >= LARGE_KEPT) {
                self.much = None;
                self.buffer = Vec::new();
            }
            return Poll::Pending;
        }
        if filled >= SMALL_READ_BYTES && self.is_known() {
            self.much = Some(Instant::now());
        }
        self.filled = filled;
        self.taken = 0;
        read
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        wire.check(context)?;
        // russh asks for the whole rest of a packet at once.
        if out.remaining() > STRANGERS_PACKET_BYTES && !wire.is_known() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if wire.taken >= wire.filled {
            ready!(wire.fill(context))?;
        }
        let rest = wire.buffer.get(wire.taken..wire.filled).unwrap_or_default();
        let count = rest.len().min(out.remaining());
        out.put_slice(rest.get(..count).unwrap_or_default());
        wire.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

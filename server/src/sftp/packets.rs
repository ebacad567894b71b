//! SFTP packets on the wire (draft-ietf-secsh-filexfer-02): cutting the byte stream of a channel into packets without
//! copying payload, reading fields, and writing replies. Knows what a packet looks like, not what it means.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::status::Code;

/// Longest packet taken, in bytes, as OpenSSH's server: enough for a WRITE of 255 KiB.
pub(super) const MAX_PACKET_BYTES: usize = 256 * 1024;
/// Longest payload of a READ or a WRITE, in bytes: the packet less 1 KiB for what stands around it.
pub(super) const MAX_PAYLOAD_BYTES: usize = MAX_PACKET_BYTES - 1024;
/// Longest handle that is looked at, in bytes (section 6.3 allows no more).
const MAX_HANDLE_BYTES: usize = 256;

pub(super) const WRITE: u8 = 6;
const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// Bytes in front of the payload of a DATA reply: length, type, id, payload length.
pub(super) const DATA_HEAD_BYTES: usize = 13;

/// Why a channel cannot go on. For the log only: after any of these no reply could be trusted to carry the right id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// A length over [`MAX_PACKET_BYTES`].
    #[error("a packet of {0} bytes, more than {MAX_PACKET_BYTES}")]
    TooLong(u32),
    /// A length that does not even hold a type.
    #[error("an empty packet")]
    Empty,
    /// Fields that reach beyond the packet's end.
    #[error("a packet that ends inside a field")]
    Truncated,
    /// A request in front of `INIT`, or `INIT` again.
    #[error("INIT is not the first request, or not the only one")]
    Init,
    /// A version below 3.
    #[error("protocol version {0}, but this server speaks 3")]
    Version(u32),
    /// More requests or replies in waiting than a connection may have.
    #[error("the client sends requests without reading the replies")]
    Flood,
}

/// Payload of a WRITE: the pieces of the SSH packets it came in.
pub(super) type Payload = Vec<Bytes>;

/// One packet, cut out of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// A WRITE: the one request whose body is not laid out in one piece.
    Write {
        /// Request id.
        id: u32,
        /// As the client sent it.
        handle: Bytes,
        /// Where to.
        offset: u64,
        /// What.
        data: Payload,
    },
    /// Any other request: its type and what follows.
    Other {
        /// `SSH_FXP_*`.
        kind: u8,
        /// The fields.
        body: Bytes,
    },
}

/// A piece as it came, with the length of the allocation that it keeps alive.
struct Piece {
    bytes: Bytes,
    whole_bytes: usize,
}

/// Pieces shorter than this are put together as they come, in bytes: a packet that trickles in byte by byte must not
/// cost a piece for each.
const SMALL_PIECE_BYTES: usize = 2 * 1024;

/// Cuts the stream of a channel into packets. Holds at most one packet and one piece more than was cut.
#[derive(Default)]
pub(super) struct Framer {
    pieces: VecDeque<Piece>,
    /// Small pieces that came behind those.
    tail: BytesMut,
    buffered_bytes: usize,
}

impl Framer {
    /// Takes the next piece of the stream.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.buffered_bytes += bytes.len();
        if bytes.len() < SMALL_PIECE_BYTES {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.end_tail();
            self.pieces.push_back(Piece { whole_bytes: bytes.len(), bytes });
        }
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            let bytes = self.tail.split().freeze();
            self.pieces.push_back(Piece { whole_bytes: bytes.len(), bytes });
        }
    }

    /// Cuts the next packet, if it is there as a whole.
    ///
    /// # Errors
    /// A [`Fault`] ends the channel.
    pub(super) fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        let Some(length) = self.peek_length() else { return Ok(None) };
        let length_bytes = length as usize;
        if length_bytes > MAX_PACKET_BYTES {
            return Err(Fault::TooLong(length));
        }
        if length_bytes == 0 {
            return Err(Fault::Empty);
        }
        if self.buffered_bytes < 4 + length_bytes {
            return Ok(None);
        }
        self.end_tail();
        self.take(4);
        let kind = self.take(1).get_u8();
        if kind == WRITE {
            return self.write(length_bytes - 1).map(Some);
        }
        Ok(Some(Packet::Other { kind, body: self.take(length_bytes - 1) }))
    }

    /// Bytes held, and in how many pieces.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.buffered_bytes, self.pieces.len() + usize::from(!self.tail.is_empty()))
    }

    fn peek_length(&self) -> Option<u32> {
        if self.buffered_bytes < 4 {
            return None;
        }
        let mut bytes = self.pieces.iter().flat_map(|piece| piece.bytes.iter()).chain(&self.tail);
        let mut length = 0;
        for _ in 0..4 {
            length = (length << 8) | u32::from(*bytes.next()?);
        }
        Some(length)
    }

    /// `id handle offset data`; the caller has seen that `rest_bytes` are there.
    fn write(&mut self, rest_bytes: usize) -> Result<Packet, Fault> {
        let mut rest_bytes = rest_bytes;
        let mut head = |framer: &mut Self, count: usize| {
            rest_bytes = rest_bytes.checked_sub(count).ok_or(Fault::Truncated)?;
            Ok(framer.take(count))
        };
        let id = head(self, 4)?.get_u32();
        let handle_bytes = head(self, 4)?.get_u32() as usize;
        if handle_bytes > MAX_HANDLE_BYTES {
            return Err(Fault::Truncated);
        }
        let handle = head(self, handle_bytes)?;
        let offset = head(self, 8)?.get_u64();
        let data_bytes = head(self, 4)?.get_u32() as usize;
        let behind_bytes = rest_bytes.checked_sub(data_bytes).ok_or(Fault::Truncated)?;
        let data = self.take_pieces(data_bytes);
        self.take_pieces(behind_bytes);
        Ok(Packet::Write { id, handle, offset, data })
    }

    /// Takes `count` bytes in one piece: a slice where they came in one, a copy where they did not.
    fn take(&mut self, count: usize) -> Bytes {
        if let Some(front) = self.pieces.front_mut()
            && front.bytes.len() > count
        {
            self.buffered_bytes -= count;
            return front.bytes.split_to(count);
        }
        let mut pieces = self.take_pieces(count);
        if pieces.len() == 1 {
            return pieces.swap_remove(0);
        }
        let mut whole = BytesMut::with_capacity(count);
        for piece in pieces {
            whole.put(piece);
        }
        whole.freeze()
    }

    /// Takes `count` bytes as they came. A slice that is less than half of what it keeps alive is copied instead:
    /// otherwise tiny WRITEs, each in a large SSH packet, would hold many times the memory that they are counted for.
    fn take_pieces(&mut self, count: usize) -> Payload {
        let mut left = count;
        let mut taken = Vec::with_capacity(2);
        while left > 0 {
            let Some(front) = self.pieces.front_mut() else { break };
            let size = left.min(front.bytes.len());
            let slice = front.bytes.split_to(size);
            let sparse = size < front.whole_bytes / 2;
            taken.push(if sparse { Bytes::copy_from_slice(&slice) } else { slice });
            if front.bytes.is_empty() {
                self.pieces.pop_front();
            }
            left -= size;
            self.buffered_bytes -= size;
        }
        taken
    }
}

/// Reads the fields of a request.
pub(super) struct Reader(Bytes);

impl Reader {
    /// Over the body of a packet.
    #[must_use]
    pub(super) fn new(body: Bytes) -> Self {
        Self(body)
    }

    /// A 32-bit number.
    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.0.try_get_u32().map_err(|_| Fault::Truncated)
    }

    /// A 64-bit number.
    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.0.try_get_u64().map_err(|_| Fault::Truncated)
    }

    /// Counted bytes.
    pub(super) fn string(&mut self) -> Result<Bytes, Fault> {
        let count = self.u32()? as usize;
        if count > self.0.len() {
            return Err(Fault::Truncated);
        }
        Ok(self.0.split_to(count))
    }
}

/// Appends one packet: length, type, and what `fields` writes.
fn packet(out: &mut BytesMut, kind: u8, fields: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.put_u8(kind);
    fields(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(mut place) = out.get_mut(start..start + 4) {
        place.put_u32(length);
    }
}

/// Appends counted bytes.
pub(super) fn string(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

/// `SSH_FXP_STATUS`.
pub(super) fn status(out: &mut BytesMut, id: u32, code: Code, sentence: &str) {
    packet(out, STATUS, |out| {
        out.put_u32(id);
        out.put_u32(code as u32);
        string(out, sentence.as_bytes());
        string(out, b"en");
    });
}

/// `SSH_FXP_HANDLE`.
pub(super) fn handle(out: &mut BytesMut, id: u32, handle: &[u8]) {
    packet(out, HANDLE, |out| {
        out.put_u32(id);
        string(out, handle);
    });
}

/// `SSH_FXP_ATTRS`; `attributes` appends them.
pub(super) fn attrs(out: &mut BytesMut, id: u32, attributes: impl FnOnce(&mut BytesMut)) {
    packet(out, ATTRS, |out| {
        out.put_u32(id);
        attributes(out);
    });
}

/// `SSH_FXP_NAME` with `count` names, which `names` appends: name, long name, attributes each.
pub(super) fn name(out: &mut BytesMut, id: u32, count: u32, names: &[u8]) {
    packet(out, NAME, |out| {
        out.put_u32(id);
        out.put_u32(count);
        out.put_slice(names);
    });
}

/// `SSH_FXP_EXTENDED_REPLY`.
pub(super) fn extended_reply(out: &mut BytesMut, id: u32, fields: impl FnOnce(&mut BytesMut)) {
    packet(out, EXTENDED_REPLY, |out| {
        out.put_u32(id);
        fields(out);
    });
}

/// `SSH_FXP_VERSION` 3 with the extensions offered.
pub(super) fn version<'a>(out: &mut BytesMut, extensions: impl Iterator<Item = (&'a str, &'a str)>) {
    packet(out, VERSION, |out| {
        out.put_u32(3);
        for (name, value) in extensions {
            string(out, name.as_bytes());
            string(out, value.as_bytes());
        }
    });
}

/// `SSH_FXP_DATA` filled in place: `fill` gets room for `wanted_bytes` and says how many it wrote. Nothing is left of
/// the packet when it wrote none, or failed.
pub(super) fn data<E>(
    out: &mut BytesMut,
    id: u32,
    wanted_bytes: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Result<usize, E> {
    let start = out.len();
    let payload = start + DATA_HEAD_BYTES;
    out.resize(payload + wanted_bytes, 0);
    let filled = fill(out.get_mut(payload..).unwrap_or_default());
    let count = *filled.as_ref().unwrap_or(&0);
    if count == 0 {
        out.truncate(start);
        return filled;
    }
    let count = count.min(wanted_bytes);
    out.truncate(payload + count);
    let length = u32::try_from(count).unwrap_or(u32::MAX);
    if let Some(mut head) = out.get_mut(start..payload) {
        head.put_u32(length + 9);
        head.put_u8(DATA);
        head.put_u32(id);
        head.put_u32(length);
    }
    filled
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write_packet(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        packet(&mut out, WRITE, |out| {
            out.put_u32(id);
            string(out, handle);
            out.put_u64(offset);
            string(out, data);
        });
        out.to_vec()
    }

    fn joined(data: &Payload) -> Vec<u8> {
        data.concat()
    }

    #[test]
    fn a_write_in_one_piece_is_not_copied() {
        let mut framer = Framer::default();
        let raw = Bytes::from(write_packet(7, b"h", 42, &[9; 9000]));
        let inside = raw.as_ptr() as usize..raw.as_ptr() as usize + raw.len();
        framer.push(raw);
        let Some(Packet::Write { id, handle, offset, data }) = framer.next_packet().unwrap() else {
            panic!("not a write")
        };
        assert_eq!((id, &handle[..], offset), (7, &b"h"[..], 42));
        assert_eq!(joined(&data), [9; 9000]);
        assert!(inside.contains(&(data[0].as_ptr() as usize)));
        assert_eq!(framer.next_packet().unwrap(), None);
    }

    #[test]
    fn a_trickle_is_put_together() {
        let mut framer = Framer::default();
        let raw = write_packet(1, b"h", 0, &vec![3; 100_000]);
        for byte in &raw[..raw.len() - 1] {
            framer.push(Bytes::copy_from_slice(&[*byte]));
            assert_eq!(framer.next_packet().unwrap(), None);
        }
        assert!(framer.pieces.len() < 3, "{}", framer.pieces.len());
        framer.push(Bytes::copy_from_slice(&raw[raw.len() - 1..]));
        let Some(Packet::Write { data, .. }) = framer.next_packet().unwrap() else { panic!("not a write") };
        assert_eq!((data.len(), joined(&data)), (1, vec![3; 100_000]));
    }

    #[test]
    fn a_small_write_does_not_keep_a_large_piece_alive() {
        let mut framer = Framer::default();
        let mut raw = write_packet(1, b"h", 0, &[1; 10]);
        raw.extend(write_packet(2, b"h", 10, &[2; 5000]));
        let raw = Bytes::from(raw);
        let inside = raw.as_ptr() as usize..raw.as_ptr() as usize + raw.len();
        framer.push(raw);
        let Some(Packet::Write { data, .. }) = framer.next_packet().unwrap() else { panic!("not a write") };
        assert!(!inside.contains(&(data[0].as_ptr() as usize)));
    }

    #[test]
    fn lengths_out_of_bounds_are_faults() {
        let fault = |bytes: &'static [u8]| {
            let mut framer = Framer::default();
            framer.push(Bytes::from_static(bytes));
            framer.next_packet().unwrap_err()
        };
        assert_eq!(fault(&[0xff, 0xff, 0xff, 0xff]), Fault::TooLong(u32::MAX));
        assert_eq!(fault(&[0, 4, 0, 1]), Fault::TooLong(0x0004_0001));
        assert_eq!(fault(&[0, 0, 0, 0]), Fault::Empty);
        assert_eq!(fault(&[0, 0, 0, 3, WRITE, 0, 0]), Fault::Truncated);
        // A payload length that reaches into the next packet.
        assert_eq!(
            fault(&[0, 0, 0, 21, WRITE, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3]),
            Fault::Truncated
        );
    }

    #[test]
    fn data_that_was_not_read_leaves_no_trace() {
        let mut out = BytesMut::from(&b"before"[..]);
        let none: Result<usize, ()> = data(&mut out, 1, 100, |_| Ok(0));
        assert_eq!(none, Ok(0));
        assert!(data(&mut out, 1, 100, |_| Err(())).is_err());
        assert_eq!(&out[..], b"before");
        let some: Result<usize, ()> = data(&mut out, 5, 100, |room| {
            room[..3].copy_from_slice(b"abc");
            Ok(3)
        });
        assert_eq!(some, Ok(3));
        assert_eq!(&out[6..], [0, 0, 0, 12, DATA, 0, 0, 0, 5, 0, 0, 0, 3, b'a', b'b', b'c']);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            cut in 1usize..50,
        ) {
            let mut framer = Framer::default();
            'stream: for piece in bytes.chunks(cut) {
                framer.push(Bytes::copy_from_slice(piece));
                loop {
                    match framer.next_packet() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
        }

        #[test]
        fn pieces_do_not_change_packets(
            writes in proptest::collection::vec((any::<u32>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..6000)), 1..20),
            cut in 1usize..9000,
        ) {
            let stream: Vec<u8> = writes.iter().flat_map(|(id, offset, data)| write_packet(*id, b"hand", *offset, data)).collect();
            let mut framer = Framer::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                framer.push(Bytes::copy_from_slice(piece));
                while let Some(packet) = framer.next_packet().unwrap() {
                    let Packet::Write { id, offset, data, .. } = packet else { panic!("not a write") };
                    seen.push((id, offset, joined(&data)));
                }
            }
            prop_assert_eq!(seen, writes);
            prop_assert_eq!(framer.buffered_bytes, 0);
        }
    }
}

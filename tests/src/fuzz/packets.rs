//! Any bytes, in any pieces, as the stream of an SFTP channel: what the engine reads is what `wire.rs` reads, however the
//! stream is cut, and what it holds meanwhile is bounded. Opens no file.

use bytes::Bytes;
use landfall::sftp::bare::{Stream, Understood};
use landfall_storage::VirtualPath;

use super::wire::{self, Asked, Wire};

/// Behind this byte of the input stands how many KiB of a letter to put into the stream: inputs are short, packets long.
const MUCH: u8 = 0xf5;
/// A packet and its length: more is not held, whatever comes.
const MAX_HELD_BYTES: usize = 256 * 1024 + 4;
/// A piece for so many bytes, and a few.
const BYTES_PER_PIECE: usize = 1024;
const PIECES: usize = 4;

/// The first byte says how many of the next ones are sizes of pieces, in turn; the rest is the stream.
pub fn check(input: &[u8]) {
    let Some((count, rest)) = input.split_first() else { return };
    let (sizes, rest) = rest.split_at(usize::from(count % 8).min(rest.len()));
    let stream = unpacked(rest);
    let (expected, sense) = Wire::default().push(&stream);
    let whole = [stream.len().max(1)];
    let sizes: Vec<usize> = sizes.iter().map(|size| 1 + usize::from(*size).pow(2)).collect();
    let cuts: [&[usize]; 3] = [&whole, &[1, 7], &sizes];
    let mut before: Option<(Vec<Understood>, Option<String>)> = None;
    for cut in cuts.into_iter().filter(|cut| !cut.is_empty()) {
        // One by one only where that does not take for ever.
        let cut = if cut[0] == 1 && stream.len() > 20_000 { &whole } else { cut };
        let (found, fault) = engine(&stream, cut);
        fits(&found, fault.as_deref(), &expected, sense);
        let now = (found, fault);
        assert!(before.is_none_or(|before| before == now), "cut into {cut:?} it is something else");
        before = Some(now);
    }
}

fn unpacked(input: &[u8]) -> Vec<u8> {
    let (mut stream, mut bytes) = (Vec::new(), input.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            &MUCH => {
                let kib = bytes.next().copied().unwrap_or(0);
                stream.extend(std::iter::repeat_n(kib, usize::from(kib) * 1024));
            }
            byte => stream.push(*byte),
        }
    }
    stream
}

fn engine(stream: &[u8], sizes: &[usize]) -> (Vec<Understood>, Option<String>) {
    let (mut engine, mut found, mut rest) = (Stream::default(), Vec::new(), stream);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at((*size).min(rest.len()));
        match engine.push(Bytes::copy_from_slice(piece)) {
            Ok(packets) => found.extend(packets),
            Err((packets, fault)) => {
                found.extend(packets);
                return (found, Some(fault));
            }
        }
        let (bytes, pieces) = engine.held();
        assert!(bytes < MAX_HELD_BYTES, "{bytes} bytes are held");
        assert!(pieces <= PIECES + bytes / BYTES_PER_PIECE, "{bytes} bytes in {pieces} pieces");
        rest = later;
    }
    (found, None)
}

/// The same requests, in the same order, to the same end.
fn fits(found: &[Understood], fault: Option<&str>, expected: &[Asked], sense: bool) {
    for (number, asked) in expected.iter().enumerate() {
        let Some(understood) = found.get(number) else {
            // Its fields may have made no sense to the engine, which knows their layout.
            assert!(!asked.known && fault.is_some(), "not seen: {asked:?}, {fault:?}");
            return;
        };
        request(understood, asked);
    }
    assert_eq!(found.len(), expected.len(), "{:?}", found.last());
    assert_eq!(fault.is_none(), sense, "{fault:?}");
}

fn request(understood: &Understood, asked: &Asked) {
    assert_eq!((understood.kind, understood.id), (asked.kind, asked.id));
    let says = |text: String| assert!(understood.request.contains(&text), "{understood:?} is not {asked:?}");
    match asked.kind {
        wire::WRITE => {
            let (handle, offset, data) = understood.write.as_ref().expect("a WRITE");
            assert_eq!((&handle[..], *offset, &data[..]), (asked.text(0), asked.number(1), asked.text(2)));
        }
        wire::CLOSE | wire::READ | wire::FSTAT | wire::FSETSTAT | wire::READDIR => {
            says(format!("{:?}", Bytes::copy_from_slice(asked.text(0))));
            if asked.kind == wire::READ {
                says(format!("offset: {}", asked.number(1)));
                says(format!("wanted_bytes: {}", asked.number(2)));
            }
        }
        wire::REALPATH if asked.text(0).is_empty() => says(format!("{:?}", VirtualPath::root())),
        wire::OPEN | 7 | 9 | wire::OPENDIR | 13..=18 => {
            says(format!("{:?}", VirtualPath::root().resolve_bytes(asked.text(0))));
            if let Some(size) = asked.size().filter(|_| asked.kind == wire::OPEN || asked.kind == 9) {
                says(format!("size: Some({size})"));
            }
        }
        _ => {}
    }
}

//! PNG: every chunk with its CRC up to IEND, and as much pixel data as the header promises. What follows IEND is nobody's
//! business. Compressed texts and profiles are never inflated.

use flate2::{Decompress, FlushDecompress, Status};

use super::Depth;
use super::fault::{Stop, Walked, missing, number, wrong};
use super::source::Window;

/// Inflated to see whether all pixels are there, at most. What a larger picture has beyond it is left to the CRCs.
const MAX_INFLATED_BYTES: u64 = 1_024 * 1_024 * 1_024;
/// Inflated at once, in bytes.
const PIECE_BYTES: usize = 32 * 1_024;
/// Inflated between two looks at the deadline, in bytes.
const TICK_BYTES: u64 = 16 * 1_024 * 1_024;
/// Length, type and CRC of a chunk, in bytes.
const FRAME_BYTES: u64 = 12;
/// Largest length of a chunk and largest side (PNG, 7.1).
const MAX_U31: u32 = 0x7fff_ffff;

/// From the signature to IEND.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth, pixels: &mut Option<(u32, u32)>) -> Walked {
    let mut offset = 8;
    let mut data: Option<Data> = None;
    loop {
        let head = window.array::<8>(offset);
        let [l3, l2, l1, l0, name @ ..] = match head {
            Err(Stop::End { .. }) => return cut_short(window, data.as_ref()),
            head => head?,
        };
        let length = u32::from_be_bytes([l3, l2, l1, l0]);
        let chunk = Chunk { name, offset, length };
        if length > MAX_U31 || !name.iter().all(u8::is_ascii_alphabetic) {
            return wrong(format!("PNG has something that is no chunk at byte {}", number(offset)));
        }
        match (&name, &data) {
            (b"IHDR", None) if length == 13 => {
                let header = window.array::<13>(offset + 8)?;
                *pixels = Some(size(header)?);
                data = Some(Data::new(header)?);
            }
            (b"IHDR", Some(_)) => return wrong("PNG has a second header"),
            (_, None) => return wrong("PNG does not begin with its header"),
            _ => {}
        }
        if depth == Depth::Type {
            return Ok(());
        }
        let data = data.as_mut();
        match chunk.check(window, data) {
            Err(Stop::End { .. }) => within(window, &chunk)?,
            checked => checked?,
        }
        offset += FRAME_BYTES + u64::from(length);
        if &name == b"IEND" {
            break;
        }
    }
    match data {
        Some(data) => data.end(),
        None => Ok(()),
    }
}

fn within(window: &Window<'_>, chunk: &Chunk) -> Walked {
    let (name, at, size) = (chunk.name(), number(chunk.offset), number(window.size()));
    missing(format!("PNG ends at byte {size}, within its chunk {name} from byte {at} on"))
}

fn cut_short(window: &Window<'_>, data: Option<&Data>) -> Walked {
    let size = number(window.size());
    match data {
        None => missing(format!("PNG ends at byte {size}, within its header")),
        Some(data) if data.is_whole() => missing(format!("PNG ends at byte {size}, without its chunk IEND")),
        Some(data) => missing(format!("PNG ends at byte {size}, after {} % of its pixel data", data.percent())),
    }
}

fn size(header: [u8; 13]) -> Walked<(u32, u32)> {
    let [w3, w2, w1, w0, h3, h2, h1, h0, ..] = header;
    let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    if width == 0 || height == 0 || width > MAX_U31 || height > MAX_U31 {
        return wrong("PNG has a width or height that it cannot have");
    }
    Ok((width, height))
}

struct Chunk {
    name: [u8; 4],
    offset: u64,
    length: u32,
}

impl Chunk {
    fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// Its CRC; and its pixel data, if it has some, are inflated.
    fn check(&self, window: &mut Window<'_>, mut data: Option<&mut Data>) -> Walked {
        let mut digest = crc32fast::Hasher::new();
        digest.update(&self.name);
        let mut offset = self.offset + 8;
        let end = offset + u64::from(self.length);
        if end + 4 > window.size() {
            if let (b"IDAT", Some(data)) = (&self.name, data) {
                // Tells how far it came.
                while offset < window.size().min(end) {
                    offset += data.take(window, offset, end)?;
                }
                let (size, share) = (number(window.size()), data.percent());
                return missing(format!("PNG ends at byte {size}, after {share} % of its pixel data"));
            }
            return Err(Stop::End { needed: end + 4 });
        }
        // Bytes that were changed on the way break the pixel data, too; the CRC is the better reason.
        let mut broken = None;
        while offset < end {
            let some = window.some(offset)?;
            let some = &some[..some.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX))];
            if some.is_empty() {
                return Err(Stop::End { needed: end });
            }
            digest.update(some);
            let taken = some.len() as u64;
            if let (b"IDAT", Some(data), None) = (&self.name, data.as_deref_mut(), &broken) {
                match data.take(window, offset, offset + taken) {
                    Err(Stop::Fault(fault)) => broken = Some(fault),
                    taken => drop(taken?),
                }
            }
            offset += taken;
        }
        if digest.finalize() != window.u32(end)? {
            let (name, at) = (self.name(), number(self.offset));
            return missing(format!("PNG chunk {name} at byte {at} has a wrong CRC"));
        }
        broken.map_or(Ok(()), |fault| Err(Stop::Fault(fault)))
    }
}

/// The stream of pixels.
struct Data {
    inflater: Decompress,
    out: Vec<u8>,
    /// What the header promises, in bytes.
    whole: u64,
    came: bool,
    ended: bool,
    ticked: u64,
}

impl Data {
    fn new(header: [u8; 13]) -> Walked<Self> {
        let (width, height) = size(header)?;
        let samples: u64 = match (header[9], header[8]) {
            (0, 1 | 2 | 4 | 8 | 16) | (3, 1 | 2 | 4 | 8) => 1,
            (2, 8 | 16) => 3,
            (4, 8 | 16) => 2,
            (6, 8 | 16) => 4,
            (colour, bits) => {
                return wrong(format!("PNG has {bits} bits of colour type {colour}, which do not go together"));
            }
        };
        let bits = samples * u64::from(header[8]);
        let (width, height) = (u64::from(width), u64::from(height));
        let pass = |width: u64, height: u64| -> u64 {
            if width == 0 { 0 } else { ((width * bits).div_ceil(8) + 1).saturating_mul(height) }
        };
        let whole = match header[12] {
            0 => pass(width, height),
            1 => {
                // First column and row of each of Adam7's passes, and the steps between them.
                let passes =
                    [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)];
                let part = |all: u64, first: u64, step: u64| all.saturating_sub(first).div_ceil(step);
                let bytes = passes.map(|(x, dx, y, dy)| pass(part(width, x, dx), part(height, y, dy)));
                bytes.into_iter().fold(0, u64::saturating_add)
            }
            _ => return wrong("PNG is interlaced in a way that nobody knows"),
        };
        let inflater = Decompress::new(true);
        Ok(Self { inflater, out: vec![0; PIECE_BYTES], whole, came: false, ended: false, ticked: 0 })
    }

    fn is_whole(&self) -> bool {
        self.inflater.total_out() >= self.whole.min(MAX_INFLATED_BYTES)
    }

    fn percent(&self) -> u64 {
        let share = u128::from(self.inflater.total_out()) * 100 / u128::from(self.whole.max(1));
        u64::try_from(share).unwrap_or(99).min(99)
    }

    /// Inflates what the window has from `offset` on, up to `end`; so many bytes were taken.
    fn take(&mut self, window: &mut Window<'_>, offset: u64, end: u64) -> Walked<u64> {
        let length = window.some(offset)?.len() as u64;
        let length = length.min(end - offset);
        self.came |= length > 0;
        let mut taken = 0;
        while taken < length && !self.is_whole() {
            let input = &window.ahead(offset + taken)[..usize::try_from(length - taken).unwrap_or(0)];
            let (before, produced) = (self.inflater.total_in(), self.inflater.total_out());
            let status = self.inflater.decompress(input, &mut self.out, FlushDecompress::None);
            taken += self.inflater.total_in() - before;
            let stuck = self.inflater.total_in() == before && self.inflater.total_out() == produced;
            match status {
                Err(_) => {
                    let at = number(offset + taken);
                    return wrong(format!("PNG has pixel data that cannot be inflated, near byte {at}"));
                }
                Ok(Status::StreamEnd) => self.ended = true,
                Ok(Status::Ok | Status::BufError) if !stuck => {}
                Ok(_) => break,
            }
            if self.ended && !self.is_whole() {
                return missing(format!("PNG has only {} % of its pixel data", self.percent()));
            }
            if self.inflater.total_out() - self.ticked > TICK_BYTES {
                self.ticked = self.inflater.total_out();
                window.tick()?;
            }
        }
        Ok(length)
    }

    fn end(&self) -> Walked {
        if !self.came {
            return missing("PNG has no pixel data");
        }
        if !self.is_whole() {
            return missing(format!("PNG has only {} % of its pixel data before its end", self.percent()));
        }
        Ok(())
    }
}

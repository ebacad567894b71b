//! GIF: blocks up to the trailer, and as many pixels in each frame as it says. Counts what the codes stand for, without
//! looking at a colour.

use super::Depth;
use super::fault::{Stop, Walked, missing, number, wrong};
use super::source::Window;

/// Frames of one file; more are an attack.
const MAX_FRAMES: u64 = 20_000;
/// Pixels that are counted in all; beyond them only blocks are looked at.
const MAX_COUNTED_PIXELS: u64 = 4 * 1_024 * 1_024 * 1_024;
const CODES: usize = 4_096;

/// From the header to the trailer.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth, pixels: &mut Option<(u32, u32)>) -> Walked {
    let screen = window.array::<13>(0)?;
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]));
    let (width, height) = (side(screen[6], screen[7]), side(screen[8], screen[9]));
    if width > 0 && height > 0 {
        *pixels = Some((width, height));
    }
    if depth == Depth::Type {
        return Ok(());
    }
    let mut frames = Frames { count: 0, counted: 0, lengths: vec![0; CODES] };
    match blocks(window, 13 + colours(screen[10]), &mut frames) {
        Err(Stop::End { .. }) if frames.count == 0 => {
            missing(format!("GIF ends at byte {}, before its first picture", number(window.size())))
        }
        Err(Stop::End { .. }) => missing(format!(
            "GIF ends at byte {}, in or after picture {}, without its trailer",
            number(window.size()),
            frames.count
        )),
        walked => walked,
    }
}

/// Bytes of the table that the flags tell of.
fn colours(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

struct Frames {
    count: u64,
    counted: u64,
    /// By code, how many pixels it stands for.
    lengths: Vec<u32>,
}

fn blocks(window: &mut Window<'_>, mut offset: u64, frames: &mut Frames) -> Walked {
    loop {
        match window.u8(offset)? {
            b'!' => offset = sub_blocks(window, offset + 2)?,
            b',' => offset = frame(window, offset, frames)?,
            b';' if frames.count == 0 => return missing("GIF has no picture before its trailer"),
            b';' => return Ok(()),
            // Encoders have been seen to leave a terminator too much.
            0 => offset += 1,
            _ => return wrong(format!("GIF has something that is no block at byte {}", number(offset))),
        }
    }
}

/// Past the terminator.
fn sub_blocks(window: &mut Window<'_>, mut offset: u64) -> Walked<u64> {
    loop {
        let length = window.u8(offset)?;
        offset += 1 + u64::from(length);
        if length == 0 {
            return Ok(offset);
        }
    }
}

fn frame(window: &mut Window<'_>, offset: u64, frames: &mut Frames) -> Walked<u64> {
    let head = window.array::<10>(offset)?;
    frames.count += 1;
    if frames.count > MAX_FRAMES {
        return wrong(format!("GIF has more than {} pictures", number(MAX_FRAMES)));
    }
    window.tick()?;
    let side = |low, high| u64::from(u16::from_le_bytes([low, high]));
    let pixels = side(head[5], head[6]) * side(head[7], head[8]);
    let offset = offset + 10 + colours(head[9]);
    let least = window.u8(offset)?;
    if !(1..=11).contains(&least) {
        return wrong(format!("GIF has codes of {least} bits in picture {}", frames.count));
    }
    if frames.counted + pixels > MAX_COUNTED_PIXELS {
        return sub_blocks(window, offset + 1);
    }
    frames.counted += pixels;
    let mut codes = Codes::new(least, pixels, &mut frames.lengths);
    let mut at = offset + 1;
    let came = loop {
        let length = match window.u8(at) {
            Err(Stop::End { .. }) => break None,
            length => length?,
        };
        if length == 0 {
            break Some(at + 1);
        }
        let rest = window.size() - (at + 1);
        let there = usize::from(length).min(usize::try_from(rest).unwrap_or(usize::MAX));
        let block = window.at(at + 1, there)?;
        if !codes.done && codes.take(block).is_err() {
            return wrong(format!("GIF has broken codes in picture {}, near byte {}", frames.count, number(at)));
        }
        if there < usize::from(length) {
            break None;
        }
        at += 1 + u64::from(length);
    };
    let share = codes.pixels * 100 / pixels.max(1);
    match came {
        Some(next) if codes.pixels >= pixels => Ok(next),
        Some(_) => missing(format!("GIF has only {share} % of picture {}", frames.count)),
        None => missing(format!("GIF ends after {} % of picture {}", share.min(99), frames.count)),
    }
}

/// LZW, as far as lengths go.
struct Codes<'l> {
    lengths: &'l mut Vec<u32>,
    least: u32,
    width: u32,
    next: usize,
    previous: Option<usize>,
    held: u32,
    count: u32,
    pixels: u64,
    wanted: u64,
    done: bool,
}

impl<'l> Codes<'l> {
    fn new(least: u8, wanted: u64, lengths: &'l mut Vec<u32>) -> Self {
        let least = u32::from(least);
        for (code, length) in lengths.iter_mut().enumerate() {
            *length = u32::from(code < 1 << least);
        }
        let (width, next) = (least + 1, (1 << least) + 2);
        Self { lengths, least, width, next, previous: None, held: 0, count: 0, pixels: 0, wanted, done: false }
    }

    fn take(&mut self, block: &[u8]) -> Result<(), ()> {
        let (clear, end) = (1_usize << self.least, (1_usize << self.least) + 1);
        for byte in block {
            self.held |= u32::from(*byte) << self.count;
            self.count += 8;
            while self.count >= self.width {
                let code = (self.held & ((1 << self.width) - 1)) as usize;
                self.held >>= self.width;
                self.count -= self.width;
                if code == clear {
                    (self.width, self.next, self.previous) = (self.least + 1, clear + 2, None);
                    continue;
                }
                if code == end {
                    self.done = true;
                    return Ok(());
                }
                let length = match self.previous {
                    _ if code < clear => 1,
                    // The code that is being made now.
                    Some(previous) if code == self.next => self.lengths[previous] + 1,
                    Some(_) if code < self.next => self.lengths[code],
                    _ => return Err(()),
                };
                self.pixels += u64::from(length);
                if let Some(previous) = self.previous
                    && self.next < CODES
                {
                    self.lengths[self.next] = self.lengths[previous] + 1;
                    self.next += 1;
                    if self.next == 1 << self.width && self.width < 12 {
                        self.width += 1;
                    }
                }
                self.previous = Some(code);
                if self.pixels >= self.wanted {
                    self.done = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

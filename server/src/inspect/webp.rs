//! WebP: the RIFF length, and every chunk within it. The pixels of VP8 and VP8L are left to the decoder.

use super::Depth;
use super::fault::{Walked, missing, number, wrong};
use super::source::Window;

/// Chunks within one another: a file has chunks, and a frame of an animation has some.
const FRAME_HEADER_BYTES: u64 = 16;

/// From the RIFF header to the end that it says.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth, pixels: &mut Option<(u32, u32)>) -> Walked {
    let size = window.size();
    let said = u64::from(little(window, 4)?) + 8;
    let first = window.array::<4>(12)?;
    *pixels = match &first {
        b"VP8 " => {
            let head = window.array::<10>(20)?;
            if head[3..6] != [0x9d, 1, 0x2a] {
                return wrong("WebP has a picture without its start code");
            }
            let pixels_of = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Some((pixels_of(head[6], head[7]), pixels_of(head[8], head[9])))
        }
        b"VP8L" => {
            let head = window.array::<5>(20)?;
            if head[0] != 0x2f {
                return wrong("WebP has a picture without its signature");
            }
            let bits = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let head = window.array::<10>(20)?;
            let pixels_of = |low: &[u8]| (u32::from(low[0]) | u32::from(low[1]) << 8 | u32::from(low[2]) << 16) + 1;
            Some((pixels_of(&head[4..7]), pixels_of(&head[7..10])))
        }
        _ => return wrong("WebP does not begin with a picture or a header"),
    };
    if depth == Depth::Type {
        return Ok(());
    }
    if said > size {
        return missing(format!("WebP says {} bytes and has {}", number(said), number(size)));
    }
    let mut seen = false;
    chunks(window, 12, said, &mut |window, name, content, end| {
        match name {
            b"VP8 " | b"VP8L" => {
                picture(window, *name, content, end)?;
                seen = true;
            }
            b"ANMF" => {
                let inner = content + FRAME_HEADER_BYTES;
                let mut here = false;
                chunks(window, inner.min(end), end, &mut |window, name, content, end| {
                    if matches!(name, b"VP8 " | b"VP8L") {
                        picture(window, *name, content, end)?;
                        here = true;
                    }
                    Ok(())
                })?;
                if !here {
                    return missing("WebP has a frame without a picture");
                }
                seen = true;
            }
            _ => {}
        }
        Ok(())
    })?;
    if seen { Ok(()) } else { missing("WebP has no picture") }
}

type Each<'e> = dyn FnMut(&mut Window<'_>, &[u8; 4], u64, u64) -> Walked + 'e;

/// Tells of each chunk its name, where its content begins and where that ends.
fn chunks(window: &mut Window<'_>, mut offset: u64, end: u64, each: &mut Each<'_>) -> Walked {
    // A last byte of padding may be missing, and less than a header may be left.
    while offset + 8 <= end {
        let name = window.array::<4>(offset)?;
        let length = u64::from(little(window, offset + 4)?);
        let content = offset + 8;
        if content + length > end {
            let name = String::from_utf8_lossy(&name).trim().escape_default().to_string();
            let (length, has) = (number(length), number(end - content));
            return missing(format!("WebP chunk {name} says {length} bytes and has {has}"));
        }
        each(window, &name, content, content + length)?;
        offset = content + length + length % 2;
    }
    Ok(())
}

/// A key frame says how long its first partition is, which holds what is needed for all others.
fn picture(window: &mut Window<'_>, name: [u8; 4], content: u64, end: u64) -> Walked {
    let short = || missing("WebP has a picture that is shorter than its own header says");
    if &name == b"VP8L" {
        return if end - content < 5 { short() } else { Ok(()) };
    }
    if end - content < 10 {
        return short();
    }
    let tag = window.array::<3>(content)?;
    let tag = u64::from(tag[0]) | u64::from(tag[1]) << 8 | u64::from(tag[2]) << 16;
    if content + 10 + (tag >> 5) > end { short() } else { Ok(()) }
}

fn little(window: &mut Window<'_>, offset: u64) -> Walked<u32> {
    window.u32(offset).map(u32::swap_bytes)
}

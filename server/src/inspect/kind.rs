//! What a file is by its first bytes, never by its name. Knows how formats begin, nothing of what follows.

use landfall_auth::ContentType;

use super::fault::Walked;
use super::source::Window;
use super::{csv, isobmff};

/// A PDF may have anything before its header, so many bytes at most (ISO 32000, annex H).
const PDF_HEADER_WITHIN_BYTES: usize = 1_024;

/// `None`: nothing that has a name here.
pub(super) fn of(window: &mut Window<'_>) -> Walked<Option<ContentType>> {
    let head = window.some(0)?;
    let head = &head[..head.len().min(PDF_HEADER_WITHIN_BYTES + 4)];
    let kind = match head {
        [0xff, 0xd8, 0xff, ..] => ContentType::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => ContentType::Png,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => ContentType::Gif,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ContentType::Webp,
        [b'I', b'I', 42, 0, ..]
        | [b'M', b'M', 0, 42, ..]
        | [b'I', b'I', 43, 0, 8, 0, 0, 0, ..]
        | [b'M', b'M', 0, 43, 0, 8, 0, 0, ..] => ContentType::Tiff,
        // A first entry; the end of an empty archive; the mark of one that was made in several volumes.
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, b'P', b'K', ..] => ContentType::Zip,
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => return isobmff::kind(window),
        head if head.windows(5).any(|five| five == b"%PDF-") => ContentType::Pdf,
        _ => return Ok(csv::is_csv(window)?.then_some(ContentType::Csv)),
    };
    Ok(Some(kind))
}

//! CSV, which has no header: text whose first records all have as many separators. Not UTF-16, which other programs' "Unicode
//! text" is.
//!
//! Text is UTF-8 or a character set of one byte (Latin-1, Windows-1252), without NUL and other control characters than
//! line ends and tabulators. One of `,` `;` tabulator `|` has to stand at least once in each of the first records, outside of
//! quotes and equally often, and there have to be two records: one line of prose has commas, too.

use super::Depth;
use super::fault::{Walked, missing, number, wrong};
use super::source::{MAX_PIECE_BYTES, Window};

/// Records that are compared, at most, within the first `MAX_PIECE_BYTES`.
const COMPARED_RECORDS: usize = 32;
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Is it one?
pub(super) fn is_csv(window: &mut Window<'_>) -> Walked<bool> {
    let length = usize::try_from(window.size()).map_or(MAX_PIECE_BYTES, |size| size.min(MAX_PIECE_BYTES));
    let whole = length as u64 == window.size();
    let text = window.at(0, length)?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.iter().any(|byte| is_control(*byte)) {
        return Ok(false);
    }
    Ok(SEPARATORS.iter().any(|separator| agrees(text, *separator, whole)))
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n')) || byte == 0x7f
}

fn agrees(text: &[u8], separator: u8, whole: bool) -> bool {
    let (mut quoted, mut count, mut filled) = (false, 0_usize, false);
    let mut records = 0;
    let mut first = None;
    let end = if whole { Some(b'\n') } else { None };
    for byte in text.iter().copied().chain(end) {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => {
                // Empty lines are left out, by spreadsheets too.
                if filled {
                    if count == 0 || *first.get_or_insert(count) != count {
                        return false;
                    }
                    records += 1;
                    if records == COMPARED_RECORDS {
                        return true;
                    }
                }
                (count, filled) = (0, false);
                continue;
            }
            byte if byte == separator && !quoted => count += 1,
            _ => {}
        }
        filled |= byte != b'\r';
    }
    records >= 2
}

/// Text up to its end, and every quote closed.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth) -> Walked {
    if depth == Depth::Type {
        return Ok(());
    }
    let (mut offset, mut quoted) = (0, false);
    while offset < window.size() {
        let some = window.some(offset)?;
        if some.is_empty() {
            break;
        }
        for (byte, at) in some.iter().zip(offset..) {
            quoted ^= *byte == b'"';
            if is_control(*byte) {
                return wrong(format!("CSV has a control character at byte {}", number(at)));
            }
        }
        offset += some.len() as u64;
    }
    if quoted { missing("CSV ends within a quoted field") } else { Ok(()) }
}

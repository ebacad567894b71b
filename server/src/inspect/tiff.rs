//! TIFF and BigTIFF: the chain of directories, and every strip and tile within the file. Directories in directories (SubIFDs,
//! EXIF) are left out; what the strips hold is left to the decoder.

use std::collections::HashSet;

use super::Depth;
use super::fault::{Stop, Walked, missing, number, wrong};
use super::source::Window;

/// Pages of a file; more are an attack.
const MAX_DIRECTORIES: usize = 10_000;
/// Entries of a BigTIFF's directory; 16 bits bound the others'.
const MAX_ENTRIES: u64 = 65_535;
/// Strips and tiles of all pages; more are an attack.
const MAX_PIECES: u64 = 4 * 1_024 * 1_024;

/// A pixel's colours stand side by side; otherwise each colour has planes of its own.
const TOGETHER: u64 = 1;

/// How numbers stand in this file.
#[derive(Clone, Copy)]
struct Form {
    little: bool,
    big: bool,
}

/// An entry: how many values of which size, and where they stand.
#[derive(Clone, Copy)]
struct Values {
    bytes: u64,
    count: u64,
    at: u64,
}

/// A page, as far as it is looked at.
#[derive(Default)]
struct Page {
    width: Option<Values>,
    height: Option<Values>,
    offsets: Option<Values>,
    lengths: Option<Values>,
    planes: Option<Values>,
    tiled: bool,
}

/// From directory to directory.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth, pixels: &mut Option<(u32, u32)>) -> Walked {
    let form = Form::of(window)?;
    let mut next = form.first(window)?;
    let mut seen = HashSet::new();
    let mut pieces = 0;
    while next != 0 {
        let (page, after) = match form.page(window, next) {
            Err(Stop::End { .. }) => {
                let (size, at) = (number(window.size()), number(next));
                return missing(format!(
                    "TIFF ends at byte {size}, before the end of what its directory at byte {at} says"
                ));
            }
            page => page?,
        };
        if !seen.insert(next) || seen.len() > MAX_DIRECTORIES {
            return wrong("TIFF has directories without end");
        }
        if seen.len() == 1 {
            *pixels = form.size(window, &page)?;
            if depth == Depth::Type {
                return Ok(());
            }
            if page.offsets.is_none() {
                return missing("TIFF has no picture in its first directory");
            }
        }
        window.tick()?;
        form.check(window, &page, seen.len(), &mut pieces)?;
        next = after;
    }
    if seen.is_empty() { missing("TIFF has no directory") } else { Ok(()) }
}

/// Does its first page have tiles, and a tile's colours apart from one another? Of a file that `walk` accepted.
pub(super) fn has_tiled_planes(window: &mut Window<'_>) -> Walked<bool> {
    let form = Form::of(window)?;
    let first = form.first(window)?;
    let (page, _) = form.page(window, first)?;
    let planes = page.planes.map_or(Ok(TOGETHER), |planes| form.value(window, planes, 0))?;
    Ok(page.tiled && planes != TOGETHER)
}

impl Form {
    fn of(window: &mut Window<'_>) -> Walked<Self> {
        let head = window.array::<4>(0)?;
        Ok(Self { little: head[0] == b'I', big: head.contains(&43) })
    }

    /// Where the first directory stands.
    fn first(self, window: &mut Window<'_>) -> Walked<u64> {
        if self.big { self.number(window, 8, 8) } else { self.number(window, 4, 4) }
    }

    fn number(self, window: &mut Window<'_>, offset: u64, bytes: u64) -> Walked<u64> {
        let piece = window.at(offset, usize::try_from(bytes).unwrap_or(8))?;
        let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Ok(if self.little { piece.iter().rev().fold(0, add) } else { piece.iter().fold(0, add) })
    }

    /// A directory, and where the next one stands; 0: there is none.
    fn page(self, window: &mut Window<'_>, at: u64) -> Walked<(Page, u64)> {
        let (count_bytes, word, entry_bytes) = if self.big { (8, 8, 20) } else { (2, 4, 12) };
        let count = self.number(window, at, count_bytes)?;
        if count > MAX_ENTRIES {
            return wrong(format!("TIFF has {} entries in a directory", number(count)));
        }
        let first = at.saturating_add(count_bytes);
        let mut page = Page::default();
        for index in 0..count {
            let entry = first.saturating_add(index * entry_bytes);
            let (tag, kind) = (self.number(window, entry, 2)?, self.number(window, entry + 2, 2)?);
            let (count, inline) = (self.number(window, entry + 4, word)?, entry + 4 + word);
            let bytes = match kind {
                1 | 2 | 6 | 7 => 1,
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => continue,
            };
            let length = count.saturating_mul(bytes);
            let at = if length <= word { inline } else { self.number(window, inline, word)? };
            if at.saturating_add(length) > window.size() {
                return Err(Stop::End { needed: at.saturating_add(length) });
            }
            let place = match tag {
                256 => &mut page.width,
                257 => &mut page.height,
                273 | 324 => &mut page.offsets,
                279 | 325 => &mut page.lengths,
                284 => &mut page.planes,
                _ => continue,
            };
            page.tiled |= tag == 324;
            *place = (count > 0 && matches!(kind, 1 | 3 | 4 | 13 | 16 | 18)).then_some(Values { bytes, count, at });
        }
        let next = self.number(window, first.saturating_add(count * entry_bytes), word)?;
        Ok((page, next))
    }

    fn size(self, window: &mut Window<'_>, page: &Page) -> Walked<Option<(u32, u32)>> {
        let (Some(width), Some(height)) = (page.width, page.height) else { return Ok(None) };
        let (width, height) = (self.value(window, width, 0)?, self.value(window, height, 0)?);
        let both = (u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0));
        Ok((both.0 > 0 && both.1 > 0).then_some(both))
    }

    fn value(self, window: &mut Window<'_>, values: Values, index: u64) -> Walked<u64> {
        self.number(window, values.at.saturating_add(index * values.bytes), values.bytes)
    }

    /// Every strip or tile of a page. Two windows: offsets and lengths stand apart from one another.
    fn check(self, window: &mut Window<'_>, page: &Page, index: usize, pieces: &mut u64) -> Walked {
        let (Some(offsets), size) = (page.offsets, window.size()) else { return Ok(()) };
        let lengths = page.lengths.filter(|lengths| lengths.count >= offsets.count);
        *pieces = pieces.saturating_add(offsets.count);
        if *pieces > MAX_PIECES {
            return wrong(format!("TIFF has more than {} strips and tiles", number(MAX_PIECES)));
        }
        for values in [Some(offsets), lengths].into_iter().flatten() {
            let end = values.at.saturating_add(values.count.saturating_mul(values.bytes));
            if end > size {
                let (size, end) = (number(size), number(end));
                return missing(format!("TIFF ends at byte {size}, before its list of strips ends at byte {end}"));
            }
        }
        let mut other = window.another();
        let (mut there, mut all) = (0_u128, 0_u128);
        for piece in 0..offsets.count {
            let offset = self.value(window, offsets, piece)?;
            let length = match lengths {
                Some(lengths) => self.value(&mut other, lengths, piece)?,
                None => 1,
            };
            all += u128::from(length);
            there += u128::from(length.min(size.saturating_sub(offset)));
        }
        if there < all {
            let share = there * 100 / all.max(1);
            let page = if index == 1 { "its picture".to_owned() } else { format!("picture {index}") };
            return missing(format!("TIFF has {share} % of the data of {page}, and ends at byte {}", number(size)));
        }
        Ok(())
    }
}

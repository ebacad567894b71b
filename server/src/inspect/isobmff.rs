//! AVIF and HEIC: the boxes of ISO/IEC 14496-12, and every extent of every item (`iloc`) within the file. The coded pictures
//! themselves are not looked at, neither here nor by the decoder.

use landfall_auth::ContentType;

use super::Depth;
use super::fault::{Walked, missing, number, wrong};
use super::source::Window;

/// Brands that are looked at, at most.
const MAX_BRANDS: u64 = 64;
/// Properties whose sizes are remembered, at most.
const MAX_PROPERTIES: usize = 4_096;

/// A box.
struct Bmff {
    name: [u8; 4],
    content: u64,
    end: u64,
}

/// By its brands; `None`: a film, or something that has no name here.
pub(super) fn kind(window: &mut Window<'_>) -> Walked<Option<ContentType>> {
    let length = u64::from(window.u32(0)?);
    let brands = (length.saturating_sub(8) / 4).min(MAX_BRANDS);
    for brand in 0..brands {
        // After the major brand comes its version.
        let kind = match &window.array::<4>(8 + brand * 4)? {
            b"avif" | b"avis" => ContentType::Avif,
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" => ContentType::Heic,
            _ => continue,
        };
        return Ok(Some(kind));
    }
    Ok(None)
}

/// What `meta` says.
#[derive(Default)]
struct Meta {
    primary: Option<u64>,
    /// By property's number, from 1 on.
    sizes: Vec<Option<(u32, u32)>>,
    /// Properties of the primary item.
    properties: Vec<usize>,
    items: Option<(u64, u64)>,
    data: Option<(u64, u64)>,
}

/// From box to box.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth, pixels: &mut Option<(u32, u32)>) -> Walked {
    let title = kind(window)?.unwrap_or(ContentType::Heic).title();
    let (mut offset, size) = (0, window.size());
    let (mut meta, mut film, mut data) = (None, false, false);
    while offset < size {
        let Some(found) = next(window, offset, size)? else {
            return missing(format!("{title} ends at byte {}, within a box's header", number(size)));
        };
        if &found.name == b"meta" && meta.is_none() && found.end <= size {
            let read = read_meta(window, &found)?;
            let of_primary = read.properties.iter().find_map(|place| read.sizes.get(place - 1).copied().flatten());
            *pixels = of_primary
                .or_else(|| read.sizes.iter().flatten().copied().max_by_key(|(w, h)| u64::from(*w) * u64::from(*h)));
            if depth == Depth::Type {
                return Ok(());
            }
            meta = Some(read);
        }
        film |= &found.name == b"moov";
        data |= matches!(&found.name, b"mdat");
        if found.end > size {
            let name = String::from_utf8_lossy(&found.name).escape_default().to_string();
            let (there, all) = (size - offset, found.end - offset);
            let share = u128::from(there) * 100 / u128::from(all.max(1));
            return missing(format!("{title} ends after {share} % of its box {name}, at byte {}", number(size)));
        }
        offset = found.end;
    }
    if depth == Depth::Type {
        return Ok(());
    }
    match meta {
        Some(meta) if meta.items.is_some() => extents(window, &meta, title),
        _ if film && data => Ok(()),
        _ => missing(format!("{title} has no picture")),
    }
}

/// The box at `offset`; `None`: not even its header is there. Its end may be beyond `limit`.
fn next(window: &mut Window<'_>, offset: u64, limit: u64) -> Walked<Option<Bmff>> {
    if offset + 8 > limit {
        return Ok(None);
    }
    let (length, name) = (u64::from(window.u32(offset)?), window.array::<4>(offset + 4)?);
    let (head, length) = match length {
        0 => (8, limit - offset),
        1 if offset + 16 > limit => return Ok(None),
        1 => (16, window.u64(offset + 8)?),
        length => (8, length),
    };
    if length < head {
        return wrong(format!("box at byte {} is shorter than its own header", number(offset)));
    }
    Ok(Some(Bmff { name, content: offset + head, end: offset.saturating_add(length) }))
}

/// Tells of every box within another.
fn each(
    window: &mut Window<'_>,
    start: u64,
    end: u64,
    visit: &mut dyn FnMut(&mut Window<'_>, &Bmff) -> Walked,
) -> Walked {
    let mut offset = start;
    while offset < end {
        match next(window, offset, end)? {
            Some(found) if found.end <= end => {
                visit(window, &found)?;
                offset = found.end;
            }
            _ => return wrong(format!("box at byte {} does not fit into the one around it", number(offset))),
        }
    }
    Ok(())
}

fn read_meta(window: &mut Window<'_>, around: &Bmff) -> Walked<Meta> {
    let mut meta = Meta::default();
    let mut associations = None;
    each(window, around.content.saturating_add(4), around.end, &mut |window, found| {
        match &found.name {
            b"pitm" => {
                let wide = window.u8(found.content)? > 0;
                let at = found.content + 4;
                meta.primary = Some(if wide { u64::from(window.u32(at)?) } else { u64::from(window.u16(at)?) });
            }
            b"iloc" => meta.items = Some((found.content, found.end)),
            b"idat" => meta.data = Some((found.content, found.end)),
            b"iprp" => each(window, found.content, found.end, &mut |window, inner| {
                match &inner.name {
                    b"ipco" => each(window, inner.content, inner.end, &mut |window, property| {
                        let size = if &property.name == b"ispe" && property.end >= property.content + 12 {
                            Some((window.u32(property.content + 4)?, window.u32(property.content + 8)?))
                        } else {
                            None
                        };
                        if meta.sizes.len() < MAX_PROPERTIES {
                            meta.sizes.push(size);
                        }
                        Ok(())
                    })?,
                    b"ipma" if associations.is_none() => associations = Some((inner.content, inner.end)),
                    _ => {}
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    if let (Some(primary), Some((start, end))) = (meta.primary, associations) {
        meta.properties = properties(window, primary, start, end)?;
    }
    Ok(meta)
}

/// The numbers of an item's properties, from 1 on.
fn properties(window: &mut Window<'_>, item: u64, start: u64, end: u64) -> Walked<Vec<usize>> {
    let mut cursor = Cursor { window, at: start, end };
    let (wide_items, wide_places) = (cursor.number(1)? > 0, cursor.number(3)? & 1 != 0);
    for _ in 0..cursor.number(4)? {
        let this = cursor.number(if wide_items { 4 } else { 2 })?;
        let mut places = Vec::new();
        for _ in 0..cursor.number(1)? {
            let place = if wide_places { cursor.number(2)? & 0x7fff } else { cursor.number(1)? & 0x7f };
            places.extend(usize::try_from(place).ok().filter(|place| *place > 0));
        }
        if this == item {
            return Ok(places);
        }
    }
    Ok(Vec::new())
}

/// Numbers one after the other, within a box.
struct Cursor<'c, 'a> {
    window: &'c mut Window<'a>,
    at: u64,
    end: u64,
}

impl Cursor<'_, '_> {
    /// Of up to 8 bytes; none is 0.
    fn number(&mut self, bytes: u64) -> Walked<u64> {
        let next = self.at.saturating_add(bytes);
        if next > self.end {
            return wrong(format!("box that ends at byte {} is shorter than its own numbers say", number(self.end)));
        }
        let piece = self.window.at(self.at, usize::try_from(bytes).unwrap_or_default())?;
        let value = piece.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        self.at = next;
        Ok(value)
    }
}

/// Every extent of every item.
fn extents(window: &mut Window<'_>, meta: &Meta, title: &str) -> Walked {
    let (Some((start, end)), size) = (meta.items, window.size()) else { return Ok(()) };
    let embedded = meta.data.map_or(0, |(start, end)| end - start);
    let mut cursor = Cursor { window, at: start, end };
    let version = cursor.number(1)?;
    cursor.number(3)?;
    let sizes = cursor.number(2)?;
    let (offset_bytes, length_bytes, base_bytes) = (sizes >> 12 & 15, sizes >> 8 & 15, sizes >> 4 & 15);
    let index_bytes = if version > 0 { sizes & 15 } else { 0 };
    if [offset_bytes, length_bytes, base_bytes, index_bytes].iter().any(|bytes| !matches!(bytes, 0 | 4 | 8)) {
        return wrong(format!("{title} has a list of places that nobody can read"));
    }
    let wide = if version > 1 { 4 } else { 2 };
    for _ in 0..cursor.number(wide)? {
        let item = cursor.number(wide)?;
        let method = if version > 0 { cursor.number(2)? & 15 } else { 0 };
        let elsewhere = cursor.number(2)? != 0;
        let base = cursor.number(base_bytes)?;
        let count = cursor.number(2)?;
        // Extents of no size at all are one and the same.
        let count = if offset_bytes + length_bytes + index_bytes == 0 { count.min(1) } else { count };
        for _ in 0..count {
            cursor.number(index_bytes)?;
            let (offset, length) = (cursor.number(offset_bytes)?, cursor.number(length_bytes)?);
            let last = base.saturating_add(offset).saturating_add(length);
            let limit = match method {
                0 if !elsewhere => size,
                1 => embedded,
                _ => continue,
            };
            if last > limit {
                let (last, limit) = (number(last), number(limit));
                return missing(format!("{title} item {item} reaches to byte {last} of {limit}"));
            }
        }
    }
    Ok(())
}

//! JPEG (ITU-T T.81): segments from SOI to EOI, and in every Huffman-coded scan each block. Scans in arithmetic coding, of the
//! lossless processes, of hierarchical pictures and of pictures that say their height only afterwards (DNL) are searched for
//! markers alone. What follows EOI is nobody's business: MPO, thumbnails and vendors' data stand there.

use super::Depth;
use super::fault::{Walked, missing, number, wrong};
use super::huffman::{Bits, Hit, Table};
use super::scan::{self, Component, Header, MAX_BLOCKS, Part};
use super::source::Window;

/// More scans are an attack on those who decode them: each may cost a pass over the whole picture.
const MAX_SCANS: u32 = 500;
/// What a frame may have where its scans are walked through; others are searched for markers.
const MAX_COMPONENTS: usize = 4;

const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;

/// What was read so far.
#[derive(Default)]
struct Picture {
    /// Which process: the number of its SOF marker. 0: none came yet.
    process: u8,
    width: u32,
    height: u32,
    components: Vec<Component>,
    mcus: (u32, u32),
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    interval: u32,
    scans: u32,
    /// Of scans in which each block comes once: blocks that came.
    blocks: u64,
}

/// From SOI to EOI.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth, pixels: &mut Option<(u32, u32)>) -> Walked {
    let mut picture = Picture::default();
    let mut offset = 2;
    loop {
        let Some((marker, after)) = marker(window, offset)? else { return picture.cut_short(window, None) };
        offset = after;
        match marker {
            EOI if depth == Depth::Type => return Ok(()),
            EOI => return picture.end(),
            SOI => return wrong("JPEG begins a second time before it has ended"),
            0x01 => continue,
            marker if RESTARTS.contains(&marker) => continue,
            _ => {}
        }
        let whole = window.u16(offset).and_then(|length| window.at(offset, usize::from(length)));
        let Ok(segment) = whole else {
            // A failing disk says so again.
            window.some(offset)?;
            return picture.cut_short(window, Some(marker));
        };
        let Some(content) = segment.get(2..) else {
            return wrong(format!("JPEG has a segment of no length at byte {}", number(offset)));
        };
        let next = offset + segment.len() as u64;
        match marker {
            0xc4 => picture.tables(content)?,
            0xc0..=0xcf if marker != 0xc8 && marker != 0xcc => {
                picture.frame(marker, content)?;
                *pixels = picture.size().or(*pixels);
                if depth == Depth::Type {
                    return Ok(());
                }
            }
            0xdc if content.len() >= 2 && picture.height == 0 => {
                picture.height = u32::from(u16::from_be_bytes([content[0], content[1]]));
                *pixels = picture.size();
            }
            0xdd if content.len() >= 2 => picture.interval = u32::from(u16::from_be_bytes([content[0], content[1]])),
            SOS => {
                if depth == Depth::Type {
                    return Ok(());
                }
                let content = content.to_vec();
                offset = picture.scan(window, &content, next)?;
                continue;
            }
            _ => {}
        }
        offset = next;
    }
}

/// The next marker and where it ends. Decoders leave out what stands between two segments, and so do we.
fn marker(window: &mut Window<'_>, mut offset: u64) -> Walked<Option<(u8, u64)>> {
    let mut introduced = false;
    loop {
        let some = window.some(offset)?;
        if some.is_empty() {
            return Ok(None);
        }
        let mut taken = 0;
        for byte in some {
            taken += 1;
            match (introduced, byte) {
                (_, 0xff) => introduced = true,
                (true, 0) => introduced = false,
                (true, marker) => return Ok(Some((*marker, offset + taken))),
                (false, _) => {}
            }
        }
        offset += taken;
    }
}

impl Picture {
    fn size(&self) -> Option<(u32, u32)> {
        (self.width > 0 && self.height > 0).then_some((self.width, self.height))
    }

    fn frame(&mut self, process: u8, content: &[u8]) -> Walked {
        let [_precision, h1, h0, w1, w0, count, components @ ..] = content else {
            return wrong("JPEG has a frame header that is too short");
        };
        if self.process != 0 && self.size().is_some() {
            // Only hierarchical pictures have several frames; their scans are searched for markers.
            self.components.clear();
            return Ok(());
        }
        self.process = process;
        (self.height, self.width) = (u32::from(*h1) << 8 | u32::from(*h0), u32::from(*w1) << 8 | u32::from(*w0));
        if self.width == 0 {
            return wrong("JPEG has a width of 0 pixels");
        }
        if *count == 0 || components.len() < usize::from(*count) * 3 {
            return wrong("JPEG has a frame header that is too short");
        }
        let known = components.chunks_exact(3).take(usize::from(*count));
        let known = known.map(|three| (three[0], u32::from(three[1] >> 4), u32::from(three[1] & 15)));
        let known: Vec<_> = known.collect();
        if known.iter().any(|(_, horizontal, vertical)| !(1..=4).contains(horizontal) || !(1..=4).contains(vertical)) {
            return wrong("JPEG has a sampling factor that is not from 1 to 4");
        }
        let widest = known.iter().map(|(_, horizontal, _)| *horizontal).max().unwrap_or(1);
        let highest = known.iter().map(|(_, _, vertical)| *vertical).max().unwrap_or(1);
        self.mcus = (self.width.div_ceil(8 * widest), self.height.div_ceil(8 * highest));
        let (width, height, mcus) = (self.width, self.height, self.mcus);
        let component = |(id, horizontal, vertical): (u8, u32, u32)| Component {
            id,
            horizontal,
            vertical,
            columns: (width * horizontal).div_ceil(widest).div_ceil(8),
            rows: (height * vertical).div_ceil(highest).div_ceil(8),
            stride: mcus.0 * horizontal,
            ..Component::default()
        };
        self.components = known.into_iter().map(component).collect();
        let wanted = if self.is_progressive() { self.remember() } else { self.components.len() <= MAX_COMPONENTS };
        if self.height == 0 || !matches!(process, 0xc0..=0xc2) || !wanted {
            self.components.clear();
        }
        Ok(())
    }

    fn is_progressive(&self) -> bool {
        self.process == 0xc2
    }

    /// Room for what refining scans depend on, if that is within its bound.
    fn remember(&mut self) -> bool {
        let blocks = |component: &Component| {
            u64::from(component.stride) * u64::from(self.mcus.1) * u64::from(component.vertical)
        };
        if self.components.len() > MAX_COMPONENTS || self.components.iter().map(blocks).sum::<u64>() > MAX_BLOCKS {
            return false;
        }
        let sizes: Vec<_> = self.components.iter().map(blocks).collect();
        for (component, size) in self.components.iter_mut().zip(sizes) {
            component.nonzero = vec![0; usize::try_from(size).unwrap_or_default()];
        }
        true
    }

    fn tables(&mut self, mut content: &[u8]) -> Walked {
        while let Some((head, rest)) = content.split_first_chunk::<17>() {
            let counts: [u8; 16] = std::array::from_fn(|index| head[index + 1]);
            let count = counts.iter().map(|count| usize::from(*count)).sum();
            let (class, place) = (head[0] >> 4, usize::from(head[0] & 15));
            let parsed = rest.split_at_checked(count);
            let table = parsed.and_then(|(symbols, _)| Table::new(counts, symbols));
            let places = if class == 0 { &mut self.dc } else { &mut self.ac };
            match (table, places.get_mut(place), parsed) {
                (Some(table), Some(there), Some((_, rest))) if class <= 1 => {
                    *there = Some(table);
                    content = rest;
                }
                _ => return wrong("JPEG has a Huffman table that is none"),
            }
        }
        Ok(())
    }

    /// Walks through a scan; where its data end.
    fn scan(&mut self, window: &mut Window<'_>, content: &[u8], offset: u64) -> Walked<u64> {
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return wrong(format!("JPEG has more than {MAX_SCANS} scans"));
        }
        if self.process == 0 {
            return wrong("JPEG has a scan before its frame");
        }
        window.tick()?;
        let Some((header, chosen)) = self.scan_header(content)? else { return self.search(window, offset) };
        let mut components = std::mem::take(&mut self.components);
        let parts: Vec<_> = chosen
            .iter()
            .map(|(component, dc, ac)| {
                components[*component].seen = true;
                Part { component: *component, dc: table(&self.dc, *dc), ac: table(&self.ac, *ac) }
            })
            .collect();
        let first_codes = !header.progressive || (header.first == 0 && !header.refines);
        let further_codes = !header.progressive || header.first > 0;
        if parts.iter().any(|part| (first_codes && part.dc.is_none()) || (further_codes && part.ac.is_none())) {
            // Motion JPEG leaves out the usual tables. Nothing later can be followed either.
            return self.search(window, offset);
        }
        let mut bits = Bits::new(window, offset);
        let outcome = scan::walk(&header, &mut components, &parts, &mut bits)?;
        let after = bits.offset();
        self.components = components;
        let before = self.blocks;
        self.blocks += outcome.done;
        let Some(hit) = outcome.hit else {
            // The bits that were taken in beyond the last block stand before this, and no marker is among them.
            return Ok(after);
        };
        let share = if self.is_progressive() {
            let share = percent(outcome.done, outcome.total);
            format!("{share} % of scan {}", self.scans)
        } else {
            // All scans together have as many blocks, give or take those that fill up the last MCUs.
            let total: u64 = self.components.iter().map(|one| u64::from(one.columns) * u64::from(one.rows)).sum();
            let share = percent(before + outcome.done, total.max(before + outcome.total));
            format!("{share} % of its scan data")
        };
        match hit {
            Hit::End => missing(format!("JPEG ends after {share}")),
            Hit::Marker(EOI) => missing(format!("JPEG has an end marker after only {share}")),
            Hit::Marker(_) => missing(format!("JPEG has a marker after only {share}, at byte {}", number(after))),
            Hit::NoCode => wrong(format!("JPEG has broken scan data after {share}, near byte {}", number(after))),
        }
    }

    /// `None`: this scan cannot be followed. Otherwise by component its place and those of its tables.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn scan_header(&self, content: &[u8]) -> Walked<Option<(Header, Vec<(usize, usize, usize)>)>> {
        const SHORT: &str = "JPEG has a scan header that is too short";
        let Some((count, rest)) = content.split_first() else { return wrong(SHORT) };
        let Some((selected, tail)) = rest.split_at_checked(usize::from(*count) * 2) else { return wrong(SHORT) };
        let [first, last, approximation, ..] = tail else { return wrong(SHORT) };
        if self.components.is_empty() {
            return Ok(None);
        }
        let mut chosen = Vec::new();
        for pair in selected.chunks_exact(2) {
            let Some(component) = self.components.iter().position(|component| component.id == pair[0]) else {
                return wrong("JPEG has a scan of a component that its frame does not have");
            };
            chosen.push((component, usize::from(pair[1] >> 4), usize::from(pair[1] & 15)));
        }
        if chosen.is_empty() || chosen.len() > MAX_COMPONENTS {
            return wrong("JPEG has a scan of no component, or of more than four");
        }
        let header = Header {
            progressive: self.is_progressive(),
            first: u32::from(*first),
            last: u32::from(*last),
            refines: approximation >> 4 != 0,
            interval: self.interval,
            mcus: self.mcus,
        };
        let spectral = header.first <= header.last && header.last < 64;
        if header.progressive && (!spectral || (header.first > 0 && chosen.len() > 1)) {
            return wrong("JPEG has a progressive scan that the format does not allow");
        }
        Ok(Some((header, chosen)))
    }

    /// To the next marker that ends a scan.
    fn search(&mut self, window: &mut Window<'_>, offset: u64) -> Walked<u64> {
        self.components.clear();
        let mut from = offset;
        loop {
            match marker(window, from)? {
                None => return self.cut_short(window, None).map(|()| from),
                Some((marker, after)) if RESTARTS.contains(&marker) => from = after,
                Some((_, after)) => return Ok(after - 2),
            }
        }
    }

    /// At EOI.
    fn end(&self) -> Walked {
        if self.scans == 0 {
            return missing("JPEG has no picture before its end marker");
        }
        match self.components.iter().position(|component| !component.seen) {
            Some(absent) => {
                let (absent, all) = (absent + 1, self.components.len());
                missing(format!("JPEG has no scan of component {absent} of {all}"))
            }
            None => Ok(()),
        }
    }

    /// At the file's end, outside of scans that could be followed.
    fn cut_short(&self, window: &Window<'_>, segment: Option<u8>) -> Walked {
        let at = number(window.size());
        match (self.scans, segment) {
            (0, _) => missing(format!("JPEG ends at byte {at}, before its picture")),
            (_, Some(_)) => missing(format!("JPEG ends at byte {at}, between two scans")),
            (1, None) if !self.is_progressive() => missing(format!("JPEG ends at byte {at}, without an end marker")),
            (scans, None) => {
                missing(format!("JPEG ends at byte {at}, in or after scan {scans}, without an end marker"))
            }
        }
    }
}

fn table(tables: &[Option<Table>; 4], place: usize) -> Option<&Table> {
    tables.get(place).and_then(Option::as_ref)
}

/// Rounded down: 100 would be all of it.
fn percent(done: u64, total: u64) -> u64 {
    (done * 100 / total.max(1)).min(99)
}

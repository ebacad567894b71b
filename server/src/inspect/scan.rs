//! A walk through one Huffman-coded scan of a JPEG: counts blocks and computes none. Knows no segments.

use super::fault::Walked;
use super::huffman::{Bits, Hit, Table};

/// Blocks whose coefficients are remembered, at most: 8 bytes each. Refining scans depend on what came before, so progressive
/// pictures with more (about 350 megapixels, without subsampling 178) are only searched for markers.
pub(super) const MAX_BLOCKS: u64 = 8 * 1_024 * 1_024;

/// One component of the picture.
#[derive(Debug, Default)]
pub(super) struct Component {
    pub(super) id: u8,
    pub(super) horizontal: u32,
    pub(super) vertical: u32,
    /// Blocks that the component itself has.
    pub(super) columns: u32,
    pub(super) rows: u32,
    /// Blocks to a row of whole MCUs.
    pub(super) stride: u32,
    /// By block, whether each coefficient is known not to be 0. Empty where nothing depends on that.
    pub(super) nonzero: Vec<u64>,
    pub(super) seen: bool,
}

/// A component's part in a scan.
pub(super) struct Part<'t> {
    pub(super) component: usize,
    pub(super) dc: Option<&'t Table>,
    pub(super) ac: Option<&'t Table>,
}

/// What a scan's header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) progressive: bool,
    /// First and last coefficient.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Is it one that refines?
    pub(super) refines: bool,
    /// MCUs between two restart markers; 0: there are none.
    pub(super) interval: u32,
    /// MCUs in a row and in a column where several components are interleaved.
    pub(super) mcus: (u32, u32),
}

/// How far it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Blocks that are there, and that there ought to be.
    pub(super) done: u64,
    pub(super) total: u64,
    /// What it ran into, when some are missing.
    pub(super) hit: Option<Hit>,
}

/// What lets a block or a restart fail: no more bits.
enum Step {
    Done,
    Ended,
}

/// Walks to the last block.
pub(super) fn walk(
    header: &Header,
    components: &mut [Component],
    parts: &[Part<'_>],
    bits: &mut Bits<'_, '_>,
) -> Walked<Outcome> {
    let alone = match parts {
        [part] => components.get(part.component).map(|component| (component.columns, component.rows)),
        _ => None,
    };
    let (columns, rows) = alone.unwrap_or(header.mcus);
    let per_mcu = if alone.is_some() {
        1
    } else {
        parts.iter().map(|part| &components[part.component]).map(|part| part.horizontal * part.vertical).sum()
    };
    let (mcus, per_mcu) = (u64::from(columns) * u64::from(rows), u64::from(per_mcu));
    let mut ended = None;
    let (mut mcu, mut run) = (0_u64, 0_u32);
    let interval = u64::from(header.interval);
    'all: while mcu < mcus {
        if interval > 0 && mcu > 0 && mcu.is_multiple_of(interval) {
            run = 0;
            if let Err(hit) = bits.restart()? {
                ended = Some(hit);
                break;
            }
        }
        // A run of blocks in which nothing is said can be long, and costs no bits.
        if run > 0 && !header.refines {
            let left = if interval > 0 { (interval - mcu % interval).min(mcus - mcu) } else { mcus - mcu };
            let leap = left.min(u64::from(run));
            run -= u32::try_from(leap).unwrap_or(run);
            mcu += leap;
            continue;
        }
        let (across, down) = (mcu % u64::from(columns), mcu / u64::from(columns));
        for part in parts {
            let component = &mut components[part.component];
            let (wide, high) = if alone.is_some() { (1, 1) } else { (component.horizontal, component.vertical) };
            for y in 0..u64::from(high) {
                for x in 0..u64::from(wide) {
                    let row = down * u64::from(high) + y;
                    let place = row * u64::from(component.stride) + across * u64::from(wide) + x;
                    let place = usize::try_from(place).unwrap_or(usize::MAX);
                    let mut unused = 0;
                    let nonzero = component.nonzero.get_mut(place).unwrap_or(&mut unused);
                    let step = block(header, part, bits, nonzero, &mut run)?;
                    if matches!(step, Step::Ended) {
                        ended = Some(bits.why());
                        break 'all;
                    }
                }
            }
        }
        mcu += 1;
    }
    Ok(Outcome { done: mcu * per_mcu, total: mcus * per_mcu, hit: ended })
}

#[inline]
fn block(header: &Header, part: &Part<'_>, bits: &mut Bits<'_, '_>, nonzero: &mut u64, run: &mut u32) -> Walked<Step> {
    let whole = if !header.progressive {
        match (part.dc, part.ac) {
            (Some(dc), Some(ac)) => sequential(bits, dc, ac)?,
            _ => false,
        }
    } else if header.first == 0 {
        match (header.refines, part.dc) {
            (true, _) => bits.skip(1)?,
            (false, Some(dc)) => dc_of(bits, dc)?,
            (false, None) => false,
        }
    } else {
        match (header.refines, part.ac) {
            (false, Some(ac)) => ac_first(header, bits, ac, nonzero, run)?,
            (true, Some(ac)) => ac_refined(header, bits, ac, nonzero, run)?,
            (_, None) => false,
        }
    };
    Ok(if whole { Step::Done } else { Step::Ended })
}

#[inline]
fn dc_of(bits: &mut Bits<'_, '_>, dc: &Table) -> Walked<bool> {
    let Some(size) = bits.symbol(dc)? else { return Ok(false) };
    bits.skip(u32::from(size & 15))
}

#[inline]
fn sequential(bits: &mut Bits<'_, '_>, dc: &Table, ac: &Table) -> Walked<bool> {
    if !dc_of(bits, dc)? {
        return Ok(false);
    }
    let mut place = 1;
    while place < 64 {
        let Some(symbol) = bits.symbol(ac)? else { return Ok(false) };
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if zeros != 15 {
                break;
            }
            place += 16;
        } else {
            place += zeros + 1;
            if !bits.skip(size)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn ac_first(header: &Header, bits: &mut Bits<'_, '_>, ac: &Table, nonzero: &mut u64, run: &mut u32) -> Walked<bool> {
    let mut place = header.first;
    while place <= header.last {
        let Some(symbol) = bits.symbol(ac)? else { return Ok(false) };
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if zeros != 15 {
                let Some(more) = bits.number(zeros)? else { return Ok(false) };
                *run = (1 << zeros) + more - 1;
                break;
            }
            place += 16;
        } else {
            place += zeros;
            *nonzero |= 1_u64.checked_shl(place).unwrap_or_default();
            place += 1;
            if !bits.skip(size)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn ac_refined(header: &Header, bits: &mut Bits<'_, '_>, ac: &Table, nonzero: &mut u64, run: &mut u32) -> Walked<bool> {
    let mut place = header.first;
    if *run == 0 {
        while place <= header.last {
            let Some(symbol) = bits.symbol(ac)? else { return Ok(false) };
            let (mut zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && zeros != 15 {
                let Some(more) = bits.number(zeros)? else { return Ok(false) };
                *run = (1 << zeros) + more;
                break;
            }
            if size != 0 && !bits.skip(1)? {
                return Ok(false);
            }
            while place <= header.last {
                if *nonzero >> place & 1 != 0 {
                    if !bits.skip(1)? {
                        return Ok(false);
                    }
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                place += 1;
            }
            if size != 0 && place <= header.last {
                *nonzero |= 1 << place;
            }
            place += 1;
        }
    }
    if *run > 0 {
        let rest = (place..=header.last).fold(0, |mask, bit| mask | 1_u64 << bit);
        let mut corrections = (*nonzero & rest).count_ones();
        while corrections > 0 {
            let now = corrections.min(16);
            if !bits.skip(now)? {
                return Ok(false);
            }
            corrections -= now;
        }
        *run -= 1;
    }
    Ok(true)
}

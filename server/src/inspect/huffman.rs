//! JPEG's Huffman codes and the bits of an entropy-coded scan, with stuffing taken out. Knows no blocks.

use super::fault::Walked;
use super::source::Window;

/// Codes up to this length are found in one look.
const QUICK_BITS: u32 = 9;

/// One table, as a DHT segment says it.
pub(super) struct Table {
    /// By the next bits: length of the code in the upper byte, its symbol in the lower one. 0: a longer code.
    quick: [u16; 1 << QUICK_BITS],
    /// By length: one above the largest code so long, filled up to 16 bits.
    above: [u32; 17],
    /// By length: what leads from a code to its place in `symbols`.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// `None`: more codes than there is room for.
    pub(super) fn new(counts: [u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table =
            Self { quick: [0; 1 << QUICK_BITS], above: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, count) in (1_u32..).zip(counts) {
            table.offset[length as usize] = i32::try_from(place).ok()? - i32::try_from(code).ok()?;
            for _ in 0..count {
                let symbol = *symbols.get(place)?;
                if let Some(free) = QUICK_BITS.checked_sub(length) {
                    let first = (code << free) as usize;
                    let entries = table.quick.get_mut(first..first + (1 << free))?;
                    #[expect(clippy::cast_possible_truncation, reason = "9 at most")]
                    entries.fill((length as u16) << 8 | u16::from(symbol));
                }
                code += 1;
                place += 1;
            }
            if code > 1 << length {
                return None;
            }
            table.above[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    /// Length and symbol of the code that `bits` begins with; `None`: no code does.
    #[inline]
    fn find(&self, bits: u64) -> Option<(u32, u8)> {
        let quick = self.quick[(bits >> (64 - QUICK_BITS)) as usize];
        if quick != 0 {
            return Some((u32::from(quick >> 8), quick.to_le_bytes()[0]));
        }
        let sixteen = u32::try_from(bits >> 48).unwrap_or_default();
        let length = (QUICK_BITS + 1..=16).find(|length| sixteen < self.above[*length as usize])?;
        let place = self.offset[length as usize] + (sixteen >> (16 - length)).cast_signed();
        Some((length, *self.symbols.get(usize::try_from(place).ok()?)?))
    }
}

/// Why a scan's bits came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hit {
    /// The file's end.
    End,
    /// A marker.
    Marker(u8),
    /// Bits that are no code.
    NoCode,
}

/// The bits between two markers.
pub(super) struct Bits<'w, 'a> {
    window: &'w mut Window<'a>,
    /// Of the next byte that has not been taken in.
    offset: u64,
    /// Bits that have been taken in, the next one on top, zeros below the last one.
    held: u64,
    count: u32,
    /// What stands at `offset`, where that is not one more byte.
    hit: Option<Hit>,
}

impl<'w, 'a> Bits<'w, 'a> {
    pub(super) fn new(window: &'w mut Window<'a>, offset: u64) -> Self {
        Self { window, offset, held: 0, count: 0, hit: None }
    }

    /// Where the marker or the end stands, after `Hit`; nowhere in particular otherwise.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes in what there is room for.
    #[inline]
    fn fill(&mut self) -> Walked {
        let ahead = self.window.ahead(self.offset);
        if let Some(eight) = ahead.first_chunk::<8>() {
            let word = u64::from_be_bytes(*eight);
            // Has no byte all its bits set? Then none is a marker's, nor stuffed.
            let inverse = !word;
            if inverse.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 == 0 {
                let bytes = (63 - self.count) / 8;
                let bits = bytes * 8;
                if bits > 0 {
                    self.held |= (word >> (64 - bits) << (64 - bits)) >> self.count;
                    self.count += bits;
                    self.offset += u64::from(bytes);
                }
                return Ok(());
            }
        }
        self.fill_slowly()
    }

    #[cold]
    #[inline(never)]
    fn fill_slowly(&mut self) -> Walked {
        while self.count <= 48 && self.hit.is_none() {
            let Some(byte) = self.window.some(self.offset)?.first().copied() else {
                self.hit = Some(Hit::End);
                break;
            };
            let mut next = self.offset + 1;
            if byte == 0xff {
                match self.window.some(next)?.first() {
                    None => {
                        self.hit = Some(Hit::End);
                        break;
                    }
                    Some(0) => next += 1,
                    // Fill before a marker.
                    Some(0xff) => {
                        self.offset = next;
                        continue;
                    }
                    Some(marker) => {
                        self.hit = Some(Hit::Marker(*marker));
                        break;
                    }
                }
            }
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.offset = next;
        }
        Ok(())
    }

    /// The next symbol, with its code taken out; `None`: the bits have come to an end, see `why`.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Walked<Option<u8>> {
        if self.count < 32 && self.hit.is_none() {
            self.fill()?;
        }
        let Some((length, symbol)) = table.find(self.held) else {
            // Zeros beyond the last bit may be no code either.
            self.hit = if self.count < 16 { self.hit.or(Some(Hit::NoCode)) } else { Some(Hit::NoCode) };
            return Ok(None);
        };
        Ok(self.drop_bits(length).then_some(symbol))
    }

    /// Leaves out up to 16 bits that follow a symbol; false: there are not so many.
    #[inline]
    pub(super) fn skip(&mut self, bits: u32) -> Walked<bool> {
        if self.count < bits && self.hit.is_none() {
            self.fill()?;
        }
        Ok(self.drop_bits(bits))
    }

    /// Up to 16 bits as a number.
    pub(super) fn number(&mut self, bits: u32) -> Walked<Option<u32>> {
        if bits == 0 {
            return Ok(Some(0));
        }
        if self.count < bits && self.hit.is_none() {
            self.fill()?;
        }
        let value = u32::try_from(self.held >> (64 - bits)).unwrap_or_default();
        Ok(self.drop_bits(bits).then_some(value))
    }

    #[inline]
    fn drop_bits(&mut self, bits: u32) -> bool {
        if self.count < bits {
            return false;
        }
        self.held <<= bits;
        self.count -= bits;
        true
    }

    /// Why there was no more.
    pub(super) fn why(&self) -> Hit {
        self.hit.unwrap_or(Hit::NoCode)
    }

    /// Leaves out what remains before the next marker, which is taken too if it is a restart.
    pub(super) fn restart(&mut self) -> Walked<Result<(), Hit>> {
        (self.held, self.count) = (0, 0);
        while self.hit.is_none() {
            self.fill_slowly()?;
            (self.held, self.count) = (0, 0);
        }
        match self.hit {
            Some(Hit::Marker(0xd0..=0xd7)) => {
                self.hit = None;
                self.offset += 2;
                Ok(Ok(()))
            }
            hit => Ok(Err(hit.unwrap_or(Hit::End))),
        }
    }
}

//! ZIP: the end record, the central directory, and every entry's local header and data within the file. Nothing is inflated,
//! and archives in archives are entries like any other. Archives in several volumes are not looked into.

use super::Depth;
use super::fault::{Stop, Walked, missing, number, wrong};
use super::source::{MAX_PIECE_BYTES, Window};

const END_BYTES: usize = 22;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// Entries whose local headers are read; of further ones only the bounds are looked at.
const MAX_LOCAL_HEADERS: u64 = 65_536;
/// Stands in 32 bits where the value is in the extra field of ZIP64.
const ELSEWHERE: u32 = u32::MAX;

/// From the end to the first entry.
pub(super) fn walk(window: &mut Window<'_>, depth: Depth) -> Walked {
    if depth == Depth::Type {
        return Ok(());
    }
    let Some(end) = find_end(window)? else {
        return missing(format!("ZIP ends at byte {}, without its directory", number(window.size())));
    };
    let record = window.array::<END_BYTES>(end)?;
    let mut entries = u64::from(u16_of(&record, 10));
    let (mut length, mut start) = (u64::from(u32_of(&record, 12)), u64::from(u32_of(&record, 16)));
    let mut directory_end = end;
    if u16_of(&record, 4) != u16_of(&record, 6) && u16_of(&record, 4) != 0xffff {
        return Ok(());
    }
    if let Some(place) = end.checked_sub(20)
        && let locator = window.array::<20>(place)?
        && locator.starts_with(b"PK\x06\x07")
    {
        // What stands before the archive moves all of it; the record itself stands right before its locator otherwise.
        let said = u64_of(&locator, 8);
        let stands = |window: &mut Window<'_>, at: u64| window.at(at, 4).is_ok_and(|mark| mark == b"PK\x06\x06");
        let place = if stands(window, said) { said } else { place.saturating_sub(56) };
        if !stands(window, place) {
            return wrong("ZIP has a directory record of 64 bits that is not where it says");
        }
        let record = window.array::<56>(place)?;
        (entries, length, start) = (u64_of(&record, 32), u64_of(&record, 40), u64_of(&record, 48));
        directory_end = place;
    }
    let Some(before) = start.checked_add(length).and_then(|said| directory_end.checked_sub(said)) else {
        return missing(format!("ZIP has its directory at byte {}, beyond its end", number(start)));
    };
    walk_entries(window, before, start + before, directory_end, entries)
}

/// Where the end record stands: the last one whose comment lasts to the end of the file, or else the last one.
fn find_end(window: &mut Window<'_>) -> Walked<Option<u64>> {
    let length = window.size().min(MAX_PIECE_BYTES as u64);
    let start = window.size() - length;
    let tail = window.at(start, usize::try_from(length).unwrap_or_default())?;
    let records = tail.windows(END_BYTES).enumerate().rev().filter(|(_, record)| record.starts_with(b"PK\x05\x06"));
    let mut last = None;
    for (place, record) in records {
        let comment = usize::from(u16_of(record, 20));
        if place + END_BYTES + comment == tail.len() {
            return Ok(Some(start + place as u64));
        }
        if place + END_BYTES + comment <= tail.len() {
            last = last.or(Some(start + place as u64));
        }
    }
    Ok(last)
}

fn walk_entries(window: &mut Window<'_>, before: u64, start: u64, end: u64, entries: u64) -> Walked {
    let mut locals = window.another();
    let (mut offset, mut index) = (start, 0);
    while offset + CENTRAL_BYTES as u64 <= end {
        let entry = window.array::<CENTRAL_BYTES>(offset)?;
        if !entry.starts_with(b"PK\x01\x02") {
            break;
        }
        let name = u64::from(u16_of(&entry, 28));
        let (extra, comment) = (u16_of(&entry, 30), u64::from(u16_of(&entry, 32)));
        let (mut packed, mut local) = (u64::from(u32_of(&entry, 20)), u64::from(u32_of(&entry, 42)));
        if u32_of(&entry, 20) == ELSEWHERE || u32_of(&entry, 42) == ELSEWHERE || u32_of(&entry, 24) == ELSEWHERE {
            let field = window.at(offset + CENTRAL_BYTES as u64 + name, usize::from(extra))?;
            let absent = [24, 20, 42].map(|place| u32_of(&entry, place) == ELSEWHERE);
            let [_, larger_packed, larger_local] = larger(field, absent);
            (packed, local) = (larger_packed.unwrap_or(packed), larger_local.unwrap_or(local));
        }
        let local = local.saturating_add(before);
        check_local(&mut locals, index, local, packed, start)?;
        offset += CENTRAL_BYTES as u64 + name + u64::from(extra) + comment;
        index += 1;
    }
    // Of more than 65,535 entries without ZIP64 only the lower bits are told.
    if index != entries && index & 0xffff != entries {
        return missing(format!("ZIP has {} entries of {} in its directory", number(index), number(entries)));
    }
    Ok(())
}

/// Sizes and offset from the extra field of ZIP64, those that the entry does not have itself.
fn larger(mut field: &[u8], absent: [bool; 3]) -> [Option<u64>; 3] {
    let mut values = [None; 3];
    while let Some((head, rest)) = field.split_first_chunk::<4>() {
        let Some((mut content, rest)) = rest.split_at_checked(usize::from(u16_of(head, 2))) else { break };
        if u16_of(head, 0) == 1 {
            for (value, absent) in values.iter_mut().zip(absent) {
                if absent && let Some((eight, rest)) = content.split_first_chunk::<8>() {
                    *value = Some(u64::from_le_bytes(*eight));
                    content = rest;
                }
            }
        }
        field = rest;
    }
    values
}

fn check_local(window: &mut Window<'_>, index: u64, local: u64, packed: u64, limit: u64) -> Walked {
    let entry = number(index + 1);
    if local.saturating_add(LOCAL_BYTES as u64).saturating_add(packed) > limit {
        return missing(format!("ZIP has entry {entry} beyond its directory"));
    }
    if index >= MAX_LOCAL_HEADERS {
        return Ok(());
    }
    let header = match window.array::<LOCAL_BYTES>(local) {
        Err(Stop::End { .. }) => return missing(format!("ZIP has entry {entry} beyond its end")),
        header => header?,
    };
    if !header.starts_with(b"PK\x03\x04") {
        return wrong(format!("ZIP has no header of entry {entry} at byte {}", number(local)));
    }
    let data = local + LOCAL_BYTES as u64 + u64::from(u16_of(&header, 26)) + u64::from(u16_of(&header, 28));
    if data.saturating_add(packed) > limit {
        return missing(format!("ZIP has entry {entry} beyond its directory"));
    }
    Ok(())
}

fn u16_of(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |two| u16::from_le_bytes(*two))
}

fn u32_of(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_of(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |eight| u64::from_le_bytes(*eight))
}

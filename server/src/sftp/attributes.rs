//! `ATTRS` of version 3 (draft-ietf-secsh-filexfer-02, section 5) in both directions, and the `ls -l` line that goes
//! with a name. Knows no request and no file system.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use landfall_storage::{Kind, Stat};
use time::OffsetDateTime;

use super::packets::{Fault, Reader};

const SIZE: u32 = 0x0000_0001;
const UIDGID: u32 = 0x0000_0002;
const PERMISSIONS: u32 = 0x0000_0004;
const ACMODTIME: u32 = 0x0000_0008;
const EXTENDED: u32 = 0x8000_0000;

const TYPE_FILE: u32 = 0o100_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_LINK: u32 = 0o120_000;

/// The one owner that every file shows: who owns what on the host is not the client's business.
pub(super) const OWNER: u32 = 1000;

/// What a client sent. Owner and group are read and forgotten: they are accepted and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes {
    /// Length to cut to.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Modification time, in seconds since 1970.
    pub modified_seconds: Option<u32>,
}

impl Attributes {
    /// Reads them off a request.
    pub(super) fn decode(reader: &mut Reader) -> Result<Self, Fault> {
        let flags = reader.u32()?;
        let mut attributes = Self::default();
        if flags & SIZE != 0 {
            attributes.size = Some(reader.u64()?);
        }
        if flags & UIDGID != 0 {
            reader.u64()?;
        }
        if flags & PERMISSIONS != 0 {
            attributes.mode = Some(reader.u32()?);
        }
        if flags & ACMODTIME != 0 {
            reader.u32()?;
            attributes.modified_seconds = Some(reader.u32()?);
        }
        if flags & EXTENDED != 0 {
            // Each pair takes at least eight bytes, so the packet's length bounds this loop whatever the count says.
            for _ in 0..reader.u32()? {
                reader.string()?;
                reader.string()?;
            }
        }
        Ok(attributes)
    }

    /// The modification time asked for.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        self.modified_seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(u64::from(seconds)))
    }

    /// The permission bits asked for, lowest nine.
    pub(super) fn permissions(&self) -> Option<u32> {
        self.mode.map(|mode| mode & 0o777)
    }
}

fn type_bits(kind: Kind) -> u32 {
    match kind {
        Kind::File => TYPE_FILE,
        Kind::Directory => TYPE_DIRECTORY,
        Kind::Other => TYPE_LINK,
    }
}

/// Version 3 counts seconds in 32 bits: times outside are shown as the nearest that fits.
fn seconds(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

/// Appends the attributes of `stat`.
pub(super) fn encode(out: &mut BytesMut, stat: &Stat) {
    out.put_u32(SIZE | UIDGID | PERMISSIONS | ACMODTIME);
    out.put_u64(stat.size);
    out.put_u32(OWNER);
    out.put_u32(OWNER);
    out.put_u32(type_bits(stat.kind) | (stat.mode & 0o7777));
    let modified = seconds(stat.modified);
    out.put_u32(modified);
    out.put_u32(modified);
}

/// Appends no attributes: for names whose facts were not looked up.
pub(super) fn encode_none(out: &mut BytesMut) {
    out.put_u32(0);
}

/// The line that `ls -l` would print; clients show it, and some parse it. `now` decides between hour and year.
pub(super) fn long_name(name: &str, stat: &Stat, now: SystemTime) -> String {
    let kind = match stat.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Other => 'l',
    };
    let mut bits = String::with_capacity(9);
    for shift in [6, 3, 0] {
        let triple = stat.mode >> shift;
        bits.push(if triple & 4 == 0 { '-' } else { 'r' });
        bits.push(if triple & 2 == 0 { '-' } else { 'w' });
        bits.push(if triple & 1 == 0 { '-' } else { 'x' });
    }
    let date = short_date(stat.modified, now);
    format!("{kind}{bits}    1 {OWNER:<8} {OWNER:<8} {:>8} {date} {name}", stat.size)
}

/// `Jan  2 03:04` for the half year before `now`, `Jan  2  2026` otherwise, in UTC.
fn short_date(time: SystemTime, now: SystemTime) -> String {
    const HALF_A_YEAR: Duration = Duration::from_hours(365 * 24 / 2);
    let at = OffsetDateTime::from_unix_timestamp(i64::from(seconds(time))).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let month = at.month().to_string();
    let month = month.get(..3).unwrap_or("Jan");
    let recent = now.duration_since(time).is_ok_and(|age| age < HALF_A_YEAR);
    if recent {
        format!("{month} {:>2} {:02}:{:02}", at.day(), at.hour(), at.minute())
    } else {
        format!("{month} {:>2}  {}", at.day(), at.year())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn stat(kind: Kind, mode: u32, seconds: u64) -> Stat {
        Stat { kind, size: 1234, modified: UNIX_EPOCH + Duration::from_secs(seconds), mode, inode: 1 }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = BytesMut::new();
        encode(&mut out, &stat(Kind::File, 0o640, 1_700_000_000));
        let read = Attributes::decode(&mut Reader::new(out.freeze())).unwrap();
        assert_eq!(read.size, Some(1234));
        assert_eq!(read.mode, Some(0o100_640));
        assert_eq!(read.permissions(), Some(0o640));
        assert_eq!(read.modified_seconds, Some(1_700_000_000));
    }

    #[test]
    fn extended_pairs_are_skipped_and_a_lying_count_is_a_fault() {
        let mut out = BytesMut::new();
        out.put_u32(EXTENDED | SIZE);
        out.put_u64(7);
        out.put_u32(1);
        out.put_slice(&[0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b']);
        assert_eq!(Attributes::decode(&mut Reader::new(out.freeze())).unwrap().size, Some(7));
        let lying = Bytes::from_static(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert!(Attributes::decode(&mut Reader::new(lying)).is_err());
    }

    #[test]
    fn long_names_look_like_ls() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(
            long_name("a b.jpg", &stat(Kind::File, 0o644, 1_699_999_000), now),
            "-rw-r--r--    1 1000     1000         1234 Nov 14 21:56 a b.jpg"
        );
        assert_eq!(
            long_name("old", &stat(Kind::Directory, 0o755, 86_400), now),
            "drwxr-xr-x    1 1000     1000         1234 Jan  2  1970 old"
        );
    }

    #[test]
    fn times_that_do_not_fit_are_clamped() {
        assert_eq!(seconds(UNIX_EPOCH - Duration::from_secs(5)), 0);
        assert_eq!(seconds(UNIX_EPOCH + Duration::from_secs(1 << 40)), u32::MAX);
    }
}

//! From the operating system's numbers to [`Stat`], and back for times. Pure.

use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Timespec, Timestamps, UTIME_OMIT};

use crate::{Identity, Kind, Stat};

/// What tells one file or directory of this machine from all others, as long as it is open: device and inode number.
pub(crate) fn identity(stat: &rustix::fs::Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// The type of what was asked about.
pub(crate) fn file_type(stat: &rustix::fs::Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Length in bytes.
pub(crate) fn size(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// When the inode last changed: bytes, name, mode, or times.
pub(crate) fn changed(stat: &rustix::fs::Stat) -> SystemTime {
    time(stat.st_ctime, stat.st_ctime_nsec)
}

/// All that changes with the bytes.
pub(crate) fn full_identity(stat: &rustix::fs::Stat) -> Identity {
    let modified = time(stat.st_mtime, stat.st_mtime_nsec);
    Identity { size: size(stat), inode: stat.st_ino, modified, changed: changed(stat) }
}

/// Facts about one name.
pub(crate) fn stat(stat: &rustix::fs::Stat) -> Stat {
    let kind = match file_type(stat) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    };
    Stat {
        kind,
        size: if kind == Kind::Directory { 0 } else { size(stat) },
        modified: time(stat.st_mtime, stat.st_mtime_nsec),
        mode: stat.st_mode & 0o7777,
        inode: stat.st_ino,
    }
}

fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    base.and_then(|base| base.checked_add(Duration::from_nanos(nanoseconds))).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Times to set: `modified`, and the access time left alone. What no 64-bit clock can tell becomes its nearest end.
pub(crate) fn timestamps(modified: SystemTime) -> Timestamps {
    let (tv_sec, nanoseconds) = match modified.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
            // Nanoseconds count upwards, before 1970 too.
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds.saturating_sub(1), 1_000_000_000 - nanoseconds),
            }
        }
    };
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec: nanoseconds.into() },
    }
}

/// The permission bits that `mode` asks for, as far as they are given: never set-id or sticky, and never so few that
/// the server itself could no longer read the file or enter the directory.
pub(crate) fn settable_mode(mode: u32, is_directory: bool) -> u32 {
    mode & 0o777 | if is_directory { 0o700 } else { 0o600 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back() {
        let before = |seconds, nanoseconds| SystemTime::UNIX_EPOCH - Duration::new(seconds, nanoseconds);
        let after = |seconds, nanoseconds| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        for wanted in [after(0, 0), after(1, 5), after(5_000_000_000, 0), before(0, 1), before(1, 0), before(7, 250)] {
            let set = timestamps(wanted).last_modification;
            let nanoseconds = u64::try_from(set.tv_nsec).unwrap_or(u64::MAX);
            assert!(nanoseconds < 1_000_000_000);
            assert_eq!(time(set.tv_sec, nanoseconds), wanted);
        }
    }

    #[test]
    fn permission_bits_stay_harmless_and_usable() {
        assert_eq!(settable_mode(0o7777, false), 0o777);
        assert_eq!(settable_mode(0o444, false), 0o644);
        assert_eq!(settable_mode(0, true), 0o700);
        assert_eq!(settable_mode(0o055, true), 0o755);
    }
}

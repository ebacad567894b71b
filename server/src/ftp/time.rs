//! Times as FTP writes them: `YYYYMMDDhhmmss[.fff]` in UTC (RFC 3659 section 2.3) and the date column of a listing.
//! Reads no clock.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// Half a year in seconds: older files show their year instead of the hour, as `ls` does.
const HALF_YEAR_SECONDS: i64 = 182 * 24 * 3_600;

/// Reads `YYYYMMDDhhmmss`, optionally with a fraction. Years from 1970 on.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    if whole.len() != 14 || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| whole.get(from..to)?.parse::<u16>().ok();
    let small = |from: usize| number(from, from + 2).and_then(|n| u8::try_from(n).ok());
    let month = Month::try_from(small(4)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0, 4)?), month, small(6)?).ok()?;
    // A leap second has no second of its own in Unix time.
    let second = small(12).filter(|second| *second <= 60)?.min(59);
    let time = Time::from_hms(small(8)?, small(10)?, second).ok()?;
    let seconds = u64::try_from(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp()).ok()?;
    let nanos = match fraction {
        None => 0,
        // RFC 3659 section 2.3 sets no end to the digits; nothing here is finer than a nanosecond.
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{digits:0<9}").get(..9)?.parse().ok()?
        }
        Some(_) => return None,
    };
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// Writes `YYYYMMDDhhmmss`.
#[must_use]
pub fn format(time: SystemTime) -> String {
    let mut out = Vec::with_capacity(14);
    write(&mut out, time);
    String::from_utf8(out).unwrap_or_default()
}

/// The same, appended to `out`.
pub fn write(out: &mut Vec<u8>, time: SystemTime) {
    let t = civil(time);
    // A Vec takes all that is written to it.
    let (month, day, hour, minute, second) = (u8::from(t.month()), t.day(), t.hour(), t.minute(), t.second());
    write!(out, "{:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}", t.year()).unwrap_or_default();
}

/// Appends the date column of a listing: `Jan  2 15:04`, or `Jan  2  2006` when half a year away from `now` or more.
pub fn write_listed(out: &mut Vec<u8>, time: SystemTime, now: SystemTime) {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let t = civil(time);
    let month = MONTHS.get(usize::from(u8::from(t.month())) - 1).unwrap_or(&MONTHS[0]);
    let age_seconds = unix_seconds(now).saturating_sub(unix_seconds(time));
    let written = if (0..HALF_YEAR_SECONDS).contains(&age_seconds) {
        write!(out, "{month} {:2} {:02}:{:02}", t.day(), t.hour(), t.minute())
    } else {
        write!(out, "{month} {:2}  {:4}", t.day(), t.year())
    };
    written.unwrap_or_default();
}

fn civil(time: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_seconds(time)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_are_read() {
        assert_eq!(parse("19700101000000"), Some(at(0)));
        assert_eq!(parse("20240229123456"), Some(at(1_709_210_096)));
        assert_eq!(parse("20240229123456.25"), Some(at(1_709_210_096) + Duration::from_millis(250)));
        assert_eq!(parse("20240229123456.1234567890"), Some(at(1_709_210_096) + Duration::from_nanos(123_456_789)));
        assert_eq!(parse("20161231235960"), parse("20161231235959"));
        for wrong in
            ["", "2024", "20230229000000", "20240229246000", "20240229120061", "20240229123456.", "20240229123456.1x"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse("19691231235959"), None);
        assert_eq!(parse("２０２４"), None);
    }

    fn listed(time: SystemTime, now: SystemTime) -> String {
        let mut out = Vec::new();
        write_listed(&mut out, time, now);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_date_column() {
        let now = parse("20240701120000").unwrap();
        assert_eq!(listed(parse("20240601080500").unwrap(), now), "Jun  1 08:05");
        assert_eq!(listed(parse("20230601080500").unwrap(), now), "Jun  1  2023");
        assert_eq!(listed(parse("20250601080500").unwrap(), now), "Jun  1  2025");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0u64..253_402_300_800) {
            prop_assert_eq!(parse(&format(at(seconds))), Some(at(seconds)));
        }

        #[test]
        fn no_text_is_too_odd(text in ".{0,20}") {
            let _ = parse(&text);
        }
    }
}

//! Values as people write them: sizes (`10GB`), durations (`24h`), dates (`2027-01-31`), secrets.
//! Knows no section; each value reads from a string or a number and shows itself in a form it reads again.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use landfall_auth::Grant;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

/// Longest duration that a setting may name: ten years. Adding it to a clock can never overflow.
pub(super) const MOST_SECONDS: u64 = 10 * 365 * 86_400;

/// A number of bytes: `1048576`, `10GB` (powers of 1000), `512MiB` (powers of 1024), `1.5G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

const SIZE_FORM: &str =
    "a size is a number of bytes, or a number with a unit: 500MB, 10GB (powers of 1000), 512MiB (powers of 1024)";

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text == "unlimited" {
            return Ok(Self(Grant::UNLIMITED));
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit: u128 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "t" | "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return Err(SIZE_FORM),
        };
        let number = number.replace('_', "");
        let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
        if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
            return Err(SIZE_FORM);
        }
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| SIZE_FORM)?);
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| SIZE_FORM)?;
        let bytes = digits.checked_mul(unit).ok_or(SIZE_FORM)? / scale;
        // Databases and file offsets are signed: what does not fit there is no size of a file.
        i64::try_from(bytes)
            .ok()
            .and_then(|bytes| u64::try_from(bytes).ok())
            .map(Self)
            .ok_or("the size is larger than any file can be")
    }
}

impl fmt::Display for ByteSize {
    /// For people: the largest decimal unit that leaves a short number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
        if self.0 == Grant::UNLIMITED {
            return f.write_str("unlimited");
        }
        for (unit, name) in UNITS {
            if self.0 >= unit {
                let tenths = u128::from(self.0) * 10 / u128::from(unit);
                return if tenths % 10 == 0 {
                    write!(f, "{} {name}", tenths / 10)
                } else {
                    write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == Grant::UNLIMITED { serializer.collect_str(self) } else { serializer.serialize_u64(self.0) }
    }
}

/// A number, or `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

const COUNT_FORM: &str = "a whole number from 0 up is expected, or unlimited";

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unlimited" {
            return Ok(Self(Grant::UNLIMITED));
        }
        text.parse().map(Self).map_err(|_| COUNT_FORM)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == Grant::UNLIMITED {
            serializer.serialize_str("unlimited")
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

/// A length of time: `90s`, `30m`, `24h`, `7d`, `1h30m`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

const PERIOD_FORM: &str = "a duration is a number with a unit: 90s, 30m, 24h, 7d";

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(PERIOD_FORM);
        }
        let mut seconds: u64 = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(end);
            let number: u64 = number.parse().map_err(|_| PERIOD_FORM)?;
            let (unit, tail) = match tail.chars().next() {
                None | Some('s') => (1, tail.get(1..).unwrap_or("")),
                Some('m') => (60, &tail[1..]),
                Some('h') => (3_600, &tail[1..]),
                Some('d') => (86_400, &tail[1..]),
                Some(_) => return Err(PERIOD_FORM),
            };
            seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or(PERIOD_FORM)?;
            rest = tail.trim_start();
        }
        if seconds > MOST_SECONDS {
            return Err("a duration is at most 3650d");
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
            // Two days read better as 48h than 24h does as 1d: the unit is used from two on.
            if seconds >= 2 * unit && seconds.is_multiple_of(unit) {
                return write!(f, "{}{name}", seconds / unit);
            }
        }
        write!(f, "{seconds}s")
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An instant: RFC 3339 (`2027-01-31T12:00:00Z`), or a date, which means the beginning of that day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub SystemTime);

const MOMENT_FORM: &str = "a time is a date such as 2027-01-31, or RFC 3339 such as 2027-01-31T12:00:00Z";

impl Moment {
    /// So many seconds after 1970-01-01T00:00:00Z; the latest that can be told, if it is later than that.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        // The year 9999 is as far as RFC 3339 goes.
        const LATEST_SECONDS: u64 = 253_402_300_799;
        Self(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST_SECONDS)))
    }

    /// For programs: RFC 3339 in UTC, always with milliseconds, so that times sort as text.
    #[must_use]
    pub fn in_full(&self) -> String {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        OffsetDateTime::from(self.0).format(&form).unwrap_or_default()
    }
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
            return Ok(Self(date.with_time(Time::MIDNIGHT).assume_utc().into()));
        }
        OffsetDateTime::parse(text, &Rfc3339).map(|moment| Self(moment.into())).map_err(|_| MOMENT_FORM)
    }
}

impl fmt::Display for Moment {
    /// RFC 3339 in UTC, without a fraction of a second: for people and for the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from(self.0).truncate_to_second();
        f.write_str(&moment.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads any of the values above from a string, or from a number where a bare number has a meaning.
struct Written<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = &'static str>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

macro_rules! read_as_written {
    ($($value:ident: $form:expr),*) => {$(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Written($form, std::marker::PhantomData))
            }
        }
    )*};
}

read_as_written!(ByteSize: SIZE_FORM, Count: COUNT_FORM, Period: PERIOD_FORM, Moment: MOMENT_FORM);

/// A text that is shown to nobody: `Debug` and `Serialize` write dots.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: for the room that checks it, and for nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when there is nothing to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What stands in the place of a secret.
pub const REDACTED: &str = "(secret)";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1048576", Some(1_048_576)),
            ("1_000", Some(1_000)),
            ("10GB", Some(10_000_000_000)),
            ("10 gb", Some(10_000_000_000)),
            ("10G", Some(10_000_000_000)),
            ("1.5MiB", Some(1_572_864)),
            ("512KiB", Some(524_288)),
            ("9223372036854775807", Some(9_223_372_036_854_775_807)),
            ("9223372036854775808", None),
            ("99999999999999999999999999999999999999999TB", None),
            ("1.", None),
            (".5GB", None),
            ("-1", None),
            ("ten", None),
            ("10XB", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<ByteSize>().ok().map(|size| size.0), bytes, "{text}");
        }
        for (bytes, text) in [(999, "999 B"), (1_500, "1.5 kB"), (10_000_000_000, "10 GB")] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn periods() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("90", Some(90)),
            ("30m", Some(1_800)),
            ("24h", Some(86_400)),
            ("7d", Some(604_800)),
            ("1h30m", Some(5_400)),
            ("1h 30m", Some(5_400)),
            ("3650d", Some(MOST_SECONDS)),
            ("3651d", None),
            ("99999999999999999999d", None),
            ("h", None),
            ("5w", None),
            ("5µ", None),
            ("", None),
            ("-5s", None),
        ] {
            assert_eq!(text.parse::<Period>().ok().map(|period| period.0.as_secs()), seconds, "{text}");
        }
        for text in ["90s", "30m", "24h", "7d", "0s"] {
            assert_eq!(text.parse::<Period>().map(|period| period.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn moments() {
        for (text, shown) in [
            ("2027-01-31", Some("2027-01-31T00:00:00Z")),
            ("2027-01-31T12:00:00Z", Some("2027-01-31T12:00:00Z")),
            ("2027-01-31T12:00:00+02:00", Some("2027-01-31T10:00:00Z")),
            ("31.01.2027", None),
            ("2027-02-31", None),
            ("soon", None),
        ] {
            assert_eq!(text.parse::<Moment>().ok().map(|moment| moment.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(serde_json::to_string(&secret).ok().as_deref(), Some("\"(secret)\""));
        assert_eq!(secret.expose(), "hunter2");
    }
}

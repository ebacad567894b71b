//! What may be a name of a user or a group, and the small checks of other fields. Decides nothing else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

const NAME_MAX_BYTES: usize = 64;
const HOME_MAX_BYTES: usize = 1024;
const EMAIL_MAX_BYTES: usize = 254;

/// True for 1 to 64 bytes of `[A-Za-z0-9._@-]` that begin with a letter or digit. So `.`, `..`, a path, a flag of a
/// command line or a line break cannot be a name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_MAX_BYTES
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte))
}

pub(crate) fn check_name(text: &str) -> Result<()> {
    if is_name(text) {
        return Ok(());
    }
    let name = text.chars().take(NAME_MAX_BYTES + 1).collect();
    Err(Error::InvalidName { name })
}

pub(crate) fn check_home(home: &str) -> Result<()> {
    let invalid = |reason| Err(Error::Invalid { field: "home", reason });
    if !home.starts_with('/') {
        return invalid("it must begin with /");
    }
    if home.len() > HOME_MAX_BYTES || home.contains(char::is_control) {
        return invalid("it is longer than 1024 bytes or holds control characters");
    }
    if home.split('/').any(|part| part == "." || part == "..") {
        return invalid("it must not hold . or ..");
    }
    Ok(())
}

pub(crate) fn check_email(email: &str) -> Result<()> {
    let has_parts = email.split_once('@').is_some_and(|(who, place)| !who.is_empty() && !place.is_empty());
    if has_parts && email.len() <= EMAIL_MAX_BYTES && !email.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Ok(());
    }
    Err(Error::Invalid { field: "email", reason: "it must have the form name@example.com" })
}

/// As stored: whole seconds since 1970.
pub(crate) fn to_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

pub(crate) fn from_seconds(seconds: i64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "acme", "acme.de", "ann@example.com", "0-_", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".acme",
            "-rf",
            "_x",
            "@",
            "a b",
            "a/b",
            "a\n",
            "a\0",
            "acmé",
            "a:b",
            "a\\b",
            &"x".repeat(65),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn homes() {
        for good in ["/", "/acme", "/a/b c/ü", "/..a"] {
            assert!(check_home(good).is_ok(), "{good}");
        }
        for bad in ["", "acme", "/a/../b", "/.", "/a\nb"] {
            assert!(check_home(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn emails() {
        assert!(check_email("ann@example.com").is_ok());
        for bad in ["ann", "@x", "ann@", "a b@x", "a@b\r\n"] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }
}

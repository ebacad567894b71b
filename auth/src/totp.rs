//! Verification codes that change with time (RFC 6238), as authenticator apps make them: SHA-1, six digits, 30 seconds.
//! Arithmetic alone: which codes were used is the caller's to remember.

use std::fmt;

use aws_lc_rs::{constant_time, hmac, rand};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// How long a code is the current one.
const STEP_SECONDS: u64 = 30;
/// Clocks may differ by so many steps.
const STEPS_APART: u64 = 1;
/// Digits of a code.
pub(crate) const DIGITS: usize = 6;
/// A new key: as long as SHA-1's output (RFC 4226 section 4, R6).
const KEY_BYTES: usize = 20;
/// The same section's least.
const KEY_MIN_BYTES: usize = 16;
const KEY_MAX_BYTES: usize = 64;
/// RFC 4648 section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The key that a user's app and this server share.
#[derive(Clone, PartialEq, Eq)]
pub struct Totp(Zeroizing<Vec<u8>>);

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Totp {
    /// A new one, from the system's random source. `None` when that fails.
    #[must_use]
    pub fn generate() -> Option<Self> {
        let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
        rand::fill(&mut key).ok()?;
        Some(Self(key))
    }

    /// Reads base32 as people copy it: in any case, with spaces and padding or without.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |reason| Error::Invalid { field: "totp_secret", reason };
        let (mut key, mut bits, mut held) = (Zeroizing::new(Vec::new()), 0_u32, 0_u8);
        for byte in text.trim_end_matches('=').bytes().filter(|byte| !matches!(byte, b' ' | b'-')) {
            let value = BASE32.iter().position(|letter| *letter == byte.to_ascii_uppercase());
            let value = value.and_then(|value| u32::try_from(value).ok());
            bits = ((bits << 5) | value.ok_or_else(|| invalid("it is not base32 (A-Z and 2-7)"))?) & 0xfff;
            held += 5;
            if held >= 8 {
                held -= 8;
                key.push(u8::try_from((bits >> held) & 0xff).unwrap_or_default());
            }
            if key.len() > KEY_MAX_BYTES {
                return Err(invalid("it is longer than 64 bytes"));
            }
        }
        if key.len() < KEY_MIN_BYTES {
            return Err(invalid("it is shorter than 16 bytes, which are 26 characters"));
        }
        Ok(Self(key))
    }

    /// The key in base32, to be typed into an app.
    #[must_use]
    pub fn base32(&self) -> Secret {
        let (mut text, mut bits, mut held) = (String::with_capacity(self.0.len() * 8 / 5 + 1), 0_u32, 0_u8);
        let letter = |value: u32| char::from(*BASE32.get(value as usize & 31).unwrap_or(&b'A'));
        for byte in self.0.iter() {
            bits = ((bits << 8) | u32::from(*byte)) & 0xfff;
            held += 8;
            while held >= 5 {
                held -= 5;
                text.push(letter(bits >> held));
            }
        }
        if held > 0 {
            text.push(letter(bits << (5 - held)));
        }
        Secret::new(text)
    }

    /// The same as a URL, to be shown to an app as a QR code. What it does not say is what apps assume.
    #[must_use]
    pub fn url(&self, user: &str) -> Secret {
        // Names of users have nothing in them that would have to be escaped but this.
        let user = user.replace('@', "%40");
        Secret::new(format!("otpauth://totp/Landfall:{user}?secret={}&issuer=Landfall", self.base32().expose()))
    }

    /// The code of a step (RFC 4226 section 5.3).
    fn code(&self, step: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = tag.last().map_or(0, |last| usize::from(last & 0xf));
        let bytes = tag.get(offset..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        format!("{:06}", (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 1_000_000)
    }

    /// The step whose code this is, if that is near enough. All of them are looked at, whatever is shown.
    pub(crate) fn step_of(&self, shown: &str, seconds: u64) -> Option<u64> {
        let shown: Zeroizing<Vec<u8>> = Zeroizing::new(shown.bytes().filter(|byte| *byte != b' ').collect());
        let now = seconds / STEP_SECONDS;
        let mut found = None;
        for step in now.saturating_sub(STEPS_APART)..=now.saturating_add(STEPS_APART) {
            if constant_time::verify_slices_are_equal(self.code(step).as_bytes(), &shown).is_ok() {
                found = Some(step);
            }
        }
        found
    }

    /// The code of that time: for tests, which are the app here.
    #[cfg(test)]
    pub(crate) fn code_at(&self, seconds: u64) -> String {
        self.code(seconds / STEP_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_of_rfc_6238() -> Result<()> {
        let totp = Totp::parse(RFC_KEY)?;
        // Appendix B, SHA-1; the last six of its eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp.code_at(seconds), code, "{seconds}");
            assert_eq!(totp.step_of(code, seconds), Some(seconds / 30));
        }
        Ok(())
    }

    #[test]
    fn a_step_apart_and_no_more() -> Result<()> {
        let totp = Totp::parse(RFC_KEY)?;
        let code = totp.code_at(1_000_000_000);
        let accepted: Vec<u64> =
            (0..300).step_by(10).filter(|later| totp.step_of(&code, 999_999_850 + later).is_some()).collect();
        // Its own 30 seconds begin at 999,999,990.
        assert_eq!(accepted, [110, 120, 130, 140, 150, 160, 170, 180, 190]);
        assert_eq!(totp.step_of(&format!("{} {}", &code[..3], &code[3..]), 1_000_000_000), Some(33_333_333));
        for wrong in ["", "12345", "1234567", "abcdef", &code[1..], &format!("{code}0"), "٠٥٠٤٧١"] {
            assert_eq!(totp.step_of(wrong, 1_000_000_000), None, "{wrong}");
        }
        assert_eq!(totp.step_of(&totp.code_at(0), 0), Some(0), "no underflow at the beginning of time");
        Ok(())
    }

    #[test]
    fn keys_are_read_as_people_copy_them() -> Result<()> {
        let totp = Totp::parse(RFC_KEY)?;
        assert_eq!(totp.0.as_slice(), b"12345678901234567890");
        assert_eq!(totp.base32().expose(), RFC_KEY);
        assert_eq!(Totp::parse("gezd gnbv gy3t qojq gezd gnbv gy3t qojq")?, totp);
        assert_eq!(Totp::parse("MZXW6YTBOJRGC6RRGIZTINJWG44DS===")?.0.as_slice(), b"foobarbaz123456789");
        for _ in 0..50 {
            let made = Totp::generate().ok_or(Error::Busy)?;
            assert_eq!(Totp::parse(made.base32().expose())?, made);
        }
        for bad in ["", "short", "GEZDGNBVGY3TQOJ1GEZDGNBVGY3TQOJQ", &"A".repeat(200)] {
            assert!(Totp::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            totp.url("ann@example.com").expose(),
            format!("otpauth://totp/Landfall:ann%40example.com?secret={RFC_KEY}&issuer=Landfall")
        );
        assert_eq!(format!("{totp:?}"), "[secret]");
        Ok(())
    }
}

//! Secrets in memory: never printed, wiped when dropped; and the making of new ones. Knows no hashes.

use std::fmt;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// No 0 O 1 I l: generated passwords are read out over the telephone.
const ALPHABET: &[u8; 56] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz";
/// 24 of 56 kinds of characters: 139 bits.
const GENERATED_CHARACTERS: usize = 24;

/// A password or another text that nobody may read. Prints as `[secret]`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over. Copies that were made of it before are the caller's.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its length.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }

    /// True for the empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A new password: 24 characters, 139 bits, from the system's random source. `None` when that fails.
#[must_use]
pub fn generate_password() -> Option<Secret> {
    let mut password = String::with_capacity(GENERATED_CHARACTERS);
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while password.len() < GENERATED_CHARACTERS {
        rand::fill(bytes.as_mut_slice()).ok()?;
        // Six bits pick one of 64; picks beyond the last letter are thrown away, because a remainder would make the
        // first letters likelier.
        let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte >> 2)));
        password.extend(letters.take(GENERATED_CHARACTERS - password.len()).map(|letter| char::from(*letter)));
    }
    Some(Secret::new(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::from("hunter2");
        let printed = format!("{secret} {secret:?} {:?}", Some(&secret));
        assert!(!printed.contains("hunter2"), "{printed}");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn generated_passwords_are_long_readable_and_spread_evenly() {
        let mut counts = [0_usize; 256];
        for _ in 0..2000 {
            let password = generate_password().map(|password| password.expose().to_owned()).unwrap_or_default();
            assert_eq!(password.len(), 24);
            assert!(password.bytes().all(|byte| ALPHABET.contains(&byte)), "{password}");
            for byte in password.bytes() {
                if let Some(count) = counts.get_mut(usize::from(byte)) {
                    *count += 1;
                }
            }
        }
        // 48,000 letters, 857 of each on average, give or take 29: nine times that is no accident.
        let count_of = |letter: &u8| counts.get(usize::from(*letter)).copied().unwrap_or_default();
        for letter in ALPHABET {
            assert!((600..1120).contains(&count_of(letter)), "{} {}", char::from(*letter), count_of(letter));
        }
        // Were bytes taken modulo 56, the first 32 letters would come to 30,000 instead of 27,429, give or take 108.
        let first: usize = ALPHABET.iter().take(32).map(count_of).sum();
        assert!((26_400..28_400).contains(&first), "{first}");
    }

    #[test]
    fn the_alphabet_has_no_look_alikes() {
        assert!(!ALPHABET.iter().any(|letter| b"0O1Il".contains(letter)));
        assert!(ALPHABET.windows(2).all(|pair| pair.first() < pair.last()), "in order, so none twice");
    }
}

//! Several things to be shown in a row: which, in which order, and how far somebody is. Verifies nothing.
//!
//! The order counts: what comes second is not even looked at before the first was right. So nobody learns a password by
//! guessing who has not the key that is demanded before it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rows::Record;
use crate::secret::Secret;

/// One thing that somebody can be made to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Factor {
    /// A key, or a certificate.
    PublicKey,
    /// The password; with the verification code, where the user has one set up.
    Password,
    /// The verification code by itself.
    Totp,
}

impl FromStr for Factor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "publickey" => Ok(Self::PublicKey),
            "password" => Ok(Self::Password),
            "totp" => Ok(Self::Totp),
            _ => Err("a factor is one of publickey, password, totp"),
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublicKey => "publickey",
            Self::Password => "password",
            Self::Totp => "totp",
        })
    }
}

/// Can these be demanded in a row? None at all: any one of key and password will do.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_factors(factors: &[Factor]) -> Result<()> {
    let invalid = |reason| Err(Error::Invalid { field: "factors", reason });
    let twice =
        factors.iter().enumerate().any(|(index, factor)| factors.iter().take(index).any(|other| other == factor));
    if twice {
        return invalid("each can be demanded once");
    }
    if factors.first() == Some(&Factor::Totp) {
        return invalid("a code of six digits is too little to begin with: publickey,totp, or password for both");
    }
    if factors.contains(&Factor::Totp) && factors.contains(&Factor::Password) {
        return invalid("the password brings the code with it where the user has one: leave totp out");
    }
    Ok(())
}

/// What somebody has shown while more is demanded. Worth something for the name that it was shown for, and for no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    user: String,
    shown: Vec<Factor>,
    next: Factor,
    /// What it rests on, where that can be taken back: the hash that the password fitted, the key in normal form.
    pub(crate) password_hash: Option<Secret>,
    pub(crate) key: Option<String>,
}

impl Passed {
    /// Login name, as sent.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What is demanded next.
    #[must_use]
    pub fn next(&self) -> Factor {
        self.next
    }

    /// Does what it rests on still stand there? `record` was looked up with that key.
    pub(crate) fn holds(&self, record: &Record) -> bool {
        let hash = self.password_hash.as_ref().map(Secret::expose);
        (hash.is_none() || hash == record.password_hash.as_deref()) && (self.key.is_none() || record.has_key)
    }
}

/// Where somebody stands who has shown one thing more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Enough,
    More(Passed),
    OutOfTurn,
}

/// `user` shows `now`, after what was passed before, where `demanded` is demanded.
pub(crate) fn standing(user: &str, demanded: &[Factor], passed: Option<&Passed>, now: Factor) -> Standing {
    let shown = passed.filter(|passed| passed.user == user).map_or(&[][..], |passed| &passed.shown);
    if demanded.is_empty() {
        return if now == Factor::Totp { Standing::OutOfTurn } else { Standing::Enough };
    }
    // What is demanded may have changed in between.
    let rest = demanded.strip_prefix(shown).unwrap_or(demanded);
    match rest.split_first() {
        Some((first, [])) if *first == now => Standing::Enough,
        Some((first, [next, ..])) if *first == now => {
            let shown = demanded.iter().take(demanded.len() - rest.len() + 1).copied().collect();
            Standing::More(Passed { user: user.to_owned(), shown, next: *next, password_hash: None, key: None })
        }
        _ => Standing::OutOfTurn,
    }
}

#[cfg(test)]
mod tests {
    use super::Factor::{Password, PublicKey, Totp};
    use super::*;

    #[test]
    fn lists() {
        for good in
            [&[][..], &[Password], &[PublicKey], &[PublicKey, Password], &[Password, PublicKey], &[PublicKey, Totp]]
        {
            assert!(check_factors(good).is_ok(), "{good:?}");
        }
        for bad in
            [&[Totp][..], &[Totp, PublicKey], &[Password, Totp], &[PublicKey, PublicKey], &[PublicKey, Totp, Totp]]
        {
            assert!(check_factors(bad).is_err(), "{bad:?}");
        }
        for factor in [PublicKey, Password, Totp] {
            assert_eq!(factor.to_string().parse(), Ok(factor));
        }
        assert!("shell".parse::<Factor>().is_err());
    }

    fn more(user: &str, demanded: &[Factor], passed: Option<&Passed>, now: Factor) -> Option<Passed> {
        match standing(user, demanded, passed, now) {
            Standing::More(passed) => Some(passed),
            Standing::Enough | Standing::OutOfTurn => None,
        }
    }

    #[test]
    fn one_after_the_other() {
        let both = [PublicKey, Password];
        assert_eq!(standing("acme", &both, None, Password), Standing::OutOfTurn);
        let first = more("acme", &both, None, PublicKey);
        assert_eq!(first.as_ref().map(|passed| (passed.user(), passed.next())), Some(("acme", Password)));
        assert_eq!(standing("acme", &both, first.as_ref(), Password), Standing::Enough);
        // Not the same again, not for somebody else, not where meanwhile something else is demanded.
        assert_eq!(standing("acme", &both, first.as_ref(), PublicKey), Standing::OutOfTurn);
        assert_eq!(standing("beta", &both, first.as_ref(), Password), Standing::OutOfTurn);
        assert_eq!(standing("acme", &[Password, PublicKey], first.as_ref(), PublicKey), Standing::OutOfTurn);
        assert!(more("acme", &[Password, PublicKey], first.as_ref(), Password).is_some());
        assert_eq!(standing("acme", &[PublicKey, Totp], first.as_ref(), Totp), Standing::Enough);
    }

    #[test]
    fn any_one_where_nothing_is_demanded() {
        assert_eq!(standing("acme", &[], None, Password), Standing::Enough);
        assert_eq!(standing("acme", &[], None, PublicKey), Standing::Enough);
        assert_eq!(standing("acme", &[], None, Totp), Standing::OutOfTurn);
        assert_eq!(standing("acme", &[PublicKey], None, PublicKey), Standing::Enough);
        assert_eq!(standing("acme", &[PublicKey], None, Password), Standing::OutOfTurn);
    }
}

//! Password hashes: which kinds are understood, how much work each may ask for, does a password fit. Pure and blocking;
//! knows neither users nor threads.
//!
//! New hashes are Argon2id in PHC form. Understood besides, because people bring them along: Argon2 of any kind and cost,
//! bcrypt, sha512-crypt, PBKDF2 (PHC form and passlib's).

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use aws_lc_rs::{constant_time, pbkdf2, rand};
use base64ct::{Base64ShaCrypt, Base64Unpadded, Encoding};

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Longest password that is hashed. Longer ones are refused before any work.
pub const PASSWORD_MAX_BYTES: usize = 1024;

/// Longest text that is looked at as a hash.
const HASH_MAX_BYTES: usize = 512;
// What a hash that somebody else made may cost: each stays below some two seconds on a small machine, so that one line
// in a configuration cannot stop everybody's logins.
const ARGON2_MEMORY_MAX_KIB: u32 = 1024 * 1024;
const ARGON2_WORK_MAX_KIB_PASSES: u64 = 4 * 1024 * 1024;
const ARGON2_LANES_MAX: u32 = 16;
const BCRYPT_COST_MAX: u32 = 15;
const SHA512_CRYPT_ROUNDS_MAX: u32 = 1_000_000;
const PBKDF2_ROUNDS_MAX: u32 = 2_000_000;

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
const OUTPUT_MIN_BYTES: usize = 16;
const OUTPUT_MAX_BYTES: usize = 64;

/// What one of our own hashes costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes; they do not run in parallel here.
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

impl Cost {
    /// As the argon2 crate has it; refuses what would be too weak to be named a hash, or too much work.
    pub(crate) fn params(self) -> Result<Params> {
        let Self { memory_kib, passes, lanes } = self;
        if memory_kib < 8 * lanes.max(1) || passes == 0 || lanes == 0 {
            return Err(Error::InvalidHash("Argon2 needs a pass, a lane, and 8 KiB for each lane"));
        }
        check_argon2_cost(memory_kib, passes, lanes)?;
        Params::new(memory_kib, passes, lanes, Some(OUTPUT_BYTES))
            .map_err(|_| Error::InvalidHash("Argon2's parameters"))
    }
}

fn check_argon2_cost(memory_kib: u32, passes: u32, lanes: u32) -> Result<()> {
    if memory_kib > ARGON2_MEMORY_MAX_KIB {
        return Err(Error::InvalidHash("Argon2 with more than 1 GiB of memory is not accepted"));
    }
    if u64::from(memory_kib) * u64::from(passes) > ARGON2_WORK_MAX_KIB_PASSES || lanes > ARGON2_LANES_MAX {
        return Err(Error::InvalidHash("Argon2 with that many passes or lanes is too much work"));
    }
    Ok(())
}

/// A hash, understood and found affordable.
#[derive(Clone)]
pub(crate) enum StoredHash {
    Argon2 { algorithm: Algorithm, version: Version, params: Params, salt: Vec<u8>, output: Vec<u8> },
    Bcrypt(String),
    Sha512Crypt { params: sha_crypt::Params, salt: String, output: String },
    Pbkdf2 { algorithm: pbkdf2::Algorithm, rounds: NonZeroU32, salt: Vec<u8>, output: Vec<u8> },
}

impl StoredHash {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.len() > HASH_MAX_BYTES || !text.is_ascii() {
            return Err(Error::InvalidHash("it is too long or not ASCII"));
        }
        let kind = text.strip_prefix('$').and_then(|rest| rest.split_once('$')).map(|(kind, _)| kind);
        match kind {
            Some("argon2id" | "argon2i" | "argon2d") => parse_argon2(text),
            Some("2a" | "2b" | "2y") => parse_bcrypt(text),
            Some("6") => parse_sha512_crypt(text),
            Some("pbkdf2-sha256") => parse_pbkdf2(text, pbkdf2::PBKDF2_HMAC_SHA256),
            Some("pbkdf2-sha512") => parse_pbkdf2(text, pbkdf2::PBKDF2_HMAC_SHA512),
            _ => Err(Error::InvalidHash(
                "known are argon2id, argon2i, argon2d, bcrypt (2a, 2b, 2y), sha512-crypt (6), pbkdf2-sha256, pbkdf2-sha512",
            )),
        }
    }

    /// True when this is what a new hash of that cost would be, but for salt and output.
    pub(crate) fn is_current(&self, cost: &Params) -> bool {
        matches!(self, Self::Argon2 { algorithm: Algorithm::Argon2id, version: Version::V0x13, params, salt, output }
            if params.m_cost() == cost.m_cost() && params.t_cost() == cost.t_cost() && params.p_cost() == cost.p_cost()
                && salt.len() >= SALT_BYTES && output.len() >= OUTPUT_BYTES)
    }

    /// Does the password fit? `memory` is used if it is large enough.
    pub(crate) fn fits(&self, password: &Secret, memory: &mut [Block]) -> bool {
        let password = password.expose().as_bytes();
        match self {
            Self::Argon2 { algorithm, version, params, salt, output } => {
                let argon2 = Argon2::new(*algorithm, *version, params.clone());
                let mut computed = vec![0; output.len()];
                let done = if memory.len() >= params.block_count() {
                    argon2.hash_password_into_with_memory(password, salt, &mut computed, memory)
                } else {
                    argon2.hash_password_into(password, salt, &mut computed)
                };
                done.is_ok() && constant_time::verify_slices_are_equal(&computed, output).is_ok()
            }
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Self::Sha512Crypt { params, salt, output } => {
                let computed = sha512_crypt_text(password, salt.as_bytes(), *params);
                constant_time::verify_slices_are_equal(computed.as_bytes(), output.as_bytes()).is_ok()
            }
            Self::Pbkdf2 { algorithm, rounds, salt, output } => {
                pbkdf2::verify(*algorithm, *rounds, salt, password, output).is_ok()
            }
        }
    }
}

/// A fresh Argon2id hash in PHC form. `None` when the system has no randomness to give.
pub(crate) fn make(password: &Secret, cost: &Params, memory: &mut [Block]) -> Option<String> {
    let (mut salt, mut output) = ([0; SALT_BYTES], [0; OUTPUT_BYTES]);
    rand::fill(&mut salt).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.clone());
    argon2.hash_password_into_with_memory(password.expose().as_bytes(), &salt, &mut output, memory).ok()?;
    let (salt, output) = (Base64Unpadded::encode_string(&salt), Base64Unpadded::encode_string(&output));
    let (memory_kib, passes, lanes) = (cost.m_cost(), cost.t_cost(), cost.p_cost());
    Some(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${output}"))
}

/// A hash that no password fits, and that costs as much to try as a real one.
pub(crate) fn make_dummy(cost: &Params) -> Option<StoredHash> {
    let (mut salt, mut output) = (vec![0; SALT_BYTES], vec![0; OUTPUT_BYTES]);
    rand::fill(&mut salt).ok()?;
    rand::fill(&mut output).ok()?;
    let params = cost.clone();
    Some(StoredHash::Argon2 { algorithm: Algorithm::Argon2id, version: Version::V0x13, params, salt, output })
}

fn parse_argon2(text: &str) -> Result<StoredHash> {
    const DAMAGED: Error = Error::InvalidHash("the Argon2 hash is cut off or damaged");
    let hash = PasswordHash::new(text).map_err(|_| DAMAGED)?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| DAMAGED)?;
    // Argon2's first version did not write its number.
    let version = hash.version.map_or(Ok(Version::V0x10), Version::try_from).map_err(|_| DAMAGED)?;
    let params = Params::try_from(&hash).map_err(|_| DAMAGED)?;
    check_argon2_cost(params.m_cost(), params.t_cost(), params.p_cost())?;
    if !params.data().is_empty() {
        return Err(Error::InvalidHash("Argon2 with associated data is not accepted"));
    }
    let (salt, output) = (hash.salt.ok_or(DAMAGED)?, hash.hash.ok_or(DAMAGED)?);
    check_output(output.as_bytes())?;
    Ok(StoredHash::Argon2 { algorithm, version, params, salt: salt.to_vec(), output: output.as_bytes().to_vec() })
}

fn parse_bcrypt(text: &str) -> Result<StoredHash> {
    let parts: bcrypt::HashParts =
        text.parse().map_err(|_| Error::InvalidHash("the bcrypt hash is cut off or damaged"))?;
    if !(4..=BCRYPT_COST_MAX).contains(&parts.get_cost()) {
        return Err(Error::InvalidHash("bcrypt's cost must be from 4 to 15"));
    }
    Ok(StoredHash::Bcrypt(text.to_owned()))
}

/// `$6$[rounds=N$]SALT$OUTPUT`
fn parse_sha512_crypt(text: &str) -> Result<StoredHash> {
    const DAMAGED: Error = Error::InvalidHash("the sha512-crypt hash is cut off or damaged");
    let rest = text.strip_prefix("$6$").ok_or(DAMAGED)?;
    let (params, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or(DAMAGED)?;
            let rounds: u32 = rounds.parse().map_err(|_| DAMAGED)?;
            if rounds > SHA512_CRYPT_ROUNDS_MAX {
                return Err(Error::InvalidHash("sha512-crypt with more than 1,000,000 rounds is too much work"));
            }
            (sha_crypt::Params::new(rounds).map_err(|_| DAMAGED)?, rest)
        }
        None => (sha_crypt::Params::RECOMMENDED, rest),
    };
    let (salt, output) = rest.split_once('$').ok_or(DAMAGED)?;
    if salt.len() > 16 || output.len() != 86 || output.contains('$') {
        return Err(DAMAGED);
    }
    Ok(StoredHash::Sha512Crypt { params, salt: salt.to_owned(), output: output.to_owned() })
}

/// crypt(3) writes the digest's bytes in the order 42 21 0, 1 43 22, 23 2 44, …: byte i of each third, the thirds
/// turned by one place each time; then the last byte.
fn sha512_crypt_text(password: &[u8], salt: &[u8], params: sha_crypt::Params) -> String {
    let digest = sha_crypt::sha512_crypt(password, salt, params);
    let (thirds, last) = digest.split_at(63);
    let mut bytes = Vec::with_capacity(64);
    for index in 0..21 {
        let mut triple = [42, 21, 0].map(|third| thirds.get(third + index).copied().unwrap_or_default());
        triple.rotate_right(index % 3);
        bytes.extend(triple);
    }
    bytes.extend(last);
    Base64ShaCrypt::encode_string(&bytes)
}

/// PHC: `$pbkdf2-sha256$i=N[,l=N]$SALT$OUTPUT`; passlib: `$pbkdf2-sha256$N$SALT$OUTPUT` with `.` for `+`.
fn parse_pbkdf2(text: &str, algorithm: pbkdf2::Algorithm) -> Result<StoredHash> {
    const DAMAGED: Error = Error::InvalidHash("the PBKDF2 hash is cut off or damaged");
    let fields: Vec<&str> = text.split('$').collect();
    let [_, _, params, salt, output] = fields.as_slice() else { return Err(DAMAGED) };
    let mut rounds = *params;
    let mut length = None;
    if params.contains('=') {
        for param in params.split(',') {
            match param.split_once('=') {
                Some(("i", value)) => rounds = value,
                Some(("l", value)) => length = Some(value.parse::<usize>().map_err(|_| DAMAGED)?),
                _ => return Err(DAMAGED),
            }
        }
    }
    let rounds: NonZeroU32 = rounds.parse().map_err(|_| DAMAGED)?;
    if rounds.get() > PBKDF2_ROUNDS_MAX {
        return Err(Error::InvalidHash("PBKDF2 with more than 2,000,000 rounds is too much work"));
    }
    let decode = |text: &str| Base64Unpadded::decode_vec(&text.replace('.', "+")).map_err(|_| DAMAGED);
    let (salt, output) = (decode(salt)?, decode(output)?);
    check_output(&output)?;
    if length.is_some_and(|length| length != output.len()) {
        return Err(DAMAGED);
    }
    Ok(StoredHash::Pbkdf2 { algorithm, rounds, salt, output })
}

/// Too short an output fits many passwords; too long a one multiplies PBKDF2's work.
fn check_output(output: &[u8]) -> Result<()> {
    if (OUTPUT_MIN_BYTES..=OUTPUT_MAX_BYTES).contains(&output.len()) {
        Ok(())
    } else {
        Err(Error::InvalidHash("its output must have from 16 to 64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse";
    /// Made by other programs: crypt(3) of glibc, Python's bcrypt, passlib, argon2-cffi, hashlib.
    const FOREIGN: [&str; 13] = [
        "$6$saltstring12345$CuCX9ABBU9L8d0TkLnS3k9ioZH.OCfZxtJruY9.tSVB5WPwtOfQ3eABXAx8f5mHkiu8zZT2.trwkswcnLN0dh.",
        "$6$rounds=1500$short$iwquaC/0U9rR8sYHHk4cnCR3KYqK3wlhT1YpLcIt4FYi7x2SH9PIryZ7lIvxc55wbWZy2cS91MGmExRSd5.8T0",
        "$2a$04$Rz7RvRjpsp3XA1XMuoxqL.h1q4jtdowHa9a0IaIcN4njT2KIpd1q2",
        "$2b$04$yldfyZTrlxqUb7n7SzyWxu01srjcrxsjuj7UcW8eZ.eP/GplM8Nxq",
        "$2y$04$NstrpITvDW29/etquUVlnO5dPmL06vaI38dbSqL/m5L1Rci5PNYFq",
        "$pbkdf2-sha256$1200$MDEyMzQ1Njc4OWFiY2RlZg$aCG4tQGUV.nhBFCGnfDHLhxUG3YEIh8hLILMSPQCWow",
        "$pbkdf2-sha512$1300$MDEyMzQ1Njc4OWFiY2RlZg$1h/LXJVFG4gIuPTKBL7UKSy4vB8DKEK0PX3W8ajx6xJKGgnNuTTrQyvSNFkGgw60VmgHPGseRck47f3V5dh8NA",
        "$pbkdf2-sha256$1200$//79....//8$fF5S0N5c2mIDbEocPyITeNQFCtth0pQ9IOSl2RWBPZ0",
        "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$cBg8D2DungRB9k76szThf5ehfyBz991ay6PT8Srwk4M",
        "$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$JihI5cU0dA9i7vaff50sicUfQvt0Ynt/Aa7xY0wdEGo",
        "$argon2i$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$RQdVQ+UnM/615ecZ4E81QH2jdHGbgejLtLL0uG7wBH0",
        "$argon2d$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$TvJHYsgEVznVOCAEKhsE7FEKuYdm9KggcK++r+Jwffs",
        "$argon2id$v=16$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$TZFY7m3moZoe7qOGa2UOI7bJ1yqB1olJ",
    ];

    fn fits(hash: &str, password: &str) -> Result<bool> {
        Ok(StoredHash::parse(hash)?.fits(&Secret::from(password), &mut []))
    }

    #[test]
    fn hashes_of_other_programs_fit_their_password_and_no_other() -> Result<()> {
        let cost = Cost::default().params()?;
        for hash in FOREIGN {
            assert!(fits(hash, PASSWORD)?, "{hash}");
            for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
                assert!(!fits(hash, wrong)?, "{hash} {wrong:?}");
            }
            assert!(!StoredHash::parse(hash)?.is_current(&cost), "{hash}");
        }
        let long = "$6$abcdefgh$.izBXw9pTN9zcS06MSf7Jr1SBxSasFo.QHYHNiZV/jkEIFQZh54rrZ4g9HjpwLKRF7.0c7CczsJhe67OVbawq.";
        assert!(fits(long, &"pässwörd".repeat(20))?);
        Ok(())
    }

    #[test]
    fn no_changed_character_fits() -> Result<()> {
        for hash in FOREIGN {
            // The last characters of base64 may carry unused bits: take one before, from the output.
            let at = hash.len() - 5;
            let other = if hash.get(at..=at) == Some("A") { "B" } else { "A" };
            let changed = [hash.get(..at).unwrap_or_default(), other, hash.get(at + 1..).unwrap_or_default()].concat();
            assert!(!fits(&changed, PASSWORD)?, "{changed}");
        }
        Ok(())
    }

    #[test]
    fn our_own_hashes_fit_and_are_current() -> Result<()> {
        let cost = Cost { memory_kib: 64, passes: 2, lanes: 1 };
        let params = cost.params()?;
        let mut memory = vec![Block::new(); params.block_count()];
        let password = Secret::from(PASSWORD);
        let made: Vec<String> = (0..2).filter_map(|_| make(&password, &params, &mut memory)).collect();
        let [one, two] = made.as_slice() else { panic!("two hashes") };
        assert!(one.starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{one}");
        assert_ne!(one, two, "each has a salt of its own");
        assert!(fits(one, PASSWORD)? && fits(two, PASSWORD)? && !fits(one, "wrong")?);
        assert!(StoredHash::parse(one)?.is_current(&params));
        for other in [Cost { passes: 3, ..cost }, Cost { memory_kib: 128, ..cost }, Cost { lanes: 2, ..cost }] {
            assert!(!StoredHash::parse(one)?.is_current(&other.params()?), "{other:?}");
        }
        Ok(())
    }

    #[test]
    fn memory_that_was_used_before_changes_nothing() -> Result<()> {
        let params = Cost { memory_kib: 64, passes: 1, lanes: 1 }.params()?;
        let mut memory = vec![Block::new(); 256];
        for hash in FOREIGN {
            let hash = StoredHash::parse(hash)?;
            assert!(!hash.fits(&Secret::from("wrong"), &mut memory));
            assert!(hash.fits(&Secret::from(PASSWORD), &mut memory));
        }
        assert!(make_dummy(&params).is_some_and(|dummy| !dummy.fits(&Secret::from(PASSWORD), &mut memory)));
        Ok(())
    }

    #[test]
    fn damaged_unknown_and_costly_ones_are_refused() {
        let tail = "$c29tZXNhbHRzb21lc2FsdA$JihI5cU0dA9i7vaff50sicUfQvt0Ynt/Aa7xY0wdEGo";
        let crypt_tail = "x".repeat(86);
        for bad in [
            "",
            "plain",
            "$",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "$5$salt$x",
            "$2x$04$Rz7RvRjpsp3XA1XMuoxqL.h1q4jtdowHa9a0IaIcN4njT2KIpd1q2",
            "$2b$16$yldfyZTrlxqUb7n7SzyWxu01srjcrxsjuj7UcW8eZ.eP/GplM8Nxq",
            "$2b$03$yldfyZTrlxqUb7n7SzyWxu01srjcrxsjuj7UcW8eZ.eP/GplM8Nxq",
            "$2b$04$yldfyZTrlxqUb7n7SzyWxu01srjcrxsjuj7UcW8eZ.eP/GplM8Nx",
            &format!("$argon2id$v=19$m=1048577,t=1,p=1{tail}"),
            &format!("$argon2id$v=19$m=1048576,t=5,p=1{tail}"),
            &format!("$argon2id$v=19$m=64,t=4294967295,p=1{tail}"),
            &format!("$argon2id$v=19$m=1024,t=1,p=17{tail}"),
            &format!("$argon2id$v=18$m=64,t=1,p=1{tail}"),
            "$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA",
            "$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$JihI5cU0dA9i",
            &format!("$6$rounds=1000001$salt${crypt_tail}"),
            &format!("$6$rounds=999999999$salt${crypt_tail}"),
            &format!("$6$rounds=999$salt${crypt_tail}"),
            &format!("$6$rounds=x$salt${crypt_tail}"),
            &format!("$6$seventeen-letters${crypt_tail}"),
            "$6$salt$short",
            "$6$salt",
            "$pbkdf2-sha256$2000001$MDEyMzQ1Njc4OWFiY2RlZg$aCG4tQGUV.nhBFCGnfDHLhxUG3YEIh8hLILMSPQCWow",
            "$pbkdf2-sha256$0$MDEyMzQ1Njc4OWFiY2RlZg$aCG4tQGUV.nhBFCGnfDHLhxUG3YEIh8hLILMSPQCWow",
            "$pbkdf2-sha256$i=1000,l=16$MDEyMzQ1Njc4OWFiY2RlZg$cBg8D2DungRB9k76szThf5ehfyBz991ay6PT8Srwk4M",
            "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$cBg8D2Du",
            "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg",
            &"$6$".repeat(300),
            "$6$sält$x",
        ] {
            assert!(matches!(StoredHash::parse(bad), Err(Error::InvalidHash(_))), "{bad}");
        }
    }

    #[test]
    fn costs_without_sense_are_refused() {
        for (memory_kib, passes, lanes) in
            [(0, 1, 1), (7, 1, 1), (64, 0, 1), (64, 1, 0), (8, 1, 2), (2_000_000, 1, 1), (1_000_000, 100, 1)]
        {
            assert!(Cost { memory_kib, passes, lanes }.params().is_err(), "{memory_kib} {passes} {lanes}");
        }
    }
}

//! Public keys in OpenSSH's one-line form: parsed, checked, written in one normal form. Verifies no signature.
//!
//! Reads the wire form itself (RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8332, RFC 8709, OpenSSH's PROTOCOL.u2f):
//! sixty lines against a dependency whose only version in use here is a release candidate.

use std::fmt;

use aws_lc_rs::digest;
use base64ct::{Base64, Base64Unpadded, Encoding};

use crate::error::{Error, Result};

/// Longest line that is looked at: an RSA key of 16,384 bits has 2,800 characters.
const LINE_MAX_BYTES: usize = 8 * 1024;
/// Longest comment that is kept.
const COMMENT_MAX_BYTES: usize = 256;
const RSA_MIN_BITS: usize = 2048;
const RSA_MAX_BITS: usize = 16_384;

/// The kinds of keys that open a door.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    normal: String,
    fingerprint: String,
    comment: String,
}

impl PublicKey {
    /// Reads `TYPE BASE64 [COMMENT]`.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    pub fn parse(line: &str) -> Result<Self> {
        let line = line.trim();
        if line.is_empty() {
            return Err(Error::InvalidKey("the line is empty"));
        }
        if line.len() > LINE_MAX_BYTES {
            return Err(Error::InvalidKey("the line is longer than 8 KiB"));
        }
        if line.contains(char::is_control) {
            return Err(Error::InvalidKey("it holds line breaks or control characters; give one key a line"));
        }
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        if !KINDS.contains(&kind) {
            return Err(Error::InvalidKey(why_not_a_kind(line, kind)));
        }
        let rest = rest.trim_start();
        let (base64, comment) = rest.split_once(' ').unwrap_or((rest, ""));
        let blob = Base64::decode_vec(base64)
            .map_err(|_| Error::InvalidKey("the part after the type is not base64; is the line cut off?"))?;
        check_blob(kind, &blob).map_err(Error::InvalidKey)?;
        let digest = digest::digest(&digest::SHA256, &blob);
        Ok(Self {
            normal: format!("{kind} {base64}"),
            fingerprint: format!("SHA256:{}", Base64Unpadded::encode_string(digest.as_ref())),
            comment: shorten(comment.trim(), COMMENT_MAX_BYTES).to_owned(),
        })
    }

    /// Type and base64, with one space between. Equal keys have equal texts.
    #[must_use]
    pub fn normal(&self) -> &str {
        &self.normal
    }

    /// `SHA256:` and unpadded base64, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What stands behind the key; often whose it is. May be empty.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// What kind of key it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.normal.split(' ').next().unwrap_or_default()
    }

    /// The same key under another comment.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] when the comment holds control characters or is longer than 256 bytes.
    pub fn with_comment(mut self, comment: &str) -> Result<Self> {
        if comment.contains(char::is_control) || comment.len() > COMMENT_MAX_BYTES {
            return Err(Error::InvalidKey("a comment has at most 256 bytes and no control characters"));
        }
        comment.trim().clone_into(&mut self.comment);
        Ok(self)
    }

    /// As the database has it.
    pub(crate) fn stored(normal: String, fingerprint: String, comment: String) -> Self {
        Self { normal, fingerprint, comment }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.normal)?;
        if self.comment.is_empty() { Ok(()) } else { write!(f, " {}", self.comment) }
    }
}

/// The reason that helps somebody who pasted the wrong thing.
fn why_not_a_kind(line: &str, kind: &str) -> &'static str {
    if line.contains("PRIVATE KEY") {
        "this is a private key: give the .pub file, and keep the private key to yourself"
    } else if line.starts_with("---- BEGIN SSH2") || line.starts_with("-----BEGIN") {
        "it is in PEM or SSH2 form: convert it with ssh-keygen -i"
    } else if kind.ends_with("-cert-v01@openssh.com") {
        "it is a certificate, not a key"
    } else if kind == "ssh-dss" {
        "DSA keys are not accepted: make an Ed25519 key"
    } else if KINDS.iter().any(|kind| line.contains(&format!("{kind} AAAA"))) {
        "options in front of a key are not supported: give type, key and comment alone"
    } else {
        "it does not begin with a type such as ssh-ed25519, ecdsa-sha2-nistp256 or ssh-rsa"
    }
}

fn check_blob(kind: &str, blob: &[u8]) -> Result<(), &'static str> {
    const CUT: &str = "the key is cut off or damaged";
    let mut rest = blob;
    let mut field = || take_field(&mut rest).ok_or(CUT);
    if field()? != kind.as_bytes() {
        return Err("the type in front and the type inside the key differ");
    }
    match kind {
        "ssh-ed25519" => ensure(field()?.len() == 32, CUT)?,
        "sk-ssh-ed25519@openssh.com" => {
            ensure(field()?.len() == 32, CUT)?;
            ensure(!field()?.is_empty(), CUT)?;
        }
        "ecdsa-sha2-nistp256" => check_point(field()?, field()?, b"nistp256", 32)?,
        "ecdsa-sha2-nistp384" => check_point(field()?, field()?, b"nistp384", 48)?,
        "ecdsa-sha2-nistp521" => check_point(field()?, field()?, b"nistp521", 66)?,
        "sk-ecdsa-sha2-nistp256@openssh.com" => {
            check_point(field()?, field()?, b"nistp256", 32)?;
            ensure(!field()?.is_empty(), CUT)?;
        }
        _ => check_rsa(field()?, field()?)?,
    }
    ensure(rest.is_empty(), "there is more behind the key's last field")
}

/// Uncompressed points only, as OpenSSH writes them.
fn check_point(curve: &[u8], point: &[u8], expected: &[u8], coordinate_bytes: usize) -> Result<(), &'static str> {
    ensure(curve == expected, "the curve does not fit the type")?;
    ensure(point.len() == 1 + 2 * coordinate_bytes && point.first() == Some(&4), "the point on the curve is damaged")
}

fn check_rsa(exponent: &[u8], modulus: &[u8]) -> Result<(), &'static str> {
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let positive = |number: &[u8]| number.first().is_some_and(|byte| byte & 0x80 == 0);
    ensure(positive(exponent) && exponent.len() <= 8 && odd(exponent) && exponent != [1], "the exponent is damaged")?;
    ensure(positive(modulus) && odd(modulus), "the modulus is damaged")?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = (modulus.len() - zeros) * 8
        - modulus.get(zeros).map_or(0, |byte| usize::try_from(byte.leading_zeros()).unwrap_or(0));
    ensure(bits >= RSA_MIN_BITS, "RSA keys need at least 2048 bits: make an Ed25519 key")?;
    ensure(bits <= RSA_MAX_BITS, "RSA keys of more than 16384 bits are not accepted")
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// A `string` of RFC 4251 section 5: four bytes of length, then that many.
fn take_field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (field, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(field)
}

fn shorten(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

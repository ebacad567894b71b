//! Public keys in OpenSSH's one-line form: parsed, checked, written in one normal form. Verifies no signature.
//!
//! Reads the wire form itself (RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8332, RFC 8709, OpenSSH's PROTOCOL.u2f):
//! sixty lines against a dependency whose only version in use here is a release candidate.

use std::fmt;
use std::str::FromStr;

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

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        Self::parse(line)
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by ssh-keygen, which also gave the fingerprints.
    const GOOD: [(&str, &str); 5] = [
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYqez8RfdVHLExPKqR17ixxIJjrETdYdQgmbaS1kMRI",
            "SHA256:FzzFV4i06ba/lvtAUxFNJai1fk5Ie6FikRYjAgXLuGI",
        ),
        (
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBOwI3WM421Kw9zAfJZNc8CLch5wO8T9PFYZ7Sd6I5ECJOw0qSFq2X+wGGWiDJj3q7ERCbWMmXNABcTnsS0H7t6Y=",
            "SHA256:kl8bKhGYtHIzkJe37Fa1p+xtJf1Zrfh2WKlZI60fo78",
        ),
        (
            "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBPGHHuOgFaDMTArYLTf9Ip4UqiN+6e2azRief2KOLpAp9qHKKYvsblbXBFILhGu/EJTmk3ULStQEY4wqe+llLL+wD9HqzhtcdbY6+zBD4JszGWJE8OCjxDI5+WKvxCFEtg==",
            "SHA256:zXaRm1qtBuu93o0PESje0zKlZaTgvimJTFOSVGUGsHw",
        ),
        (
            "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBABT2tmf65jmYAGwZpEBXe1f4GXC5p2rSsyr2MTEJ9Mv9PLog46Hv4/ydERS+33Q6EP1UaxV/CCFAWdFhFoziukmQwDw/tN/n+6criBxlcQlVsy7z7aZ/nrmL/BZC7Axn4sbGa6mzt/Tq5fe4DyS+nV3q1Ykk5SOjoKVshD7QFtqAldpxQ==",
            "SHA256:yIYofrm8J60/BMuqiz3tW/Ov6H43ORb0M60DSVnmI0c",
        ),
        (
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDkdGSzKi0UPqcvKeel5RN0PAvnRtWxeqsmN4PDA2SzFL1ocHsMlIqMe4q1b9QyTpjtQG367uYoeZthIIy9MQvRmb8R2x4QL7vAhzTI6TDLuS76hYM9+J4YYSNViazLA5hQY+4FyQBh7QDM5x6dmg96iCZMGMnVbfucfMgy/BCpmYKTDqd+oDXcpHmAW36GTMlFW4CVOEsynTCnWyJtcA8U5gIK3iRy0GJRHswKvalJQZa+QRQvUsLXQZwcDvK18IU3jyGvzLZz3iBHb1r/VLA/7/wjwNTUxhlFYTJzUnUaTwRtukhe4mpIr4x024iS7yhwcHnJvvZNUEFpopZYEf4b",
            "SHA256:mahiLV9fqZVAhoxms8La3uJ5m9WOTSlmrsDbGWUhQIg",
        ),
    ];
    const WEAK_RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCzRz5cW1B8S4UGzDJjtRkx4hTgCzkuAz0knJvOPkQ+gAtEKpIST5Em9x6ysP5LC5XhvrDLuXnUkMzCTSH/VYNUKMCT+3K/ymjxWL6ZPvPRt591AH78MEPbSTCPq7CrblF9MvEOpj2SyPcxXc4wQYAHo7xpexwLGGKvpjTTlOA2RQ==";

    fn line(kind: &str, fields: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for field in [kind.as_bytes()].iter().chain(fields) {
            blob.extend(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
            blob.extend_from_slice(field);
        }
        format!("{kind} {}", Base64::encode_string(&blob))
    }

    fn point(coordinate_bytes: usize) -> Vec<u8> {
        [vec![4], vec![9; 2 * coordinate_bytes]].concat()
    }

    #[test]
    fn keys_of_openssh() -> Result<()> {
        for (text, fingerprint) in GOOD {
            let key = PublicKey::parse(text)?;
            assert_eq!((key.normal(), key.fingerprint(), key.comment()), (text, fingerprint, ""));
            let key = PublicKey::parse(&format!("  {text}   Ann's laptop (new)\r\n"))?;
            assert_eq!((key.normal(), key.comment()), (text, "Ann's laptop (new)"));
            assert_eq!(key.to_string(), format!("{text} Ann's laptop (new)"));
            assert_eq!(key.kind(), text.split(' ').next().unwrap_or_default());
        }
        Ok(())
    }

    #[test]
    fn keys_of_hardware_tokens() -> Result<()> {
        PublicKey::parse(&line("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]))?;
        PublicKey::parse(&line("sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &point(32), b"ssh:"]))?;
        Ok(())
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_reason() {
        let modulus = |bits: usize| [vec![0], vec![0xff; bits / 8]].concat();
        let ed = GOOD.first().map_or("", |(text, _)| *text);
        let cut = ed.get(..ed.len() - 8).unwrap_or_default();
        let table = [
            (String::new(), "empty"),
            ("hello".to_owned(), "does not begin"),
            (format!("no-pty,command=\"x\" {ed}"), "options"),
            (format!("from=\"10.0.0.1\" {ed}"), "options"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), "private key"),
            ("---- BEGIN SSH2 PUBLIC KEY ----".to_owned(), "PEM or SSH2"),
            ("ssh-dss AAAAB3NzaC1kc3M=".to_owned(), "DSA"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA".to_owned(), "certificate"),
            ("ssh-ed25519".to_owned(), "cut off"),
            (format!("{ed}!"), "base64"),
            (cut.to_owned(), "cut off"),
            (format!("{ed}\n{ed}"), "line breaks"),
            (ed.replace("ssh-ed25519 ", "ssh-rsa "), "differ"),
            (WEAK_RSA.to_owned(), "at least 2048 bits"),
            (line("ssh-rsa", &[&[1, 0, 1], &modulus(2040)]), "at least 2048 bits"),
            (line("ssh-rsa", &[&[1, 0, 1], &modulus(16_392)]), "more than 16384 bits"),
            (line("ssh-rsa", &[&[1], &modulus(2048)]), "exponent"),
            (line("ssh-rsa", &[&[], &modulus(2048)]), "exponent"),
            (line("ssh-rsa", &[&[2], &modulus(2048)]), "exponent"),
            (line("ssh-rsa", &[&[3], &[]]), "modulus"),
            (line("ssh-rsa", &[&[3], &[0xff; 256]]), "modulus"),
            (line("ssh-ed25519", &[&[7; 31]]), "cut off"),
            (line("ssh-ed25519", &[&[7; 32], b"more"]), "more behind"),
            (line("ecdsa-sha2-nistp256", &[b"nistp384", &point(32)]), "curve"),
            (line("ecdsa-sha2-nistp256", &[b"nistp256", &point(48)]), "point"),
            (line("ecdsa-sha2-nistp256", &[b"nistp256", &[2; 33]]), "point"),
            (line("sk-ssh-ed25519@openssh.com", &[&[7; 32]]), "cut off"),
            (format!("{ed} {}", "x".repeat(9000)), "8 KiB"),
        ];
        for (text, reason) in table {
            match PublicKey::parse(&text) {
                Err(Error::InvalidKey(told)) => assert!(told.contains(reason), "{text:.60}: {told}"),
                other => panic!("{text:.60}: {other:?}"),
            }
        }
        assert!(PublicKey::parse(&line("ssh-rsa", &[&[1, 0, 1], &modulus(2048)])).is_ok());
    }

    #[test]
    fn long_comments_are_cut_between_characters() -> Result<()> {
        let (text, _) = GOOD.first().copied().unwrap_or_default();
        let key = PublicKey::parse(&format!("{text} {}", "ü".repeat(200)))?;
        assert_eq!(key.comment().len(), 256);
        assert!(key.clone().with_comment("x\ny").is_err());
        assert_eq!(key.with_comment(" laptop ")?.comment(), "laptop");
        Ok(())
    }

    #[test]
    fn lengths_beyond_the_end_are_no_field() {
        for bytes in [&[][..], &[0, 0, 0], &[0, 0, 0, 1], &[0xff; 8], &[0x7f, 0xff, 0xff, 0xff, 1]] {
            let mut rest = bytes;
            assert!(take_field(&mut rest).is_none(), "{bytes:?}");
        }
    }
}

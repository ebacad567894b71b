//! OpenSSH user certificates (OpenSSH's PROTOCOL.certkeys): which of them are good, whomever they name. Who that is, and
//! whether they may come in, is the door's matter. That the holder has the key was verified by russh before.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_auth::{Certificate as Shown, Network, PublicKey};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};

/// Why a certificate opens nothing. For the log: the client hears what it hears for any key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is signed by an authority that sftp.user_ca_keys does not list")]
    Authority,
    #[error("it is signed with SHA-1")]
    Sha1,
    #[error("its signature is damaged, or it is not valid at this time")]
    Signature,
    #[error("it is not a user's certificate")]
    Kind,
    #[error("its key is of a kind or length that is not accepted")]
    Key,
    #[error("it names no principal")]
    Principals,
    #[error("its source-address does not allow this network")]
    Source,
    #[error("its critical option {0:?} is not honoured here")]
    Option(String),
}

/// What is said of a certificate in the log, and to the door.
pub(super) fn shown(certificate: &Certificate) -> Shown {
    Shown {
        key_id: certificate.key_id().to_owned(),
        serial: certificate.serial(),
        authority: certificate.signature_key().fingerprint(HashAlg::Sha256).to_string(),
        principals: certificate.valid_principals().to_vec(),
    }
}

/// Is it good for somebody who comes from `peer` at `now`? The authority is looked at first: what strangers sign is not
/// worth a computation, nor a reading.
pub(super) fn check(
    certificate: &Certificate,
    authorities: &[PublicKey],
    peer: IpAddr,
    now: SystemTime,
) -> Result<(), Unfit> {
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    if !authorities.iter().any(|listed| listed.fingerprint() == authority.to_string()) {
        return Err(Unfit::Authority);
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None }) {
        return Err(Unfit::Sha1);
    }
    // valid after <= now < valid before, both as plain numbers: russh, which looks at times too, takes those beyond what
    // a clock can show for no bound at all.
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    certificate.validate_at(seconds, [&authority]).map_err(|_| Unfit::Signature)?;
    if certificate.cert_type() != CertType::User {
        return Err(Unfit::Kind);
    }
    let key = russh::keys::PublicKey::new(certificate.public_key().clone(), "");
    key.to_openssh().ok().and_then(|line| PublicKey::parse(&line).ok()).ok_or(Unfit::Key)?;
    // Without principals sshd would take it for anybody.
    if certificate.valid_principals().is_empty() {
        return Err(Unfit::Principals);
    }
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "source-address" if comes_from(value, peer) => {}
            "source-address" => return Err(Unfit::Source),
            // force-command among them: there is no command here that it could stand for.
            _ => return Err(Unfit::Option(name.clone())),
        }
    }
    Ok(())
}

/// Addresses and ranges, separated by commas. One that cannot be read makes all of them void.
fn comes_from(list: &str, peer: IpAddr) -> bool {
    let networks: Result<Vec<Network>, _> = list.split(',').map(str::parse).collect();
    networks.is_ok_and(|networks| networks.iter().any(|network| network.contains(peer)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;

    use super::*;

    const NOON: u64 = 1_800_000_000;
    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn key() -> PrivateKey {
        PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap()
    }

    fn listed(authority: &PrivateKey) -> PublicKey {
        authority.public_key().to_openssh().unwrap().parse().unwrap()
    }

    /// A good one, but for what `change` makes of it.
    fn certificate(authority: &PrivateKey, after: u64, before: u64, change: impl FnOnce(&mut Builder)) -> Certificate {
        let mut rng = russh::keys::key::safe_rng();
        let mut builder = Builder::new_with_random_nonce(&mut rng, key().public_key(), after, before).unwrap();
        builder.key_id("laptop").unwrap().serial(7).unwrap();
        change(&mut builder);
        builder.sign(authority).unwrap()
    }

    fn outcome(authority: &PrivateKey, certificate: &Certificate) -> Result<(), Unfit> {
        check(certificate, &[listed(authority)], PEER, UNIX_EPOCH + Duration::from_secs(NOON))
    }

    #[test]
    fn what_a_certificate_must_be() {
        let authority = key();
        let with = |change: fn(&mut Builder)| {
            outcome(
                &authority,
                &certificate(&authority, NOON - 60, NOON + 60, |builder| {
                    builder.valid_principal("acme").unwrap();
                    change(builder);
                }),
            )
        };
        assert_eq!(with(|_| ()), Ok(()));
        let with_extension = with(|builder| {
            builder.extension("permit-pty", "").unwrap();
        });
        assert_eq!(with_extension, Ok(()), "extensions may be passed over");
        let of_a_host = with(|builder| {
            builder.cert_type(CertType::Host).unwrap();
        });
        assert_eq!(of_a_host, Err(Unfit::Kind));
        for (list, allows) in [
            ("192.0.2.7", true),
            ("192.0.2.0/24", true),
            ("2001:db8::/32,192.0.2.0/24", true),
            ("198.51.100.0/24", false),
            ("192.0.2.7,nonsense", false),
            ("", false),
        ] {
            let made = certificate(&authority, NOON - 60, NOON + 60, |builder| {
                builder.valid_principal("acme").unwrap().critical_option("source-address", list).unwrap();
            });
            let expected = if allows { Ok(()) } else { Err(Unfit::Source) };
            assert_eq!(outcome(&authority, &made), expected, "{list}");
        }
        for name in ["force-command", "verify-required", "unheard-of@example.com"] {
            let made = certificate(&authority, NOON - 60, NOON + 60, |builder| {
                builder.valid_principal("acme").unwrap().critical_option(name, "internal-sftp").unwrap();
            });
            assert_eq!(outcome(&authority, &made), Err(Unfit::Option(name.to_owned())));
        }
        let nobodys = certificate(&authority, NOON - 60, NOON + 60, |builder| {
            builder.all_principals_valid().unwrap();
        });
        assert_eq!(outcome(&authority, &nobodys), Err(Unfit::Principals));
    }

    #[test]
    fn authorities_are_those_that_are_listed() {
        let (authority, other) = (key(), key());
        let made = certificate(&authority, NOON - 60, NOON + 60, |builder| {
            builder.valid_principal("acme").unwrap();
        });
        let now = UNIX_EPOCH + Duration::from_secs(NOON);
        assert_eq!(check(&made, &[], PEER, now), Err(Unfit::Authority));
        assert_eq!(check(&made, &[listed(&other)], PEER, now), Err(Unfit::Authority));
        assert_eq!(check(&made, &[listed(&other), listed(&authority)], PEER, now), Ok(()));
        // Another's words under a good signature.
        let mut bytes = made.to_bytes().unwrap();
        let at = bytes.windows(4).position(|window| window == b"acme").unwrap();
        bytes[at..at + 4].copy_from_slice(b"beta");
        let forged = Certificate::from_bytes(&bytes).unwrap();
        assert_eq!(forged.valid_principals(), ["beta"]);
        assert_eq!(outcome(&authority, &forged), Err(Unfit::Signature));
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_second_to_before_its_last() {
        let authority = key();
        for (after, before, valid) in [
            (NOON, NOON + 1, true),
            (NOON - 60, NOON, false),
            (NOON + 1, NOON + 60, false),
            (0, u64::MAX, true),
            // Beyond what a clock can show: never.
            (u64::MAX - 1, u64::MAX, false),
        ] {
            let made = certificate(&authority, after, before, |builder| {
                builder.valid_principal("acme").unwrap();
            });
            let expected = if valid { Ok(()) } else { Err(Unfit::Signature) };
            assert_eq!(outcome(&authority, &made), expected, "{after} {before}");
        }
    }

    #[test]
    fn what_is_told_of_it() {
        let authority = key();
        let made = certificate(&authority, 0, u64::MAX, |builder| {
            builder.valid_principal("acme").unwrap().valid_principal("beta").unwrap();
        });
        let told = shown(&made);
        assert_eq!((told.key_id.as_str(), told.serial), ("laptop", 7));
        assert_eq!(told.authority, listed(&authority).fingerprint());
        assert_eq!(told.principals, ["acme", "beta"]);
    }
}

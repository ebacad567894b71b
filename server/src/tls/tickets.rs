//! TLS 1.3 tickets after the handshake. Knows records, and nothing of what is in them.
//!
//! OpenSSL's clients (curl, WinSCP, PHP) use a ticket once, as RFC 8446 appendix C.4 advises, and remember only the one that
//! came last; so they resume for one data connection, and need another ticket for the next. It cannot come on the data
//! connection, where a client that uploads never reads it. rustls sends tickets at the end of the handshake and never
//! again. Here its record layer keeps the message that carried them, and says it again on the control connection when it
//! is given [`again`] to send.
//!
//! What is repeated is the same ticket with the same nonce (RFC 8446 section 4.6.1 wants one of its own for each, so that
//! their keys differ): the key is the same one on purpose, and every use of it has a key exchange of its own.

use std::sync::LazyLock;

use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage, OutboundPlainMessage,
    Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::{CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, SupportedCipherSuite, Tls13CipherSuite};

/// HandshakeType new_session_ticket (RFC 8446 section 4).
const NEW_SESSION_TICKET: u8 = 4;
/// Largest message kept, in bytes: two tickets have about 300.
const MAX_MESSAGE_BYTES: usize = 4_096;

/// What to write, alone, to a connection under TLS 1.3 for its ticket to be sent again. Drawn anew by each process: no
/// peer can make it be said.
#[must_use]
pub fn again() -> &'static [u8] {
    static AGAIN: LazyLock<[u8; 32]> = LazyLock::new(|| {
        let mut drawn = [0; 32];
        // Without randomness no handshake would get this far either.
        aws_lc_rs::rand::fill(&mut drawn).ok();
        drawn
    });
    &*AGAIN
}

/// The same provider, whose connections under TLS 1.3 can be told to send their ticket [`again`].
#[must_use]
pub(super) fn repeatable(provider: CryptoProvider) -> CryptoProvider {
    static SUITES: LazyLock<Vec<Tls13CipherSuite>> = LazyLock::new(|| {
        let tls13 = provider::ALL_CIPHER_SUITES.iter().filter_map(SupportedCipherSuite::tls13);
        // Leaked once: the library wants its algorithms for ever.
        tls13.map(|suite| repeating(suite, Box::leak(Box::new(Repeating(suite.aead_alg))))).collect()
    });
    let own = |suite: SupportedCipherSuite| SUITES.iter().find(|own| own.common.suite == suite.suite());
    let suites = provider.cipher_suites.into_iter();
    let cipher_suites = suites.map(|suite| own(suite).map_or(suite, SupportedCipherSuite::Tls13)).collect();
    CryptoProvider { cipher_suites, ..provider }
}

fn repeating(suite: &Tls13CipherSuite, aead_alg: &'static Repeating) -> Tls13CipherSuite {
    let CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit } = suite.common;
    let common = CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit };
    Tls13CipherSuite { common, hkdf_provider: suite.hkdf_provider, aead_alg, quic: None }
}

/// A cipher whose sending half repeats tickets.
struct Repeating(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Repeating {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Encrypter { inner: self.0.encrypter(key, iv), ticket: Vec::new() })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// The sending half of one connection, until its keys change.
struct Encrypter {
    inner: Box<dyn MessageEncrypter>,
    /// The handshake message that carried tickets; empty before.
    ticket: Vec<u8>,
}

impl MessageEncrypter for Encrypter {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, sequence: u64) -> Result<OutboundOpaqueMessage, Error> {
        let asked = message.typ == ContentType::ApplicationData
            && message.payload.len() == again().len()
            && message.payload.to_vec() == again();
        if message.typ == ContentType::Handshake && message.payload.len() <= MAX_MESSAGE_BYTES {
            let payload = message.payload.to_vec();
            if payload.first() == Some(&NEW_SESSION_TICKET) {
                self.ticket = payload;
            }
        }
        if !asked {
            return self.inner.encrypt(message, sequence);
        }
        // After a change of keys there is none: a record without data says nothing (RFC 8446 section 5.1).
        let typ = if self.ticket.is_empty() { ContentType::ApplicationData } else { ContentType::Handshake };
        let payload = OutboundChunks::from(&*self.ticket);
        self.inner.encrypt(OutboundPlainMessage { typ, version: message.version, payload }, sequence)
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.inner.encrypted_payload_len(payload_len)
    }
}

//! SFTP engine: SSH by russh, and above it an own pump. The listener's protocol only: what a request does is asked of
//! `delivery::Session`, who may come in of `auth::Login`.
//!
//! ```text
//! wire.rs        socket: large reads, cut off at will
//! channel.rs     russh's handler: login, channels, the subsystem      login.rs   tries, offers, sessions
//!                                                                    certificates.rs   of which authorities, for how long
//! pump.rs        bytes → packets → requests                          packets.rs requests.rs extensions.rs
//!   ├─► names.rs     requests about names, one after the other          checking.rs (digests)
//!   └─► queue.rs     requests about a handle, in its own order       receiving.rs (upload) sending.rs (download, names)
//! outbox.rs      replies: batched, as the peer's window lets them
//! connection.rs  budgets and counters of the whole connection        handles.rs status.rs attributes.rs
//! bare.rs        the same without SSH, for fuzzers
//! ```
//!
//! # Why it cannot deadlock
//! A client may send requests without reading replies, and read replies without sending; it may also be unable to do
//! one before the other. So nothing that a client's progress may hang on waits for anything but the storage:
//!
//! - russh's session task moves packets in both directions. It waits where a channel's queue is full, so each channel's
//!   pump takes from its queue always, but for the wait for room for a WRITE's payload.
//! - That room comes back when the WRITE is executed, and a WRITE's execution waits for the disk alone: its reply goes
//!   to the outbox without waiting.
//! - A copy on the server waits for its user's turn, and what is behind it waits for the copy. WRITEs behind it take no
//!   more than half of the room, so that other handles go on; turns end with the storage's work alone.
//! - READs and READDIRs produce replies that are large: they are done only while the outbox has room, and park without a
//!   thread until it has. A parked READ is a few bytes in a queue.
//! - Memory stays bounded all the same: every queue counts into a budget of the connection. A client that asks and does
//!   not read is slowed down by its window, and one that ignores its window is cut off (`connection.rs`).

mod attributes;
pub mod bare;
mod certificates;
mod channel;
mod checking;
mod connection;
mod extensions;
mod handles;
mod login;
mod names;
mod outbox;
mod packets;
mod pump;
mod queue;
mod receiving;
mod requests;
mod sending;
mod status;
#[cfg(test)]
mod tests;
mod wire;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use landfall_auth::Login;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Disconnect, Preferred, SshId, cipher, compression, kex, mac, server};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::channel::Visitor;
use self::connection::Connection as Shared;
use self::login::{Door, Rules};
use self::wire::Wire;
use crate::config;
use crate::delivery::Delivery;
use crate::lifecycle::Lifecycle;
use crate::listen::Connection;

/// Window of a channel, in bytes: 8 MiB fill a line of 640 Mbit/s at 100 ms. russh refills it as data comes in.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Longest channel packet taken, in bytes: a WRITE of 32 KiB, the most common size, fits with its head into one.
const CHANNEL_PACKET_BYTES: u32 = 64 * 1024 - 1;
/// Messages in a channel's queue; times the packet size above, this bounds what one channel holds before the pump.
const CHANNEL_QUEUE_MESSAGES: usize = 16;
/// Messages to russh's session task; each carries one packet of the peer's size.
const SESSION_QUEUE_MESSAGES: usize = 64;
/// Every refused login takes this long at least, whatever the reason, as far as russh can see to it.
const REFUSAL_TAKES: Duration = Duration::from_millis(100);
/// Without a sign of life from the peer, it is asked for one this often…
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// …and given up after so many in a row without an answer: a silent line suspends its uploads after a minute.
const MAX_KEEPALIVES: usize = 3;
/// For a last message to the peer, and for the peer to hang up after it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often a connection is looked at that is to end when its transfers have.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// How often an idle connection is looked at.
const IDLE_LOOK: Duration = Duration::from_secs(5);

/// Everything that SFTP sessions share.
pub struct Engine {
    /// `[sftp]`.
    pub config: config::Sftp,
    /// `[limits]`.
    pub limits: config::Limits,
    /// The door.
    pub login: Login,
    /// What a session may do.
    pub delivery: Arc<Delivery>,
    /// Host keys: Ed25519, then ECDSA P-256.
    pub host_keys: Vec<russh::keys::PrivateKey>,
    /// Drain and stop.
    pub lifecycle: Lifecycle,
}

/// Why a connection ends.
enum Why {
    /// The client left, or its line did.
    Left,
    /// It is told to go, in these words.
    Told(&'static str),
    /// No word more.
    Cut,
}

impl Engine {
    /// The same engine with other settings.
    #[must_use]
    pub fn reconfigured(&self, config: config::Sftp, limits: config::Limits) -> Self {
        Self {
            config,
            limits,
            login: self.login.clone(),
            delivery: self.delivery.clone(),
            host_keys: self.host_keys.clone(),
            lifecycle: self.lifecycle.clone(),
        }
    }

    /// Serves one connection to its end: when this returns, its uploads are landed or suspended.
    pub async fn serve(self: Arc<Self>, connection: Connection) {
        let Connection { stream, peer, login_by, mut permit, .. } = connection;
        let hangup = CancellationToken::new();
        // However this ends, also by being dropped, russh's task ends with it.
        let _hangup = hangup.clone().drop_guard();
        let (admitted, admission) = oneshot::channel();
        let (announce, announced) = watch::channel(None);
        let known = Arc::new(AtomicBool::new(false));
        let wire = Wire::new(stream, Arc::clone(&known), hangup.clone());
        let (door, banner) = (self.door(peer, admitted), self.config.banner.clone());
        let visitor = Visitor::new(door, announced, known, WINDOW_BYTES, banner);
        let stranger = async {
            let running = server::run_stream(Arc::new(self.ssh()), wire, visitor).await;
            let mut running = running.map_err(|error| tracing::debug!(%peer, %error, "no SSH")).ok()?;
            tokio::select! {
                biased;
                admitted = admission => Some((running, admitted.ok()?)),
                ended = &mut running => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "ended before login");
                    }
                    None
                }
            }
        };
        let known = tokio::select! {
            known = tokio::time::timeout_at(login_by, stranger) => known.ok().flatten(),
            () = self.lifecycle.draining() => None,
        };
        let Some((mut running, session)) = known else { return };
        permit.logged_in();
        let shared = Shared::new(session, self.lifecycle.clone());
        let _halt = shared.halted.clone().drop_guard();
        announce.send_replace(Some(Arc::clone(&shared)));

        let why = self.attend(&mut running, &shared).await;
        let reason = match why {
            Why::Left => "left",
            Why::Told(reason) => {
                let handle = running.handle();
                let farewell = async {
                    let _ = handle.disconnect(Disconnect::ByApplication, reason.to_owned(), String::new()).await;
                    let _ = (&mut running).await;
                };
                let _ = tokio::time::timeout(LAST_WORDS, farewell).await;
                reason
            }
            Why::Cut => {
                shared.halted.cancel();
                "cut off"
            }
        };
        hangup.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
        let activity = shared.session.activity();
        tracing::info!(
            user = shared.session.user().name,
            %peer,
            reason,
            received_bytes = activity.received_bytes(),
            sent_bytes = activity.sent_bytes(),
            seconds = shared.age().as_secs(),
            "logged out"
        );
        drop(permit);
    }

    /// Watches over a logged-in connection until it has to end.
    async fn attend(&self, running: &mut server::RunningSession<Visitor>, shared: &Arc<Shared>) -> Why {
        let idle_most = Duration::from_secs(self.limits.idle_seconds);
        let drained = async {
            self.lifecycle.draining().await;
            while !shared.is_quiet() {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        let idle = async {
            while shared.idle() < idle_most {
                tokio::time::sleep(IDLE_LOOK.min(idle_most)).await;
            }
        };
        tokio::select! {
            ended = running => {
                if let Err(error) = ended {
                    tracing::debug!(user = %shared.session.user().name, %error, "SSH ended");
                }
                Why::Left
            }
            () = shared.session.ended().cancelled() => Why::Cut,
            () = self.lifecycle.cut() => Why::Cut,
            () = shared.halted.cancelled() => Why::Cut,
            () = drained => Why::Told("the server is stopping"),
            () = idle => Why::Told("nothing was asked for too long"),
        }
    }

    fn door(&self, peer: SocketAddr, admitted: oneshot::Sender<crate::delivery::Session>) -> Door {
        let rules = Rules {
            max_tries: self.limits.login_attempts_per_connection,
            authorities: self.config.user_ca_keys.clone(),
        };
        Door::new(self.login.clone(), Arc::clone(&self.delivery), self.lifecycle.clone(), peer, rules, admitted)
    }

    /// What russh is to do, and why.
    fn ssh(&self) -> server::Config {
        server::Config {
            // No version: it would only help to choose an attack.
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Landfall")),
            methods: login::methods(),
            auth_rejection_time: REFUSAL_TAKES,
            // Every OpenSSH client asks `none` first; there is no secret in the answer.
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: self.host_keys.clone(),
            window_size: WINDOW_BYTES,
            maximum_packet_size: CHANNEL_PACKET_BYTES,
            channel_buffer_size: CHANNEL_QUEUE_MESSAGES,
            event_buffer_size: SESSION_QUEUE_MESSAGES,
            preferred: PREFERRED,
            // The door counts by kind; this is the bound over all kinds.
            max_auth_attempts: login::MAX_REQUESTS as usize,
            // For a peer that does not take what is written to it: russh waits for that and for nothing else. Idle
            // clients that do answer keepalives are the business of `attend`.
            inactivity_timeout: Some(Duration::from_secs(self.limits.idle_seconds)),
            keepalive_interval: Some(KEEPALIVE_EVERY),
            keepalive_max: MAX_KEEPALIVES,
            nodelay: true,
            ..server::Config::default()
        }
    }
}

/// Algorithms, most wanted first. No SHA-1, no compression, no finite-field groups.
const PREFERRED: Preferred = Preferred {
    kex: Cow::Borrowed(&[
        // Holds against a quantum computer that comes later; OpenSSH's default since 10.0.
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        // Markers: rsa-sha2 signatures for clients' keys (RFC 8308), and strict key exchange (CVE-2023-48795).
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ]),
    // Kinds of signatures: of the host keys, those that there are, and what clients are told about their own keys
    // (server-sig-algs, RFC 8308). OpenSSH does not even try an RSA key whose SHA-2 signatures are not named here.
    key: Cow::Borrowed(&[
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::SkEd25519,
        Algorithm::SkEcdsaSha2NistP256,
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ]),
    host_key_certificates: Cow::Borrowed(&[]),
    cipher: Cow::Borrowed(&[
        // The cheapest by far where the processor knows AES, and as strong as anything needs.
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        // For processors that do not.
        cipher::CHACHA20_POLY1305,
        // For clients of the time before.
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ]),
    // The last two for libssh2 before 1.11, which curl and PHP of today's stable distributions use: it knows neither GCM
    // nor encrypt-then-MAC. Who knows either never gets to them.
    mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512]),
    compression: Cow::Borrowed(&[compression::NONE]),
};

//! `Ssh`: an SSH client that does what it is told, packet by packet: in clear, and after its own key exchange
//! (curve25519-sha256, aes128-gcm@openssh.com, strict) under keys. It believes every host key. Knows no SFTP.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;

use crate::command::connect_from;

/// As long as anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The line that it begins with.
const VERSION: &str = "SSH-2.0-LandfallTests";

/// Numbers of messages (RFC 4250 section 4.1.2).
#[expect(missing_docs, reason = "the names are the RFC's")]
pub mod message {
    pub const DISCONNECT: u8 = 1;
    pub const IGNORE: u8 = 2;
    pub const UNIMPLEMENTED: u8 = 3;
    pub const DEBUG: u8 = 4;
    pub const SERVICE_REQUEST: u8 = 5;
    pub const SERVICE_ACCEPT: u8 = 6;
    pub const EXT_INFO: u8 = 7;
    pub const KEXINIT: u8 = 20;
    pub const NEWKEYS: u8 = 21;
    pub const KEX_ECDH_INIT: u8 = 30;
    pub const KEX_ECDH_REPLY: u8 = 31;
    pub const USERAUTH_REQUEST: u8 = 50;
    pub const USERAUTH_FAILURE: u8 = 51;
    pub const USERAUTH_SUCCESS: u8 = 52;
    pub const USERAUTH_BANNER: u8 = 53;
    pub const USERAUTH_INFO_REQUEST: u8 = 60;
    pub const USERAUTH_INFO_RESPONSE: u8 = 61;
    pub const GLOBAL_REQUEST: u8 = 80;
    pub const REQUEST_SUCCESS: u8 = 81;
    pub const REQUEST_FAILURE: u8 = 82;
    pub const CHANNEL_OPEN: u8 = 90;
    pub const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
    pub const CHANNEL_OPEN_FAILURE: u8 = 92;
    pub const CHANNEL_WINDOW_ADJUST: u8 = 93;
    pub const CHANNEL_DATA: u8 = 94;
    pub const CHANNEL_EOF: u8 = 96;
    pub const CHANNEL_CLOSE: u8 = 97;
    pub const CHANNEL_REQUEST: u8 = 98;
    pub const CHANNEL_SUCCESS: u8 = 99;
    pub const CHANNEL_FAILURE: u8 = 100;
}

/// What comes from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A packet's payload.
    Packet(Vec<u8>),
    /// It hung up.
    Closed,
    /// Nothing, for as long as was waited.
    Silence,
}

impl Heard {
    /// The number of the message; 0 when there is none.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Packet(payload) => payload.first().copied().unwrap_or(0),
            Self::Closed | Self::Silence => 0,
        }
    }
}

/// One direction under keys.
struct Key {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl Key {
    fn next(&mut self) -> Nonce {
        let now = self.nonce;
        let counter = u64::from_be_bytes(now[4..].try_into().expect("eight bytes")).wrapping_add(1);
        self.nonce[4..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(now)
    }
}

/// A connection.
pub struct Ssh {
    socket: TcpStream,
    received: Vec<u8>,
    server_version: String,
    out: Option<Key>,
    inward: Option<Key>,
    /// Exchange hash of the first key exchange.
    session: Option<Vec<u8>>,
    compression: &'static str,
}

impl Ssh {
    /// Connects and says its version, and hears the server's.
    #[track_caller]
    #[must_use]
    pub fn connect(peer: SocketAddr) -> Self {
        Self::connect_from(peer.ip(), peer)
    }

    /// The same from a given address of this machine.
    #[track_caller]
    #[must_use]
    pub fn connect_from(source: IpAddr, peer: SocketAddr) -> Self {
        let mut ssh = Self::silent_from(source, peer);
        ssh.send_raw(format!("{VERSION}\r\n").as_bytes());
        ssh.hear_version();
        ssh
    }

    /// Connects and says nothing.
    #[track_caller]
    #[must_use]
    pub fn silent_from(source: IpAddr, peer: SocketAddr) -> Self {
        let socket = connect_from(source, peer).expect("the server listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("a socket");
        Self {
            socket,
            received: Vec::new(),
            server_version: String::new(),
            out: None,
            inward: None,
            session: None,
            compression: "none",
        }
    }

    /// Key exchanged and logged in by password.
    #[track_caller]
    #[must_use]
    pub fn logged_in(peer: SocketAddr, user: &str, password: &str) -> Self {
        let mut ssh = Self::connect(peer);
        ssh.exchange();
        ssh.begin_login();
        assert_eq!(ssh.password(user, password), message::USERAUTH_SUCCESS, "login refused");
        ssh
    }

    /// The line with which the server began.
    #[track_caller]
    pub fn hear_version(&mut self) -> &str {
        while !self.received.contains(&b'\n') {
            assert_eq!(self.fill(), None, "no version came");
        }
        let end = self.received.iter().position(|byte| *byte == b'\n').expect("just seen");
        let line: Vec<u8> = self.received.drain(..=end).collect();
        String::from_utf8_lossy(&line).trim_end().clone_into(&mut self.server_version);
        &self.server_version
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// How long it waits for the server.
    pub fn patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
    }

    /// Asks for this compression alone.
    pub fn compress(&mut self, compression: &'static str) {
        self.compression = compression;
    }

    // --- packets ------------------------------------------------------------------------------------------------

    /// Bytes as they are; false when the server has hung up.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// A packet; false when the server has hung up.
    pub fn send(&mut self, payload: &[u8]) -> bool {
        let packet = self.packet(payload, 0);
        self.send_raw(&packet)
    }

    /// The bytes of a packet, with so many blocks of padding more than it needs.
    #[must_use]
    pub fn packet(&mut self, payload: &[u8], more_blocks: usize) -> Vec<u8> {
        let block = if self.out.is_some() { 16 } else { 8 };
        // In clear the length counts into the blocks.
        let counted = payload.len() + 1 + if self.out.is_some() { 0 } else { 4 };
        let padding = 4 + (block - (counted + 4) % block) % block + more_blocks * block;
        let mut body = vec![u8::try_from(padding).expect("at most 255")];
        body.extend(payload);
        body.resize(1 + payload.len() + padding, 0);
        self.seal(&u32::try_from(body.len()).expect("short").to_be_bytes(), body)
    }

    /// Seals a packet of any form: length as told, and what stands behind it.
    #[must_use]
    pub fn seal(&mut self, length: &[u8; 4], mut body: Vec<u8>) -> Vec<u8> {
        if let Some(out) = &mut self.out {
            let nonce = out.next();
            out.key.seal_in_place_append_tag(nonce, Aad::from(length), &mut body).expect("a key");
        }
        [length.as_slice(), &body].concat()
    }

    /// What comes next.
    pub fn hear(&mut self) -> Heard {
        loop {
            if let Some(payload) = self.take() {
                return Heard::Packet(payload);
            }
            if let Some(end) = self.fill() {
                return end;
            }
        }
    }

    /// What comes next, but for what says nothing.
    pub fn answer(&mut self) -> Heard {
        loop {
            let heard = self.hear();
            let kind = heard.kind();
            if !matches!(kind, message::IGNORE | message::DEBUG | message::EXT_INFO | message::CHANNEL_WINDOW_ADJUST) {
                return heard;
            }
        }
    }

    /// Hears on until the server hangs up: true. False when it does not.
    pub fn hangs_up(&mut self) -> bool {
        loop {
            match self.hear() {
                Heard::Packet(_) => {}
                Heard::Closed => return true,
                Heard::Silence => return false,
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let head: [u8; 4] = *self.received.first_chunk()?;
        let length = u32::from_be_bytes(head) as usize;
        let tag = if self.inward.is_some() { 16 } else { 0 };
        if self.received.len() < 4 + length + tag {
            return None;
        }
        let mut body: Vec<u8> = self.received.drain(..4 + length + tag).skip(4).collect();
        if let Some(inward) = &mut self.inward {
            let nonce = inward.next();
            inward.key.open_in_place(nonce, Aad::from(head), &mut body).expect("the server's own packet");
        }
        let padding = usize::from(*body.first()?);
        Some(body.get(1..length.checked_sub(padding)?)?.to_vec())
    }

    /// Reads more; how it ended, if it did.
    fn fill(&mut self) -> Option<Heard> {
        let mut buffer = vec![0; 65_536];
        match self.socket.read(&mut buffer) {
            Ok(0) => Some(Heard::Closed),
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(Heard::Silence),
            Err(_) => Some(Heard::Closed),
        }
    }

    // --- key exchange -------------------------------------------------------------------------------------------

    /// Its KEXINIT: one algorithm of each kind.
    #[must_use]
    pub fn kexinit(&self) -> Vec<u8> {
        let mut payload = vec![message::KEXINIT];
        payload.extend([7; 16]);
        let kex = "curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com";
        let (cipher, mac, none) = ("aes128-gcm@openssh.com", "hmac-sha2-256-etm@openssh.com", self.compression);
        for list in [kex, "ssh-ed25519", cipher, cipher, mac, mac, none, none, "", ""] {
            string(&mut payload, list.as_bytes());
        }
        payload.extend([0; 5]);
        payload
    }

    /// Exchanges keys, for the first time or again.
    #[track_caller]
    pub fn exchange(&mut self) {
        let own = self.kexinit();
        self.send(&own);
        assert!(self.go_on_with(&own), "no keys");
    }

    /// The rest of it, behind its own KEXINIT; false when the server hangs up.
    pub fn go_on_with(&mut self, own: &[u8]) -> bool {
        let mut theirs = self.hear();
        // Again: what was under way comes first.
        while matches!(theirs, Heard::Packet(_)) && theirs.kind() != message::KEXINIT {
            theirs = self.hear();
        }
        let Heard::Packet(theirs) = theirs else { return false };
        let secret = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).expect("randomness");
        let public = secret.compute_public_key().expect("a key");
        let mut init = vec![message::KEX_ECDH_INIT];
        string(&mut init, public.as_ref());
        self.send(&init);
        let Heard::Packet(reply) = self.hear() else { return false };
        if reply.first() != Some(&message::KEX_ECDH_REPLY) {
            return false;
        }
        let mut rest = &reply[1..];
        let (host_key, server) = (text(&mut rest), text(&mut rest));
        let shared = agree_ephemeral(secret, UnparsedPublicKey::new(&X25519, server), (), |shared| Ok(mpint(shared)));
        let shared = shared.expect("a shared secret");
        let mut hashed = Vec::new();
        let (client, server_version) = (VERSION.as_bytes(), self.server_version.as_bytes());
        for part in [client, server_version, own, &theirs, host_key, public.as_ref(), server] {
            string(&mut hashed, part);
        }
        hashed.extend(&shared);
        let hash = digest(&SHA256, &hashed).as_ref().to_vec();
        if self.hear().kind() != message::NEWKEYS || !self.send(&[message::NEWKEYS]) {
            return false;
        }
        let session = self.session.get_or_insert_with(|| hash.clone()).clone();
        let derive =
            |letter: u8| digest(&SHA256, &[&shared[..], &hash, &[letter], &session].concat()).as_ref().to_vec();
        let key = |nonce: u8, key: u8| Key {
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &derive(key)[..16]).expect("sixteen bytes")),
            nonce: *derive(nonce).first_chunk().expect("twelve bytes"),
        };
        (self.out, self.inward) = (Some(key(b'A', b'C')), Some(key(b'B', b'D')));
        true
    }

    // --- login --------------------------------------------------------------------------------------------------

    /// Asks for the service that logs in.
    #[track_caller]
    pub fn begin_login(&mut self) {
        let mut request = vec![message::SERVICE_REQUEST];
        string(&mut request, b"ssh-userauth");
        self.send(&request);
        assert_eq!(self.answer().kind(), message::SERVICE_ACCEPT);
    }

    /// A password: the number of the reply, 0 when the server hangs up.
    pub fn password(&mut self, user: &str, password: &str) -> u8 {
        let mut fields = vec![0];
        string(&mut fields, password.as_bytes());
        self.send(&login(user.as_bytes(), "password", &fields));
        self.answer().kind()
    }

    // --- channels -----------------------------------------------------------------------------------------------

    /// Opens a channel of a kind, with a window and a packet size; the server's number for it.
    pub fn open(&mut self, kind: &str, own_number: u32, window_bytes: u32, rest: &[u8]) -> Option<u32> {
        self.send(&channel_open(kind, own_number, window_bytes, rest));
        match self.answer() {
            Heard::Packet(payload) if payload[0] == message::CHANNEL_OPEN_CONFIRMATION => {
                Some(u32::from_be_bytes(payload.get(5..9)?.try_into().ok()?))
            }
            _ => None,
        }
    }

    /// A request on a channel; the number of the answer.
    pub fn request(&mut self, channel: u32, name: &str, fields: &[u8]) -> u8 {
        let mut payload = vec![message::CHANNEL_REQUEST];
        payload.extend(channel.to_be_bytes());
        string(&mut payload, name.as_bytes());
        payload.push(1);
        payload.extend(fields);
        self.send(&payload);
        self.answer().kind()
    }

    /// Opens a channel and asks for SFTP on it; the server's number for it.
    #[track_caller]
    pub fn sftp(&mut self, window_bytes: u32) -> u32 {
        let channel = self.open("session", 0, window_bytes, &[]).expect("a channel");
        let mut name = Vec::new();
        string(&mut name, b"sftp");
        assert_eq!(self.request(channel, "subsystem", &name), message::CHANNEL_SUCCESS);
        channel
    }

    /// Data on a channel, whatever its window; false when the server has hung up.
    pub fn data(&mut self, channel: u32, bytes: &[u8]) -> bool {
        bytes.chunks(32 * 1024).all(|piece| {
            let mut payload = vec![message::CHANNEL_DATA];
            payload.extend(channel.to_be_bytes());
            string(&mut payload, piece);
            self.send(&payload)
        })
    }
}

/// `USERAUTH_REQUEST`.
#[must_use]
pub fn login(user: &[u8], method: &str, fields: &[u8]) -> Vec<u8> {
    let mut payload = vec![message::USERAUTH_REQUEST];
    for text in [user, b"ssh-connection", method.as_bytes()] {
        string(&mut payload, text);
    }
    payload.extend(fields);
    payload
}

/// `CHANNEL_OPEN`.
#[must_use]
pub fn channel_open(kind: &str, own_number: u32, window_bytes: u32, rest: &[u8]) -> Vec<u8> {
    let mut payload = vec![message::CHANNEL_OPEN];
    string(&mut payload, kind.as_bytes());
    for number in [own_number, window_bytes, 32 * 1024] {
        payload.extend(number.to_be_bytes());
    }
    payload.extend(rest);
    payload
}

/// Appends counted bytes.
pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
    out.extend(bytes);
}

fn text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = u32::from_be_bytes(*rest.first_chunk().expect("a length")) as usize;
    let (text, behind) = rest[4..].split_at(length);
    *rest = behind;
    text
}

/// A positive number without leading zeros, counted.
fn mpint(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut digits = number[zeros..].to_vec();
    if digits.first().is_some_and(|byte| byte & 0x80 != 0) {
        digits.insert(0, 0);
    }
    let mut out = Vec::new();
    string(&mut out, &digits);
    out
}

//! Keys of hardware tokens (OpenSSH's PROTOCOL.u2f) without the hardware: an agent of ours signs as a token would, and
//! OpenSSH's client carries that to the server.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use landfall_tests::Server;

use super::Person;

const PRESENT: u8 = 1;
const VERIFIED: u8 = 4;

enum Chip {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// A token: what it holds, and how it signs.
struct Token {
    chip: Chip,
    application: &'static str,
    flags: u8,
    /// What it says it counted, apart from what it signed.
    counter_told: u32,
}

const COUNTER: u32 = 41;

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend_from_slice(bytes);
}

fn mpint(out: &mut Vec<u8>, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    let sign = if number.first().is_some_and(|byte| byte & 0x80 != 0) { &[0][..] } else { &[] };
    string(out, &[sign, number].concat());
}

fn take<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = from.split_first_chunk::<4>().unwrap();
    let (field, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
    *from = rest;
    field
}

impl Token {
    fn kind(&self) -> &'static str {
        match self.chip {
            Chip::Ed25519(_) => "sk-ssh-ed25519@openssh.com",
            Chip::P256(_) => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn public(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        string(&mut blob, self.kind().as_bytes());
        match &self.chip {
            Chip::Ed25519(key) => string(&mut blob, key.public_key().as_ref()),
            Chip::P256(key) => {
                string(&mut blob, b"nistp256");
                string(&mut blob, key.public_key().as_ref());
            }
        }
        string(&mut blob, b"ssh:");
        blob
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signed = digest(&SHA256, self.application.as_bytes()).as_ref().to_vec();
        signed.push(self.flags);
        signed.extend(COUNTER.to_be_bytes());
        signed.extend_from_slice(digest(&SHA256, message).as_ref());
        let mut signature = Vec::new();
        string(&mut signature, self.kind().as_bytes());
        match &self.chip {
            Chip::Ed25519(key) => string(&mut signature, key.sign(&signed).as_ref()),
            Chip::P256(key) => {
                let made = key.sign(&SystemRandom::new(), &signed).unwrap();
                let (r, s) = made.as_ref().split_at(32);
                let mut both = Vec::new();
                mpint(&mut both, r);
                mpint(&mut both, s);
                string(&mut signature, &both);
            }
        }
        signature.push(self.flags);
        signature.extend(self.counter_told.to_be_bytes());
        signature
    }

    /// draft-miller-ssh-agent: which keys there are, and a signature with one.
    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        match request.split_first() {
            Some((11, _)) => {
                reply.extend([12, 0, 0, 0, 1]);
                string(&mut reply, &self.public());
                string(&mut reply, b"token");
            }
            Some((13, mut rest)) => {
                assert_eq!(take(&mut rest), self.public());
                reply.push(14);
                string(&mut reply, &self.sign(take(&mut rest)));
            }
            _ => reply.push(5),
        }
        reply
    }

    fn serve(&self, mut stream: UnixStream) {
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            let mut reply = Vec::new();
            string(&mut reply, &self.answer(&request));
            stream.write_all(&reply).unwrap();
        }
    }

    /// The public half for `landfall key add`, and the agent's socket.
    fn plug_in(self, person: &Person, name: &str) -> (PathBuf, PathBuf) {
        let (public, socket) = (person.path(&format!("{name}.pub")), person.path(&format!("{name}.agent")));
        std::fs::write(&public, format!("{} {} token\n", self.kind(), base64(&self.public()))).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let token = Arc::new(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let token = Arc::clone(&token);
                std::thread::spawn(move || token.serve(stream));
            }
        });
        (public, socket)
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0; 2]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            text.push(if place <= chunk.len() { char::from(LETTERS[bits >> (18 - 6 * place) & 63]) } else { '=' });
        }
    }
    text
}

fn ed25519() -> Chip {
    Chip::Ed25519(Ed25519KeyPair::generate().unwrap())
}

fn p256() -> Chip {
    Chip::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
}

fn logs_in(server: &Server, person: &Person, public: &Path, socket: &Path) -> bool {
    let agent = format!("-oIdentityAgent={}", socket.display());
    let identity = format!("-oIdentityFile={}", public.display());
    let options = ["-oPreferredAuthentications=publickey", "-oIdentitiesOnly=yes", &agent, &identity];
    person.log_in(server, &options, &[]).came_in()
}

#[test]
fn tokens_of_both_kinds_open_the_door() {
    let (server, person) = (Server::start(), Person::new());
    for (name, chip, flags) in
        [("ed", ed25519(), PRESENT), ("ec", p256(), PRESENT), ("pin", ed25519(), PRESENT | VERIFIED)]
    {
        let token = Token { chip, application: "ssh:", flags, counter_told: COUNTER };
        let (public, socket) = token.plug_in(&person, name);
        assert!(!logs_in(&server, &person, &public, &socket), "{name}: nobody knows it yet");
        server.cli(&["key", "add", "acme", public.to_str().unwrap()]).ok();
        assert!(logs_in(&server, &person, &public, &socket), "{name}: {}", server.log());
    }
}

#[test]
fn what_a_token_signed_for_something_else_opens_nothing() {
    let (server, person) = (Server::start(), Person::new());
    for (name, chip, application, counter_told) in [
        ("web", ed25519(), "https://example.com", COUNTER),
        ("web-ec", p256(), "https://example.com", COUNTER),
        ("counter", ed25519(), "ssh:", COUNTER + 1),
        ("counter-ec", p256(), "ssh:", COUNTER + 1),
    ] {
        let token = Token { chip, application, flags: PRESENT, counter_told };
        let (public, socket) = token.plug_in(&person, name);
        server.cli(&["key", "add", "acme", public.to_str().unwrap()]).ok();
        assert!(!logs_in(&server, &person, &public, &socket), "{name}");
    }
}

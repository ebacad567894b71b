//! A receiver that does what it is told: answers with any status, hangs, goes away and comes back. Verifies signatures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use aws_lc_rs::{hmac, test::from_hex};
use serde_json::Value;

/// The key of every sink in these tests: 24 zero bytes.
pub(super) const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) event: Value,
    pub(super) status: u16,
}

impl Delivery {
    pub(super) fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What the receiver answers to an event; `None` leaves it without an answer.
pub(super) type Answer = Box<dyn Fn(&Value) -> Option<u16> + Send + Sync>;

#[derive(Default)]
struct State {
    deliveries: Vec<Delivery>,
    streams: Vec<TcpStream>,
}

pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    answer: Arc<Mutex<Arc<Answer>>>,
    up: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Receiver {
    pub(super) fn start(answer: impl Fn(&Value) -> Option<u16> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answer: Answer = Box::new(answer);
        let mut receiver = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            answer: Arc::new(Mutex::new(Arc::new(answer))),
            up: None,
        };
        receiver.listen(listener);
        receiver
    }

    /// That takes everything.
    pub(super) fn willing() -> Self {
        Self::start(|_| Some(204))
    }

    /// Another answer from now on.
    pub(super) fn answer(&self, answer: impl Fn(&Value) -> Option<u16> + Send + Sync + 'static) {
        let answer: Answer = Box::new(answer);
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.state.lock().unwrap().deliveries.clone()
    }

    /// What was taken, each event once, in the order in which it was taken first.
    pub(super) fn taken(&self) -> Vec<Value> {
        let mut seen = std::collections::HashSet::new();
        let taken = self.deliveries().into_iter().filter(Delivery::is_taken);
        taken.filter(|one| seen.insert(one.id.clone())).map(|one| one.event).collect()
    }

    /// Goes away: nobody listens any more, and connections that stand are cut.
    pub(super) fn go_down(&mut self) {
        let Some((up, thread)) = self.up.take() else { return };
        up.store(false, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        thread.join().unwrap();
        for stream in self.state.lock().unwrap().streams.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Comes back at the same address.
    pub(super) fn come_up(&mut self) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&self.address.into()).unwrap();
        socket.listen(64).unwrap();
        self.listen(socket.into());
    }

    fn listen(&mut self, listener: TcpListener) {
        let up = Arc::new(AtomicBool::new(true));
        let (going, state, answer) = (up.clone(), self.state.clone(), self.answer.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if !going.load(Ordering::SeqCst) {
                    return;
                }
                state.lock().unwrap().streams.push(stream.try_clone().unwrap());
                let (state, answer) = (state.clone(), answer.clone());
                std::thread::spawn(move || attend(stream, &state, &answer));
            }
        });
        self.up = Some((up, thread));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.go_down();
    }
}

fn attend(mut stream: TcpStream, state: &Mutex<State>, answer: &Mutex<Arc<Answer>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some((head, body)) = request(&mut reader) {
        let header = |name: &str| {
            let line = head.iter().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
            line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        assert_eq!(header("content-type"), "application/cloudevents+json");
        let id = header("webhook-id");
        assert_eq!(header("webhook-signature"), signature(&id, &header("webhook-timestamp"), &body), "{head:?}");
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["id"], id.as_str());
        let decide = answer.lock().unwrap().clone();
        let Some(status) = decide(&event) else {
            // Until the other side has had enough.
            drop(reader.read_to_end(&mut Vec::new()));
            return;
        };
        // Before the answer: whoever sees the event delivered finds it here.
        state.lock().unwrap().deliveries.push(Delivery { id, event, status });
        if write!(stream, "HTTP/1.1 {status} as told\r\ncontent-length: 7\r\n\r\nas told").is_err() {
            return;
        }
    }
}

fn request(reader: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length =
        head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn signature(id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &from_hex(&"00".repeat(24)).unwrap());
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    format!("v1,{}", base64(hmac::sign(&key, &signed).as_ref()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain([0, 0].iter()).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
            text.push(if place <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

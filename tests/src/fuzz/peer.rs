//! A scripted FTP client: bytes of a script are sent as they are, but for some control characters that say what else
//! to do. It keeps an account of what it sent and heard; what that account must be is `session.rs`'s matter.
//!
//! | byte | does |
//! |---|---|
//! | 1 | sends what has come together: here the stream is split |
//! | 2 | the same, and waits for the replies that are due |
//! | 3 | opens a data connection to the port told last, or takes the one that comes to the port of 11 |
//! | 4 n | writes to it, an amount that n chooses |
//! | 5 | ends it in an orderly way |
//! | 6 | resets it |
//! | 7 | ends it with FIN alone |
//! | 8 | reads it to its end |
//! | 11 n | listens, and says PORT or EPRT |
//! | 14 | begins TLS, after AUTH TLS if that is not said yet |
//! | 15 n | sends the byte n as urgent data |
//! | 16 n | the byte n itself |
//! | 17 | resets the control connection |
//! | 18 | ends the control connection's sending half |

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use landfall::ftp::command::{Command, ParseError, Verb};
use landfall::ftp::lines::Lines;
use rustls::ClientConfig;

use super::world::PASSWORD;
use crate::ftp::{Reply, Stream};
use crate::tls;

/// How long one wait is. Waits are counted and not timed: a machine that stands still for a while is no finding.
const STEP: Duration = Duration::from_millis(10);
/// Waits for a reply that a script asks for.
const WAITS_IN_SCRIPT: u32 = 6;
/// Waits for anything: more is a hang.
const WAITS_AT_MOST: u32 = 1_000;
/// Bytes of one write to a data connection.
const AMOUNTS_BYTES: [usize; 8] = [0, 1, 9, 100, 4_000, 16_384, 40_000, 70_000];
/// Waits for the end of a data connection.
const WAITS_FOR_DATA: u32 = 20;
/// The last byte of every upload that ends in an orderly way, and of no other.
pub(super) const END: u8 = b'.';

/// A data connection.
struct Data {
    stream: Stream,
    /// Bytes of this one are this letter.
    letter: u8,
    /// ABOR was said while its transfer ran: it has no orderly end any more.
    aborted: bool,
}

/// The client, and its account.
#[expect(clippy::struct_excessive_bools, reason = "an account of things that have nothing to do with each other")]
pub(super) struct Peer {
    control: Stream,
    server: SocketAddr,
    tls: Arc<ClientConfig>,
    lax: bool,
    /// To be sent.
    out: Vec<u8>,
    received: Vec<u8>,
    /// What the server must have understood so far.
    lines: Lines,
    data: Option<Data>,
    data_count: u8,
    listener: Option<TcpListener>,
    port: Option<u16>,
    protected: bool,
    /// A whole download, until its reply comes.
    downloaded: Option<Vec<u8>>,
    /// Every reply, in order.
    pub(super) replies: Vec<Reply>,
    /// Final replies that are due.
    pub(super) due: usize,
    /// Everything that came over data connections.
    pub(super) seen: Vec<Vec<u8>>,
    /// The control connection was ended by the script.
    pub(super) cut: bool,
    /// Its end was heard.
    pub(super) over: bool,
    /// A line of HTTP was said, or a line that is too long.
    pub(super) silenced: bool,
    /// The password was said where none is expected: as a name, say.
    pub(super) betrayed: bool,
}

impl Peer {
    /// Plays a script to its end, and says goodbye.
    pub(super) fn play(server: SocketAddr, implicit: bool, lax: bool, script: &[u8]) -> Self {
        let socket = TcpStream::connect(server).expect("the server listens");
        prepare(&socket);
        let tls = tls::client_config();
        let control = if implicit { Stream::Tls(Box::new(tls::client(&tls, socket))) } else { Stream::Clear(socket) };
        let mut peer = Self {
            control,
            server,
            tls,
            lax,
            out: Vec::new(),
            received: Vec::new(),
            lines: Lines::default(),
            data: None,
            data_count: 0,
            listener: None,
            port: None,
            protected: implicit,
            downloaded: None,
            replies: Vec::new(),
            due: 1,
            seen: Vec::new(),
            cut: false,
            over: false,
            silenced: false,
            betrayed: false,
        };
        shake(&mut peer.control);
        peer.obey(script);
        peer.finish();
        peer
    }

    fn obey(&mut self, script: &[u8]) {
        let mut bytes = script.iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                1 => self.flush(),
                2 => self.wait(),
                3 => self.open(),
                4 => self.write(bytes.next().unwrap_or(0)),
                5 => self.end(true),
                6 => drop(self.data.take()),
                7 => self.end(self.lax || matches!(self.data, Some(Data { stream: Stream::Clear(_), .. }))),
                8 => self.read(),
                11 => self.listen(bytes.next().unwrap_or(0)),
                14 => self.start_tls(),
                15 => self.urgent(bytes.next().unwrap_or(0)),
                16 => self.out.extend(bytes.next()),
                17 => self.cut(None),
                18 => self.cut(Some(Shutdown::Write)),
                byte => self.out.push(byte),
            }
            if self.over && self.data.is_none() {
                break;
            }
        }
    }

    // --- the control connection ---------------------------------------------------------------------------------

    pub(super) fn finals(&self) -> usize {
        self.replies.iter().filter(|reply| reply.code >= 200).count()
    }

    /// The last replies, to be told when something does not hold.
    pub(super) fn story(&self) -> String {
        let skipped = self.replies.len().saturating_sub(40);
        self.replies[skipped..].iter().map(|reply| reply.text.as_str()).collect()
    }

    fn last_code(&self) -> u16 {
        self.replies.last().map_or(0, |reply| reply.code)
    }

    fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        self.account(&out);
        // A server that has closed the connection is heard of when its replies are read.
        write_all(&mut self.control, &out, WAITS_AT_MOST);
    }

    /// What the server makes of these bytes, if it reads them all.
    fn account(&mut self, sent: &[u8]) {
        for byte in sent {
            self.lines.push(&[*byte]);
            match self.lines.take() {
                Ok(None) => {}
                Ok(Some(line)) => {
                    self.due += 1;
                    let command = Command::parse(&line);
                    self.silenced |= command == Err(ParseError::Http);
                    self.betrayed |= contains(&line, PASSWORD.as_bytes())
                        && command.is_ok_and(|command| command.spec.verb != Verb::Pass);
                    if line.trim_ascii_end().eq_ignore_ascii_case(b"ABOR")
                        && (100..200).contains(&self.last_code())
                        && let Some(data) = &mut self.data
                    {
                        data.aborted = true;
                    }
                }
                Err(_) => {
                    self.silenced = true;
                    self.lines.clear();
                }
            }
        }
    }

    /// Hears what has come, waiting one step at most; false when that was nothing.
    fn hear(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.control.read(&mut chunk) {
            Ok(0) => self.over = true,
            Ok(count) => self.received.extend_from_slice(&chunk[..count]),
            Err(error) if waits(&error) => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.over = true,
        }
        while let Some(reply) = self.next_reply() {
            self.note(reply);
        }
        true
    }

    /// RFC 959 section 4.2, and this server's own habit: lines between the first and the last begin with a space.
    fn next_reply(&mut self) -> Option<Reply> {
        let mut end = 0;
        let mut code: Option<u16> = None;
        loop {
            let length = self.received[end..].iter().position(|byte| *byte == b'\n')? + 1;
            let line = &self.received[end..end + length];
            end += length;
            let text = std::str::from_utf8(line).expect("a reply is UTF-8");
            let text = text.strip_suffix("\r\n").unwrap_or_else(|| panic!("{text:?} does not end with CRLF"));
            assert!(!text.chars().any(char::is_control), "{text:?} has a control character");
            if code.is_some() && text.starts_with(' ') {
                continue;
            }
            let said =
                text.get(..3).and_then(|digits| digits.parse::<u16>().ok()).filter(|code| (100..600).contains(code));
            let said = said.unwrap_or_else(|| panic!("{text:?} has no code"));
            assert!(code.is_none_or(|code| code == said), "{text:?} ends a reply of {code:?}");
            match text.as_bytes().get(3) {
                Some(b' ') => break,
                Some(b'-') if code.is_none() => code = Some(said),
                _ => panic!("{text:?} is no line of a reply"),
            }
        }
        let reply: Vec<u8> = self.received.drain(..end).collect();
        let text = String::from_utf8(reply).expect("a reply is UTF-8");
        let last = text.trim_end().rsplit('\n').next().unwrap_or_default();
        let code = last.get(..3).and_then(|digits| digits.parse().ok()).expect("a code");
        Some(Reply { code, text })
    }

    fn note(&mut self, reply: Reply) {
        let text = reply.text.as_str();
        match reply.code {
            229 => self.port = text.split('|').nth(3).and_then(|port| port.parse().ok()),
            227 => {
                let inside = text.split(['(', ')']).nth(1).unwrap_or_default();
                let mut bytes = inside.split(',').skip(4).filter_map(|byte| byte.parse::<u16>().ok());
                self.port = bytes.next().zip(bytes.next()).map(|(high, low)| high * 256 + low);
            }
            200 if text.contains("are private") => self.protected = true,
            200 if text.contains("are in clear") => self.protected = false,
            226 if text.contains("All sent") => {
                let whole = self.downloaded.take();
                assert!(
                    whole.as_ref().is_none_or(|whole| whole.last().is_none_or(|last| matches!(*last, END | b'\n'))),
                    "a download that is no whole file: {whole:?}"
                );
            }
            400.. => self.downloaded = None,
            _ => {}
        }
        self.replies.push(reply);
    }

    /// Until all replies are there, or a transfer waits for what the script does next.
    fn wait(&mut self) {
        self.flush();
        for _ in 0..WAITS_IN_SCRIPT {
            while self.finals() < self.due && !(100..200).contains(&self.last_code()) && !self.over {
                if !self.hear() {
                    break;
                }
            }
        }
    }

    fn start_tls(&mut self) {
        if self.last_code() != 234 {
            self.out.extend_from_slice(b"AUTH TLS\r\n");
        }
        self.wait();
        if self.last_code() != 234 || matches!(self.control, Stream::Tls(_)) {
            return;
        }
        let Stream::Clear(socket) = std::mem::replace(&mut self.control, Stream::Gone) else { return };
        self.control = Stream::Tls(Box::new(tls::client(&self.tls, socket)));
        self.over |= !shake(&mut self.control);
        self.protected = false;
        // What was said behind AUTH, in clear, is not answered.
        self.lines.clear();
        self.due = self.finals();
    }

    fn urgent(&mut self, byte: u8) {
        self.flush();
        if let Stream::Clear(socket) = &self.control
            && socket2::SockRef::from(socket).send_out_of_band(&[byte]).is_ok()
        {
            self.account(&[byte]);
        }
    }

    fn cut(&mut self, half: Option<Shutdown>) {
        self.flush();
        self.cut = true;
        match (half, self.control.socket()) {
            (Some(half), Some(socket)) => drop(socket.shutdown(half)),
            _ => self.control = Stream::Gone,
        }
    }

    // --- data connections ---------------------------------------------------------------------------------------

    fn open(&mut self) {
        self.wait();
        let socket = match self.listener.take() {
            Some(listener) => (0..WAITS_IN_SCRIPT).find_map(|_| {
                std::thread::sleep(STEP / 4);
                listener.accept().ok().map(|(socket, _)| socket)
            }),
            None => self.port.take().and_then(|port| TcpStream::connect((self.server.ip(), port)).ok()),
        };
        let Some(socket) = socket else { return };
        prepare(&socket);
        let stream =
            if self.protected { Stream::Tls(Box::new(tls::client(&self.tls, socket))) } else { Stream::Clear(socket) };
        self.data_count += 1;
        self.data = Some(Data { stream, letter: b'a' + self.data_count % 26, aborted: false });
    }

    fn write(&mut self, amount: u8) {
        self.wait();
        let Some(data) = &mut self.data else { return };
        let length = AMOUNTS_BYTES[usize::from(amount) % AMOUNTS_BYTES.len()];
        let bytes: Vec<u8> = (0..length).map(|at| if at % 64 == 62 { b'\r' } else { data.letter }).collect();
        write_all(&mut data.stream, &bytes, WAITS_FOR_DATA);
    }

    /// With the last byte, if that is the orderly end and can be said; else without.
    fn end(&mut self, orderly: bool) {
        self.wait();
        let Some(Data { mut stream, aborted, .. }) = self.data.take() else { return };
        if !shake(&mut stream) {
            // Dropped, it is reset: what came of the handshake must not pass for a file.
            return;
        }
        if orderly && !aborted {
            write_all(&mut stream, &[END], WAITS_FOR_DATA);
        } else if self.lax || matches!(stream, Stream::Clear(_)) {
            return;
        }
        if let Stream::Tls(tls) = &mut stream
            && orderly
            && !aborted
        {
            tls.conn.send_close_notify();
            drop(tls.flush());
        }
        if let Some(socket) = stream.socket() {
            drop(socket.shutdown(Shutdown::Write));
        }
        read_to_end(&mut stream);
    }

    fn read(&mut self) {
        self.wait();
        let Some(mut data) = self.data.take() else { return };
        let (bytes, whole) = read_to_end(&mut data.stream);
        self.downloaded = whole.then(|| bytes.clone());
        self.seen.push(bytes);
    }

    fn listen(&mut self, odd: u8) {
        let Ok(listener) = TcpListener::bind((self.server.ip(), 0)) else { return };
        listener.set_nonblocking(true).expect("a socket of our own");
        let port = listener.local_addr().expect("it is bound").port();
        let [high, low] = port.to_be_bytes();
        let line = if odd.is_multiple_of(2) {
            format!("PORT 127,0,0,1,{high},{low}\r\n")
        } else {
            format!("EPRT |1|127.0.0.1|{port}|\r\n")
        };
        self.out.extend_from_slice(line.as_bytes());
        self.listener = Some(listener);
    }

    // --- the end ------------------------------------------------------------------------------------------------

    /// Ends an unfinished line, stops what still runs, and says goodbye; hears the end of the connection.
    fn finish(&mut self) {
        if !self.cut && !self.over {
            self.out.extend_from_slice(b"\r\n");
            self.flush();
            let mut waits = 0;
            while self.finals() < self.due && !self.over {
                if !self.hear() {
                    waits += 1;
                    assert!(waits < WAITS_AT_MOST, "{} of {} replies came: {}", self.finals(), self.due, self.story());
                    self.out.extend_from_slice(b"ABOR\r\n");
                    self.flush();
                }
            }
            self.out.extend_from_slice(b"QUIT\r\n");
            self.flush();
        }
        self.data = None;
        let mut waits = 0;
        while !self.over {
            if matches!(self.control, Stream::Gone) {
                self.over = true;
            } else if !self.hear() {
                waits += 1;
                assert!(waits < WAITS_AT_MOST, "the connection does not end: {}", self.story());
            }
        }
        self.control = Stream::Gone;
    }
}

pub(super) fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Closed over anything, it is reset: nothing is left of it in the kernel.
fn prepare(socket: &TcpStream) {
    socket.set_nodelay(true).expect("a socket of our own");
    socket.set_read_timeout(Some(STEP)).expect("a socket of our own");
    socket.set_write_timeout(Some(STEP)).expect("a socket of our own");
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a socket of our own");
}

/// Ends a handshake, where there is one; false when that does not succeed in time.
fn shake(stream: &mut Stream) -> bool {
    let Stream::Tls(tls) = stream else { return true };
    for _ in 0..WAITS_FOR_DATA {
        match tls.conn.complete_io(&mut tls.sock) {
            _ if !tls.conn.is_handshaking() => return true,
            Err(error) if !waits(&error) => return false,
            _ => {}
        }
    }
    false
}

/// Writes all, as long as anybody takes it. A server that has closed the connection is heard of elsewhere.
fn write_all(stream: &mut Stream, mut bytes: &[u8], patience: u32) {
    let mut waited = 0;
    while !bytes.is_empty() && waited < patience {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if waits(&error) => waited += 1,
            Err(_) => return,
        }
    }
    drop(stream.flush());
}

fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What came, and whether that was all.
fn read_to_end(stream: &mut Stream) -> (Vec<u8>, bool) {
    let (mut bytes, mut chunk, mut waits) = (Vec::new(), vec![0; 65_536], 0);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return (bytes, true),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if self::waits(&error) => {
                waits += 1;
                if waits == WAITS_FOR_DATA {
                    return (bytes, false);
                }
            }
            Err(_) => return (bytes, false),
        }
    }
}

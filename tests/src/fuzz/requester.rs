//! A scripted SFTP client over two channels of one connection, without SSH: each byte of a script says what to do next.
//! It keeps an account of what was asked and answered, and refuses replies that cannot be; what the account must come to
//! is `pump.rs`'s matter.
//!
//! | byte modulo 24 | does |
//! |---|---|
//! | 0, 1 | sends what has come together; 1 waits for replies that are due |
//! | 2 name flags | OPEN |
//! | 3, 4 handle amount | WRITE where the last one ended |
//! | 5 handle offset amount | WRITE somewhere |
//! | 6 handle offset amount | READ |
//! | 7 handle | CLOSE |
//! | 8 handle | FSTAT, FSETSTAT with a size, READDIR or fsync, as the handle's byte says |
//! | 9 kind name | a request with a name alone |
//! | 10 name name | RENAME, or posix-rename |
//! | 11 name size | SETSTAT |
//! | 12 extension name | an extended request |
//! | 13 size | cuts what is sent from here on into pieces of that size |
//! | 14 amount | takes so much more of the replies |
//! | 15 count … | bytes as they are |
//! | 16 place value | changes a byte of what has come together |
//! | 17 | goes on with the other channel |
//! | 18, 19, 20, 21 | says that nothing more comes; is gone; stops reading for good; is kicked |
//! | 22, 23 | CLOSE of the handle that was told last |

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use landfall::sftp::bare::Bare;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::wire::{self, Asked, Reply, Says, Value, Wire};
use super::world::{CANARY, FORGING_NAME, runtime};

/// One wait: cut short by what is waited for. Waits are counted, so a machine that stands still is no finding.
const WAIT: Duration = Duration::from_millis(5);
const WAITS_IN_SCRIPT: u32 = 8;
/// More is a hang.
const WAITS_AT_MOST: u32 = 6_000;
/// Payload of all WRITEs of a script.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;
const AMOUNTS_BYTES: [usize; 8] = [0, 1, 9, 100, 4_000, 8_192, 32_768, 70_000];
const NAMES: [&[u8]; 16] = [
    b"a.jpg",
    b"a.jpg",
    b"b.jpg",
    b"seed.jpg",
    b"in/seed.png",
    b"in/box/b",
    b"in",
    b"new",
    b"c.part",
    b"door/canary.jpg",
    b"key.jpg",
    b"../neighbour/canary.jpg",
    b"loop",
    b"\xc3\xa9.jpg",
    b"\x1b[2J\r\n",
    b"",
];
const EXTENSIONS: [&[u8]; 15] = [
    b"posix-rename@openssh.com",
    b"statvfs@openssh.com",
    b"fstatvfs@openssh.com",
    b"fsync@openssh.com",
    b"lsetstat@openssh.com",
    b"limits@openssh.com",
    b"expand-path@openssh.com",
    b"home-directory",
    b"users-groups-by-id@openssh.com",
    b"hardlink@openssh.com",
    b"nonsense",
    b"vendor-id",
    b"check-file",
    b"check-file-handle",
    b"check-file-name",
];

/// A request, and what was said to it.
pub(super) struct Request {
    pub(super) asked: Asked,
    pub(super) reply: Option<Says>,
}

/// One channel.
#[expect(clippy::struct_excessive_bools, reason = "an account of things that have nothing to do with each other")]
pub(super) struct Line {
    to: Option<mpsc::Sender<Option<Bytes>>>,
    from: Option<mpsc::UnboundedReceiver<Bytes>>,
    window: Arc<Semaphore>,
    /// To be sent, and in pieces of which size.
    out: Vec<u8>,
    piece_bytes: usize,
    wire: Wire,
    /// The beginning of a reply.
    pub(super) received: Vec<u8>,
    waiting: HashMap<u32, VecDeque<usize>>,
    handles: Vec<Vec<u8>>,
    ends: HashMap<Vec<u8>, u64>,
    pub(super) requests: Vec<Request>,
    /// It said that nothing more comes.
    ended: bool,
    /// INIT was said, and answered.
    ready: bool,
    greeted: bool,
    /// The stream makes sense so far.
    pub(super) sense: bool,
    /// The engine knows the layout of something that was asked, and this account does not.
    pub(super) unknown: bool,
    /// Two requests that were out at the same time had one id.
    pub(super) twins: bool,
    /// It was not ended politely.
    pub(super) cut: bool,
}

/// The client.
pub(super) struct Requester {
    bare: Arc<Bare>,
    pub(super) lines: [Line; 2],
    now: usize,
    next_id: u32,
    payload_bytes: usize,
    pub(super) kicked: bool,
}

impl Requester {
    /// Plays a script, and ends what it left open. With a narrow window it does not read at first.
    pub(super) fn play(bare: &Arc<Bare>, narrow: bool, script: &[u8]) -> Self {
        let lines = [(); 2].map(|()| Line::open(bare, if narrow { 64 } else { 1 << 28 }));
        let mut client = Self { bare: bare.clone(), lines, now: 0, next_id: 100, payload_bytes: 0, kicked: false };
        for line in &mut client.lines {
            line.put(wire::INIT, 3, &[]);
        }
        let mut script = script.iter().copied();
        while let Some(byte) = script.next() {
            client.obey(byte, &mut || script.next().unwrap_or(0));
        }
        for line in &mut client.lines {
            line.finish();
        }
        client
    }

    fn obey(&mut self, byte: u8, next: &mut dyn FnMut() -> u8) {
        let line = &mut self.lines[self.now];
        let name = |byte: u8| Value::Text(NAMES[usize::from(byte % 16)].to_vec());
        let id = self.next_id;
        self.next_id += 1;
        match byte % 24 {
            0 => line.flush(),
            1 => {
                line.flush();
                line.listen(WAITS_IN_SCRIPT);
            }
            2 => {
                let path = name(next());
                line.put(wire::OPEN, id, &[path, Value::U32(flags(next())), no_attributes()]);
            }
            3 | 4 => self.write(next(), None, next()),
            5 => self.write(next(), Some(next()), next()),
            6 => {
                let handle = line.handle(next());
                let offset = offset(next(), line.end(&handle), 100);
                let wanted = u32::from(next()) * 1_000;
                line.put(wire::READ, id, &[Value::Text(handle), Value::U64(offset), Value::U32(wanted)]);
            }
            7 => {
                let handle = line.handle(next());
                line.put(wire::CLOSE, id, &[Value::Text(handle)]);
            }
            8 => line.about(id, next()),
            9 => {
                const KINDS: [u8; 9] = [7, 17, 13, 14, 15, 16, 11, 19, 99];
                let kind = KINDS[usize::from(next()) % KINDS.len()];
                let fields = [name(next()), no_attributes()];
                line.put(kind, id, if kind == 14 { &fields } else { &fields[..1] });
            }
            10 => {
                let (from, to) = (next(), next());
                let mut fields = vec![name(from), name(to)];
                if from >= 128 {
                    fields.insert(0, Value::Text(EXTENSIONS[0].to_vec()));
                }
                line.put(if from >= 128 { wire::EXTENDED } else { 18 }, id, &fields);
            }
            11 => {
                let (path, size) = (name(next()), next());
                let size = (size % 4 == 1).then(|| u64::from(size) * 1_000);
                line.put(9, id, &[path, Value::Attributes { size }]);
            }
            12 => {
                let (what, about) = (usize::from(next()) % EXTENSIONS.len(), next());
                let mut fields = vec![Value::Text(EXTENSIONS[what].to_vec())];
                let digest = Value::Text(b"sha256".to_vec());
                fields.extend(match what {
                    11 => [name(about), name(about), name(about), Value::U64(1)].to_vec(),
                    12.. => {
                        let subject = if what == 14 { name(about) } else { Value::Text(line.handle(about)) };
                        let block = if about & 16 == 0 { 0 } else { u32::from(about) * 16 };
                        vec![subject, digest, Value::U64(u64::from(about & 3)), Value::U64(0), Value::U32(block)]
                    }
                    _ => vec![name(about), name(about >> 4), no_attributes()],
                });
                line.put(wire::EXTENDED, id, &fields);
            }
            13 => line.piece_bytes = usize::from(next()).pow(2).max(1),
            14 => line.window.add_permits(usize::from(next()) * 200),
            15 => line.out.extend((0..next() % 16).map(|_| next()).collect::<Vec<_>>()),
            16 => {
                let (place, value) = (usize::from(next()), next());
                if let Some(byte) = line.out.iter_mut().rev().nth(place) {
                    *byte = value;
                }
            }
            17 => self.now = 1 - self.now,
            18 => line.say_end(),
            19 => line.leave(),
            20 => line.read_no_more(),
            21 => {
                line.flush();
                self.kicked = true;
                self.bare.halt();
            }
            _ => {
                let handle = line.handles.last().cloned().unwrap_or_else(|| line.handle(200));
                line.put(wire::CLOSE, id, &[Value::Text(handle)]);
            }
        }
    }

    fn write(&mut self, handle: u8, place: Option<u8>, amount: u8) {
        let line = &mut self.lines[self.now];
        let handle = line.handle(handle);
        let amount = AMOUNTS_BYTES[usize::from(amount % 8)].min(MAX_PAYLOAD_BYTES - self.payload_bytes);
        self.payload_bytes += amount;
        let end = line.end(&handle);
        let at = place.map_or(end, |place| offset(place, end, amount as u64));
        line.ends.insert(handle.clone(), at.saturating_add(amount as u64));
        let id = self.next_id;
        self.next_id += 1;
        // No two of these are alike, nor is any part of one like another.
        let data = (0..amount as u64).map(|index| (u64::from(id) * 7_919 + index * 31 + (index >> 8)).to_le_bytes()[0]);
        line.put(wire::WRITE, id, &[Value::Text(handle), Value::U64(at), Value::Text(data.collect())]);
    }
}

fn flags(byte: u8) -> u32 {
    match byte % 8 {
        0..=2 => 0x1a,
        3 => 0x0a,
        4 => 0x01,
        5 => 0x0e,
        6 => 0x2a,
        _ => u32::from(byte >> 3),
    }
}

fn offset(byte: u8, end: u64, amount: u64) -> u64 {
    match byte {
        0 => 0,
        1 => end.saturating_add(amount),
        2 => end.saturating_sub(5),
        3 => 1 << 40,
        4 => 1 << 62,
        5 => i64::MAX as u64,
        6 => u64::MAX,
        7 => u64::MAX - amount,
        8 => end,
        byte => u64::from(byte) * 100,
    }
}

fn no_attributes() -> Value {
    Value::Attributes { size: None }
}

impl Line {
    fn open(bare: &Arc<Bare>, window_bytes: usize) -> Self {
        let (to, from_client) = mpsc::channel(4);
        let (replies, from) = mpsc::unbounded_channel();
        let window = Arc::new(Semaphore::new(window_bytes));
        let _runtime = runtime().enter();
        bare.open(from_client, replies, window.clone());
        Self {
            to: Some(to),
            from: Some(from),
            window,
            out: Vec::new(),
            piece_bytes: usize::MAX,
            wire: Wire::default(),
            received: Vec::new(),
            waiting: HashMap::new(),
            handles: Vec::new(),
            ends: HashMap::new(),
            requests: Vec::new(),
            ended: false,
            ready: false,
            greeted: false,
            sense: true,
            unknown: false,
            twins: false,
            cut: false,
        }
    }

    /// Adds a request to what is sent.
    fn put(&mut self, kind: u8, id: u32, fields: &[Value]) {
        let mut packet = vec![kind];
        packet.extend(id.to_be_bytes());
        for field in fields {
            match field {
                Value::U32(number) => packet.extend(number.to_be_bytes()),
                Value::U64(number) => packet.extend(number.to_be_bytes()),
                Value::Text(text) => {
                    packet.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
                    packet.extend(text);
                }
                Value::Attributes { size } => {
                    packet.extend(u32::from(size.is_some()).to_be_bytes());
                    packet.extend(size.iter().flat_map(|size| size.to_be_bytes()));
                }
            }
        }
        self.out.extend(u32::try_from(packet.len()).expect("short").to_be_bytes());
        self.out.extend(packet);
    }

    /// A request about a handle.
    fn about(&mut self, id: u32, byte: u8) {
        let handle = Value::Text(self.handle(byte));
        match byte >> 4 & 3 {
            0 => self.put(wire::FSTAT, id, &[handle]),
            1 => {
                let size = Some(u64::from(byte & 15) * 1_000);
                self.put(wire::FSETSTAT, id, &[handle, Value::Attributes { size }]);
            }
            2 => self.put(wire::READDIR, id, &[handle]),
            _ => self.put(wire::EXTENDED, id, &[Value::Text(EXTENSIONS[3].to_vec()), handle]),
        }
    }

    /// One of those told, the latest first; or one that will be told, perhaps.
    fn handle(&self, byte: u8) -> Vec<u8> {
        let back = usize::from(byte & 15);
        match self.handles.iter().rev().nth(back) {
            Some(handle) if byte < 128 => handle.clone(),
            _ => format!("{:08x}", u32::from(byte >> 4 & 3) << 8 | u32::from(byte & 3) | 0x100).into_bytes(),
        }
    }

    fn end(&self, handle: &[u8]) -> u64 {
        self.ends.get(handle).copied().unwrap_or(0)
    }

    // --- there --------------------------------------------------------------------------------------------------

    fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        for piece in out.chunks(self.piece_bytes.max(out.len() / 500)) {
            if self.to.is_none() || self.ended {
                return;
            }
            self.account(piece);
            self.send(Some(Bytes::copy_from_slice(piece)));
        }
    }

    fn send(&mut self, piece: Option<Bytes>) {
        let Some(to) = self.to.clone() else { return };
        for _ in 0..WAITS_AT_MOST {
            match runtime().block_on(async { timeout(WAIT, to.reserve()).await }) {
                Ok(Ok(place)) => return place.send(piece),
                // It is over: because of what was sent before, or because everything is.
                Ok(Err(_)) => {
                    self.to = None;
                    return;
                }
                Err(_) => {}
            }
        }
        panic!("the pump stopped reading");
    }

    /// What the engine has to make of these bytes, if it reads them all.
    fn account(&mut self, bytes: &[u8]) {
        if !self.sense {
            return;
        }
        let (requests, sense) = self.wire.push(bytes);
        for asked in requests {
            if !self.ready || asked.kind == wire::INIT {
                self.sense = !self.ready && asked.kind == wire::INIT && asked.id >= 3;
                self.ready = true;
                if !self.sense {
                    return;
                }
                continue;
            }
            self.unknown |= !asked.known;
            let place = self.waiting.entry(asked.id).or_default();
            self.twins |= !place.is_empty();
            place.push_back(self.requests.len());
            self.requests.push(Request { asked, reply: None });
        }
        self.sense = sense;
    }

    fn say_end(&mut self) {
        self.flush();
        self.send(None);
        self.ended = true;
    }

    fn leave(&mut self) {
        self.flush();
        self.cut = true;
        self.to = None;
    }

    fn read_no_more(&mut self) {
        self.flush();
        self.cut = true;
        self.from = None;
    }

    // --- and back -----------------------------------------------------------------------------------------------

    /// Takes replies until none is due, or none comes for so many waits. True when there will be no more.
    fn listen(&mut self, waits: u32) -> bool {
        let mut waited = 0;
        while waited < waits {
            let Some(from) = &mut self.from else { return true };
            match runtime().block_on(async { timeout(WAIT, from.recv()).await }) {
                Ok(Some(piece)) => {
                    self.received.extend_from_slice(&piece);
                    self.read();
                    if waits == WAITS_IN_SCRIPT && self.waiting.is_empty() {
                        return false;
                    }
                }
                Ok(None) => {
                    self.from = None;
                    return true;
                }
                Err(_) => waited += 1,
            }
        }
        false
    }

    fn read(&mut self) {
        loop {
            let Some(head) = self.received.first_chunk::<4>() else { return };
            let length = u32::from_be_bytes(*head) as usize;
            assert!((1..=256 * 1024).contains(&length), "a reply of {length} bytes");
            if self.received.len() < 4 + length {
                return;
            }
            let packet: Vec<u8> = self.received.drain(..4 + length).skip(4).collect();
            self.take(&packet);
        }
    }

    fn take(&mut self, packet: &[u8]) {
        if packet[0] == 2 {
            assert!(self.ready && !self.greeted, "VERSION, unasked");
            self.greeted = true;
            return;
        }
        assert!(self.greeted, "a reply in front of VERSION");
        let reply = wire::reply(packet).unwrap_or_else(|| panic!("a reply that is none: {packet:?}"));
        let place = self.waiting.get_mut(&reply.id).and_then(VecDeque::pop_front);
        let Some(place) = place else { panic!("a reply that nobody asked for: {reply:?}") };
        if self.waiting.get(&reply.id).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&reply.id);
        }
        let request = &mut self.requests[place];
        fits(&request.asked, &reply);
        if let Says::Handle(handle) = &reply.says {
            assert!(!self.handles.contains(handle), "{handle:?} was told before");
            self.handles.push(handle.clone());
        }
        request.reply = Some(reply.says);
    }

    /// Ends it politely if it is not ended yet, and hears what is still said.
    fn finish(&mut self) {
        self.say_end();
        self.window.add_permits(1 << 28);
        let over = self.listen(WAITS_AT_MOST);
        assert!(over, "the channel does not end; {} requests wait", self.waiting.len());
        self.to = None;
    }
}

/// Can this be the reply to that?
fn fits(asked: &Asked, reply: &Reply) {
    let right = match (asked.kind, &reply.says) {
        (_, Says::Status(code, sentence)) => {
            assert!(!sentence.is_empty() && !sentence.contains(char::is_control), "{sentence:?}");
            assert!(!sentence.contains(" failed; nothing was changed"), "{asked:?}: {sentence}");
            match asked.kind {
                // Something was asked for, and "done" does not give it.
                wire::READ | wire::READDIR => matches!(code, 1..=8),
                wire::OPEN | wire::OPENDIR | wire::REALPATH | wire::FSTAT | 7 | 17 | 19 => matches!(code, 2..=8),
                _ => matches!(code, 0 | 2..=8),
            }
        }
        (wire::OPEN | wire::OPENDIR, Says::Handle(handle)) => handle.len() == 8,
        (wire::READ, Says::Data(data)) => {
            assert!(!data.windows(CANARY.len()).any(|window| window == CANARY), "somebody else's file was shown");
            !data.is_empty() && data.len() as u64 <= asked.number(2)
        }
        (7 | wire::FSTAT | 17, Says::Facts(_)) | (wire::EXTENDED, Says::Other) => true,
        (wire::READDIR, Says::Names(names)) => {
            let shown = |(name, long): &(String, String)| {
                let clean = !long.contains(char::is_control) && long.ends_with(&format!(" {name}"));
                clean && !name.contains('/') && name != FORGING_NAME && !name.is_empty()
            };
            !names.is_empty() && names.iter().all(shown)
        }
        (wire::REALPATH | wire::EXTENDED, Says::Names(names)) => {
            names.len() == 1 && names[0].0.starts_with('/') && !names[0].0.contains(char::is_control)
        }
        _ => false,
    };
    assert!(right, "{:?} to {asked:?}", reply.says);
}

//! Attacks by SFTP packets: lengths, offsets, handles, names, and more than the server wants to keep.

use std::collections::HashMap;

use landfall_tests::ssh::{Heard, message, string};
use landfall_tests::{Sftp, Ssh};

use super::floods::grows;
use super::names::{hostile_names, restore};
use super::{Attack, CANARY_BYTES, PASSWORD, World, all_hold, by, here};

const MAX_HANDLES: usize = 64;
const STATUS: u8 = 101;
/// What a connection may leave unread.
const UNSENT_KIB: u64 = 32 * 1024;

pub(super) const ATTACKS: &[Attack] = &[
    here(
        "huge SFTP packets",
        "lengths of 2^32-1, 2^31, 256 KiB + 1 and 0, and 8 MiB behind each, beside an upload on another channel",
        "each ends its channel only; memory + 1 MiB at most",
        huge_packets,
    ),
    by(
        "streams that make no sense",
        "requests before INIT, INIT again, fields beyond their packet",
        "the channel ends, nothing behind it is answered",
        &[
            ("server/src/sftp/tests/flow.rs", "streams_that_make_no_sense_end_their_channel"),
            ("server/src/sftp/tests/flow.rs", "a_fault_suspends_what_is_open"),
        ],
    ),
    here(
        "offsets far beyond the end",
        "WRITE, READ, SETSTAT and FSETSTAT at 2^40 to 2^64-1",
        "no hole, no file, no bytes",
        far_offsets,
    ),
    here(
        "handle flood",
        "10,000 OPEN and OPENDIR over 8 channels without a CLOSE",
        "64 are open, the others are refused; memory + 1 MiB at most",
        handle_flood,
    ),
    here(
        "strange handles",
        "handles that were closed, of another channel, guessed, of 256 KiB, of no length",
        "each refused",
        strange_handles,
    ),
    here(
        "out of the jail, by SFTP",
        "5,000 generated names, each with STAT, OPEN, REMOVE, MKDIR, RMDIR, RENAME, SETSTAT, OPENDIR",
        "nothing outside is changed, made or seen",
        jail,
    ),
    by(
        "swaps of links, SFTP",
        "directories swapped for links at any instant of a request",
        "no access outside: the storage is the same for all protocols",
        &[("storage/src/tests/hostile.rs", "a_directory_swapped_for_a_link_at_any_instant_leads_nowhere")],
    ),
    here(
        "names that are none, SFTP",
        "not UTF-8, NUL, ESC, CR, LF, 256 bytes, 100,000 slashes, a path of 250 KiB, in every request that takes a name",
        "each refused by name; one escaped line in the log",
        bad_names,
    ),
    here("links", "SYMLINK, hardlink and READLINK in and out of the jail", "each refused, none made", links),
    here(
        "listings without reading replies",
        "20,000 READDIR and OPENDIR of a directory of 2,000 long names, no reply is taken",
        "all are taken in; memory + 32 MiB at most; others go on",
        listing_flood,
    ),
    by(
        "reads without reading replies",
        "10,000 READs outstanding and 1,000 WRITEs behind them",
        "the WRITEs are done and land, the replies come when they are read",
        &[("server/src/sftp/tests/flow.rs", "writes_go_on_while_nobody_reads_ten_thousand_reads")],
    ),
    here(
        "attributes that lie",
        "counts of 2^32-1 extended pairs, all flags, set-id bits, times of 2^32-1, in OPEN, SETSTAT, MKDIR",
        "refused, or no mode beyond 777; the channel ends where the packet makes no sense",
        lying_attributes,
    ),
];

// --- packets ----------------------------------------------------------------------------------------------------

/// The bytes of a request.
pub(super) fn request(kind: u8, id: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![kind];
    body.extend(id.to_be_bytes());
    body.extend(fields.concat());
    let mut out = Vec::new();
    string(&mut out, &body);
    out
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    string(&mut out, bytes);
    out
}

fn number(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn long(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

pub(super) fn open(id: u32, name: &str, flags: u32) -> Vec<u8> {
    request(3, id, &[text(name.as_bytes()), number(flags), number(0)])
}

pub(super) fn write(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
    request(6, id, &[text(handle), long(offset), text(data)])
}

pub(super) fn close(id: u32, handle: &[u8]) -> Vec<u8> {
    request(4, id, &[text(handle)])
}

/// INIT and VERSION.
pub(super) fn begin(ssh: &mut Ssh, channel: u32) {
    ssh.data(channel, &request(1, 3, &[]));
    assert_eq!(ssh.answer().kind(), message::CHANNEL_DATA, "no VERSION");
}

/// One reply.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) kind: u8,
    body: Vec<u8>,
}

impl Reply {
    /// The code of a status; 99 for anything else.
    pub(super) fn code(&self) -> u32 {
        let code = self.body.first_chunk().map_or(99, |code| u32::from_be_bytes(*code));
        if self.kind == STATUS { code } else { 99 }
    }

    fn handle(&self) -> Vec<u8> {
        if self.kind == 102 { self.body[4..].to_vec() } else { Vec::new() }
    }
}

/// A client that reads the replies on one channel.
pub(super) struct Client {
    ssh: Ssh,
    channel: u32,
    received: Vec<u8>,
    early: HashMap<u32, Reply>,
    next_id: u32,
}

impl Client {
    /// Over a channel behind INIT.
    pub(super) fn over(ssh: Ssh, channel: u32) -> Self {
        Self { ssh, channel, received: Vec::new(), early: HashMap::new(), next_id: 1_000 }
    }

    fn new(w: &World) -> Self {
        let mut ssh = w.ssh_logged_in();
        let channel = ssh.sftp(1 << 30);
        begin(&mut ssh, channel);
        Self::over(ssh, channel)
    }

    fn send(&mut self, kind: u8, fields: &[Vec<u8>]) -> u32 {
        self.next_id += 1;
        self.ssh.data(self.channel, &request(kind, self.next_id, fields));
        self.next_id
    }

    /// Sends, and waits for the reply; kind 0 when the channel or the connection ends.
    pub(super) fn ask(&mut self, kind: u8, fields: &[Vec<u8>]) -> Reply {
        let id = self.send(kind, fields);
        self.reply(id)
    }

    fn reply(&mut self, id: u32) -> Reply {
        loop {
            if let Some(reply) = self.early.remove(&id) {
                return reply;
            }
            if let Some(head) = self.received.first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if self.received.len() >= 4 + length {
                    let packet: Vec<u8> = self.received.drain(..4 + length).skip(4).collect();
                    let id = u32::from_be_bytes(*packet[1..].first_chunk().expect("an id"));
                    self.early.insert(id, Reply { kind: packet[0], body: packet[5..].to_vec() });
                    continue;
                }
            }
            match self.ssh.answer() {
                Heard::Packet(payload) if payload[0] == message::CHANNEL_DATA => {
                    self.received.extend_from_slice(&payload[9..]);
                }
                _ => return Reply { kind: 0, body: Vec::new() },
            }
        }
    }
}

// --- attacks ----------------------------------------------------------------------------------------------------

fn huge_packets(w: &World) -> String {
    let much = vec![7; 8 << 20];
    let outcome = grows(w, || {
        let mut exceptions = Vec::new();
        for length in [u32::MAX, 1 << 31, 256 * 1024 + 1, 0] {
            let mut ssh = w.ssh_logged_in();
            let good = ssh.sftp(1 << 20);
            begin(&mut ssh, good);
            ssh.data(good, &open(1, "beside.jpg", 0x1a));
            ssh.answer();
            let bad = ssh.open("session", 1, 1 << 20, &[]).expect("a channel");
            ssh.request(bad, "subsystem", &text(b"sftp"));
            begin(&mut ssh, bad);
            ssh.data(bad, &number(length));
            ssh.data(bad, &much);
            ssh.data(good, &write(2, b"00000100", 0, b"beside"));
            let mut client = Client::over(ssh, good);
            let id = client.send(4, &[text(b"00000100")]);
            let mut closed = false;
            // The bad channel's end is heard in between.
            let done = loop {
                match client.ssh.answer() {
                    Heard::Packet(payload) if payload[0] == message::CHANNEL_CLOSE => closed = true,
                    Heard::Packet(payload) if payload[0] == message::CHANNEL_DATA => {
                        client.received.extend_from_slice(&payload[9..]);
                        let last = [&[STATUS][..], &id.to_be_bytes(), &[0; 4]].concat();
                        if client.received.windows(9).any(|window| window == last) {
                            break true;
                        }
                    }
                    Heard::Packet(_) => {}
                    _ => break false,
                }
            };
            if !done {
                exceptions.push(format!("{length}: the upload beside it did not land, closed {closed}"));
            }
            // If it was not closed yet it is now: nothing is served on it any more.
            client.ssh.data(bad, &request(17, 9, &[text(b"/")]));
        }
        all_hold("each ends its channel only", &exceptions)
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

fn far_offsets(w: &World) -> String {
    let mut exceptions = Vec::new();
    for offset in [
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 55,
        1 << 62,
        i64::MAX as u64 - 1,
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 3,
        u64::MAX,
    ] {
        let mut client = Client::new(w);
        let name = format!("far-{offset}");
        let handle = client.ask(3, &[text(name.as_bytes()), number(0x1b), number(0)]).handle();
        client.ask(6, &[text(&handle), long(0), text(b"near")]);
        let size = [number(1), long(offset)].concat();
        let read = client.ask(5, &[text(&handle), long(offset), number(100)]);
        let set = client.ask(10, &[text(&handle), size.clone()]);
        let named = client.ask(9, &[text(b"/own.jpg"), size]);
        let far = client.send(6, &[text(&handle), long(offset), text(b"far")]);
        let closed = client.ask(4, &[text(&handle)]);
        let far = client.reply(far);
        let codes = [read.code(), set.code(), named.code(), far.code(), closed.code()];
        if codes != [1, 4, 4, 4, 4] || w.home().join(&name).exists() {
            exceptions.push(format!("{offset}: {codes:?}"));
        }
        client.ask(13, &[text(name.as_bytes())]);
    }
    if std::fs::read(w.home().join("own.jpg")).unwrap() != b"acme's own" {
        exceptions.push("own.jpg".to_owned());
    }
    all_hold("no hole, no file, no bytes", &exceptions)
}

fn handle_flood(w: &World) -> String {
    let outcome = grows(w, || {
        let mut ssh = w.ssh_logged_in();
        let channels: Vec<u32> = (0..8)
            .map(|own| {
                let channel = ssh.open("session", own, 1 << 30, &[]).expect("a channel");
                ssh.request(channel, "subsystem", &text(b"sftp"));
                begin(&mut ssh, channel);
                channel
            })
            .collect();
        for (number, channel) in channels.iter().enumerate() {
            let flood: Vec<u8> = (0..625u32)
                .flat_map(|id| {
                    let name = format!("flood-{number}-{id}");
                    [open(id * 2, &name, 0x1a), request(11, id * 2 + 1, &[text(b"/")])].concat()
                })
                .collect();
            ssh.data(*channel, &flood);
        }
        let (mut handles, mut replies) = (0, 0);
        let mut received: HashMap<u32, Vec<u8>> = HashMap::new();
        while replies < 10_000 {
            let Heard::Packet(payload) = ssh.answer() else { return format!("ended after {replies}") };
            if payload[0] != message::CHANNEL_DATA {
                continue;
            }
            let own = u32::from_be_bytes(*payload[1..].first_chunk().unwrap());
            let stream = received.entry(own).or_default();
            stream.extend_from_slice(&payload[9..]);
            while let Some(head) = stream.first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if stream.len() < 4 + length {
                    break;
                }
                handles += usize::from(stream[4] == 102);
                replies += 1;
                stream.drain(..4 + length);
            }
        }
        if handles == MAX_HANDLES {
            format!("{handles} are open, the others are refused")
        } else {
            format!("{handles} are open")
        }
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

fn strange_handles(w: &World) -> String {
    let mut client = Client::new(w);
    let mut other = Client::new(w);
    let own = client.ask(3, &[text(b"handles.jpg"), number(0x1a), number(0)]).handle();
    let stale = own.clone();
    client.ask(4, &[text(&own)]);
    let foreign = other.ask(3, &[text(b"/own.jpg"), number(1), number(0)]).handle();
    let longest = vec![b'0'; 200_000];
    let mut exceptions = Vec::new();
    let mut strange: Vec<&[u8]> =
        vec![&stale, &foreign, b"", b"0", b"ffffffff", b"00000000", b"00000101", b"\0\0\0\0", &longest];
    // Eight digits are a handle of this channel only if it gave it.
    strange.push(b"0000010 ");
    for handle in strange {
        for (kind, rest) in
            [(4, vec![]), (5, vec![long(0), number(10)]), (8, vec![]), (10, vec![number(0)]), (12, vec![])]
        {
            let reply = client.ask(kind, &[vec![text(handle)], rest].concat());
            if reply.code() != 4 {
                exceptions.push(format!(
                    "{:.20}, request {kind}: {:.60}",
                    handle.escape_ascii().to_string(),
                    format!("{reply:?}")
                ));
            }
        }
        if handle.len() <= 256 {
            let reply = client.ask(6, &[text(handle), long(0), text(b"x")]);
            if reply.code() != 4 {
                exceptions.push(format!("{}: written", handle.escape_ascii()));
            }
        }
    }
    all_hold("each refused", &exceptions)
}

fn jail(w: &World) -> String {
    let before = w.around();
    let mut client = Client::new(w);
    let mut exceptions = Vec::new();
    for some in hostile_names().chunks(20) {
        let mut asked = Vec::new();
        for name in some {
            let path = text(name.as_bytes());
            let size = [number(5), long(3), number(0o777)].concat();
            asked.push((name, client.send(17, std::slice::from_ref(&path))));
            asked.push((name, client.send(3, &[path.clone(), number(1), number(0)])));
            asked.push((name, client.send(11, std::slice::from_ref(&path))));
            for (kind, fields) in [
                (9, vec![path.clone(), size]),
                (18, vec![path.clone(), text(b"stolen.jpg")]),
                (18, vec![text(b"/own.jpg"), path.clone()]),
                (14, vec![path.clone(), number(0)]),
                (15, vec![path.clone()]),
                (13, vec![path.clone()]),
            ] {
                client.send(kind, &fields);
            }
        }
        // One upload of each lot: every landing is synced.
        let fields = [text(some[some.len() / 2].as_bytes()), number(0x1a), number(0)];
        let handle = client.ask(3, &fields).handle();
        if !handle.is_empty() {
            client.ask(6, &[text(&handle), long(0), text(b"made by an attack")]);
            client.ask(4, &[text(&handle)]);
        }
        for (name, id) in asked {
            let reply = client.reply(id);
            // The canary's length is nobody else's.
            let size = reply.body.get(4..12).map(|size| u64::from_be_bytes(size.try_into().unwrap()));
            if reply.kind == 105 && size == Some(CANARY_BYTES as u64) {
                exceptions.push(format!("{name}: seen"));
            }
            let handle = reply.handle();
            if !handle.is_empty() {
                let read = client.ask(5, &[text(&handle), long(0), number(100)]);
                if read.body.get(4..8) == Some(b"CCCC") || read.body.get(4..9) == Some(b"root:") {
                    exceptions.push(format!("{name}: read"));
                }
                client.ask(4, &[text(&handle)]);
            }
        }
    }
    if w.around() != before {
        exceptions.push("something outside has changed".to_owned());
    }
    restore(w);
    exceptions.truncate(5);
    all_hold("nothing outside is changed, made or seen", &exceptions)
}

fn bad_names(w: &World) -> String {
    let (component, slashes, long_path) = ("x".repeat(256), "/".repeat(100_000) + "y", "z/".repeat(125_000));
    let names: [&[u8]; 12] = [
        b"a\0b.jpg",
        b"a\x1b[2J.jpg",
        b"a\r2030-01-01T00:00:00Z INFO landed user=acme.jpg",
        b"a\n{\"level\":\"INFO\"}.jpg",
        b"caf\xe9.jpg",
        b"\xc1\xa5.jpg",
        b"\xed\xa0\x80.jpg",
        b"a\x7f",
        "a\u{9b}31m".as_bytes(),
        component.as_bytes(),
        b"",
        long_path.as_bytes(),
    ];
    let before = w.names();
    let mut client = Client::new(w);
    let mut exceptions = Vec::new();
    for name in names {
        let path = text(name);
        for (kind, fields) in [
            (3, vec![path.clone(), number(0x1a), number(0)]),
            (17, vec![path.clone()]),
            (7, vec![path.clone()]),
            (9, vec![path.clone(), number(0)]),
            (11, vec![path.clone()]),
            (13, vec![path.clone()]),
            (14, vec![path.clone(), number(0)]),
            (15, vec![path.clone()]),
            (16, vec![path.clone()]),
            (18, vec![path.clone(), text(b"fine.jpg")]),
            (18, vec![text(b"/own.jpg"), path.clone()]),
        ] {
            // Two such paths are more than a packet may hold.
            let reply = client.ask(kind, &fields);
            let nothing = kind == 16 && name.is_empty();
            if reply.code() != 4 && !nothing {
                exceptions.push(format!("{:.20}, request {kind}: {}", name.escape_ascii().to_string(), reply.code()));
            }
        }
    }
    // Many slashes are one.
    let upload = client.ask(3, &[text(slashes.as_bytes()), number(0x1a), number(0)]).handle();
    client.ask(4, &[text(&upload)]);
    client.ask(13, &[text(b"/y")]);
    if w.names() != before {
        exceptions.push("something was made".to_owned());
    }
    let log = World::log(&w.open);
    let unreadable =
        log.lines().filter(|line| !line.is_empty() && serde_json::from_str::<serde_json::Value>(line).is_err()).count();
    if unreadable > 0 || log.chars().any(|c| c.is_control() && c != '\n') {
        exceptions.push(format!("{unreadable} forged lines"));
    }
    all_hold("each refused by name; one escaped line in the log", &exceptions)
}

fn links(w: &World) -> String {
    let before = w.names();
    let mut client = Client::new(w);
    let mut exceptions = Vec::new();
    for (from, to) in [("/etc/passwd", "passwd"), ("../../outside", "out"), ("own.jpg", "own2.jpg"), ("door", "door2")]
    {
        let fields = [text(from.as_bytes()), text(to.as_bytes())];
        let hard = [text(b"hardlink@openssh.com"), fields[0].clone(), fields[1].clone()];
        let codes = [
            client.ask(20, &fields).code(),
            client.ask(20, &[fields[1].clone(), fields[0].clone()]).code(),
            client.ask(200, &hard).code(),
            client.ask(19, &fields[1..]).code(),
        ];
        if codes.iter().any(|code| ![2, 3, 4, 8].contains(code)) {
            exceptions.push(format!("{from} to {to}: {codes:?}"));
        }
    }
    for link in ["door", "key.jpg", "loop"] {
        let reply = client.ask(19, &[text(link.as_bytes())]);
        if reply.kind != STATUS {
            exceptions.push(format!("{link} was read"));
        }
    }
    if w.names() != before {
        exceptions.push("something was made".to_owned());
    }
    all_hold("each refused, none made", &exceptions)
}

fn listing_flood(w: &World) -> String {
    let folder = w.home().join("listed");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..2_000 {
        std::fs::write(folder.join(format!("{}{number:04}", "a".repeat(200))), b"").unwrap();
    }
    let flood = || {
        let mut ssh = w.ssh_logged_in();
        let channel = ssh.sftp(600);
        begin(&mut ssh, channel);
        let lists: Vec<u8> = (0..10_000u32)
            .flat_map(|id| {
                let handle = format!("{:08x}", 0x100 | (id % 60));
                [request(11, id, &[text(b"/listed")]), request(12, id + 20_000, &[text(handle.as_bytes())])].concat()
            })
            .collect();
        let sent = ssh.data(channel, &lists);
        w.sftp_works();
        sent
    };
    let first = flood();
    let before = w.open.resident_kib();
    let second = flood();
    let growth = w.open.resident_kib().saturating_sub(before);
    std::fs::remove_dir_all(folder).unwrap();
    if first && second && growth <= UNSENT_KIB {
        return "all are taken in; memory + 32 MiB at most; others go on".to_owned();
    }
    format!("taken in {first} {second}; memory + {growth} KiB")
}

fn lying_attributes(w: &World) -> String {
    use std::os::unix::fs::PermissionsExt;
    let mut exceptions = Vec::new();
    let lying = [number(0x8000_0000), number(u32::MAX), text(b"a")].concat();
    for (kind, fields) in [
        (3, vec![text(b"lying.jpg"), number(0x1a), lying.clone()]),
        (9, vec![text(b"/own.jpg"), lying.clone()]),
        (14, vec![text(b"lying"), lying]),
        (9, vec![text(b"/own.jpg"), number(u32::MAX)]),
    ] {
        let mut client = Client::new(w);
        if client.ask(kind, &fields).kind != 0 {
            exceptions.push(format!("request {kind} was answered"));
        }
    }
    let mut client = Client::new(w);
    let modes =
        [number(0xf), long(3), number(0), number(0), number(0o107_777), number(u32::MAX), number(u32::MAX)].concat();
    let handle = client.ask(3, &[text(b"modes.jpg"), number(0x1a), modes.clone()]).handle();
    client.ask(6, &[text(&handle), long(0), text(b"bytes")]);
    client.ask(10, &[text(&handle), modes.clone()]);
    let closed = client.ask(4, &[text(&handle)]).code();
    client.ask(9, &[text(b"modes.jpg"), modes.clone()]);
    client.ask(14, &[text(b"modes"), modes.clone()]);
    client.ask(9, &[text(b"modes"), [number(4), number(0o7777)].concat()]);
    for name in ["modes.jpg", "modes"] {
        let mode = w.home().join(name).metadata().unwrap().permissions().mode() & 0o7777;
        if mode > 0o777 || closed != 0 {
            exceptions.push(format!("{name}: {mode:o}, closed {closed}"));
        }
    }
    Sftp::connect(w.open.address("sftp"), "acme", PASSWORD).put("modes.jpg", b"again").unwrap();
    all_hold("refused, or no mode beyond 777; the channel ends where the packet makes no sense", &exceptions)
}

//! Attacks on SSH by who is logged in: what is no file transfer, too much of everything, and ends of every kind.

use std::time::Duration;

use landfall_tests::ssh::{Heard, channel_open, message, string};
use landfall_tests::{Sftp, Ssh, wait_until};

use super::floods::{grows, grows_by};
use super::sftp::{self, request};
use super::{Attack, PASSWORD, World, all_hold, by, here};

/// Most channels at a time.
const MAX_CHANNELS: usize = 8;
const MIB: usize = 1024 * 1024;
/// What a connection's requests may wait in, and what it leaves unread.
const BACKLOG_KIB: u64 = 32 * 1024;

pub(super) const ATTACKS: &[Attack] = &[
    here(
        "more than SFTP",
        "shell, exec, pty, X11, agent, signals, other subsystems; forwarding of ports and of sockets, both ways",
        "each refused, SFTP beside it goes on",
        more_than_sftp,
    ),
    here(
        "login again",
        "requests to log in as somebody else in a session, and a second service",
        "not answered, still acme",
        login_again,
    ),
    here(
        "channel flood",
        "10,000 channels opened at once, by one client",
        "8 are, the others are refused; memory + 1 MiB at most; others go on",
        channel_flood,
    ),
    here(
        "channels that lead nowhere",
        "data, requests, ends and windows for channels that are not there, or not any more; windows of 2^32-1 twice",
        "ignored or closed, others go on",
        strange_channels,
    ),
    here(
        "data without a subsystem",
        "data on a channel that was only opened",
        "the channel is closed, another works",
        data_for_nobody,
    ),
    here(
        "window overrun",
        "64 MiB of requests, whatever the window says, and no reply is taken",
        "the connection ends; memory + 32 MiB at most; others go on",
        window_overrun,
    ),
    by(
        "the same with a client that keeps to its window",
        "READs by the million, and no reply is taken",
        "slowed down, then cut off",
        &[("server/src/sftp/tests/flow.rs", "a_client_that_never_reads_is_slowed_down_and_then_cut_off")],
    ),
    here(
        "new keys again and again",
        "200 key exchanges while a file comes in",
        "the file lands; memory + 1 MiB at most",
        rekey_flood,
    ),
    here(
        "data in the middle of a key exchange",
        "KEXINIT, and then the rest of an upload in place of the exchange",
        "closed, nothing lands",
        data_in_rekey,
    ),
    here(
        "forged packets under keys",
        "one bit wrong in length, payload or tag of a packet",
        "closed, nothing lands",
        forged_packets,
    ),
    here(
        "ends of every kind",
        "FIN, reset, DISCONNECT, the channel's EOF and its CLOSE, at 24 places of the stream of an upload",
        "0 published, each is suspended",
        ends,
    ),
    here(
        "end behind the last request",
        "the same behind CLOSE, whose reply nobody hears",
        "whole or not there",
        ends_behind_close,
    ),
    by(
        "silence of a logged-in client",
        "nothing is asked, or nothing answers any more",
        "ended in time",
        &[("server/src/sftp/tests/ssh.rs", "who_does_not_log_in_or_does_nothing_has_to_go")],
    ),
];

fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    string(&mut out, text.as_bytes());
    out
}

fn more_than_sftp(w: &World) -> String {
    let mut ssh = w.ssh_logged_in();
    let mut exceptions = Vec::new();
    let mut pty = text("xterm");
    pty.extend([0; 16]);
    pty.extend(text("\0"));
    let mut x11 = vec![0];
    x11.extend(text("MIT-MAGIC-COOKIE-1"));
    x11.extend(text("00"));
    x11.extend([0; 4]);
    let mut env = text("LD_PRELOAD");
    env.extend(text("/tmp/x.so"));
    let requests: [(&str, Vec<u8>); 10] = [
        ("shell", vec![]),
        ("exec", text("id")),
        ("exec", text("scp -t /etc")),
        ("pty-req", pty),
        ("x11-req", x11),
        ("env", env),
        ("auth-agent-req@openssh.com", vec![]),
        ("subsystem", text("netconf")),
        ("subsystem", text("sftp\0")),
        ("nonsense@example.com", vec![]),
    ];
    let channel = ssh.open("session", 7, 1 << 20, &[]).expect("a channel");
    for (name, fields) in requests {
        let answer = ssh.request(channel, name, &fields);
        if answer != message::CHANNEL_FAILURE {
            exceptions.push(format!("{name}: {answer}"));
        }
    }
    let mut tcp = text("127.0.0.1");
    tcp.extend(22u32.to_be_bytes());
    tcp.extend(text("127.0.0.1"));
    tcp.extend(1u32.to_be_bytes());
    let mut socket = text("/var/run/docker.sock");
    socket.extend(text(""));
    socket.extend([0; 4]);
    for (kind, rest) in [
        ("direct-tcpip", &tcp),
        ("forwarded-tcpip", &tcp),
        ("direct-streamlocal@openssh.com", &socket),
        ("x11", &tcp[..17].to_vec()),
        ("auth-agent@openssh.com", &vec![]),
        ("tun@openssh.com", &vec![0; 8]),
    ] {
        ssh.send(&channel_open(kind, 50, 1 << 20, rest));
        let answer = ssh.answer().kind();
        if answer != message::CHANNEL_OPEN_FAILURE {
            exceptions.push(format!("{kind}: {answer}"));
        }
    }
    for (name, fields) in [
        ("tcpip-forward", [text("0.0.0.0"), 0u32.to_be_bytes().to_vec()].concat()),
        ("cancel-tcpip-forward", [text("0.0.0.0"), 1u32.to_be_bytes().to_vec()].concat()),
        ("streamlocal-forward@openssh.com", text("/tmp/x")),
        ("nonsense@example.com", vec![]),
    ] {
        let payload = [vec![message::GLOBAL_REQUEST], text(name), vec![1], fields].concat();
        ssh.send(&payload);
        let mut answer = ssh.answer().kind();
        // Channels of kinds that russh does not know are refused twice.
        while answer == message::CHANNEL_OPEN_FAILURE {
            answer = ssh.answer().kind();
        }
        if answer != message::REQUEST_FAILURE {
            exceptions.push(format!("{name}: {answer}"));
        }
    }
    if ssh.request(channel, "subsystem", &text("sftp")) != message::CHANNEL_SUCCESS {
        exceptions.push("SFTP".to_owned());
    }
    all_hold("each refused, SFTP beside it goes on", &exceptions)
}

fn login_again(w: &World) -> String {
    let mut ssh = w.ssh_logged_in();
    let channel = ssh.sftp(1 << 20);
    sftp::begin(&mut ssh, channel);
    let mut password = vec![0];
    string(&mut password, b"secret-of-neighbour");
    ssh.send(&landfall_tests::ssh::login(b"neighbour", "password", &password));
    ssh.send(&landfall_tests::ssh::login(b"neighbour", "none", &[]));
    ssh.send(&[vec![message::SERVICE_REQUEST], text("ssh-userauth")].concat());
    // The next thing that is heard is the reply to this.
    let mut client = sftp::Client::over(ssh, channel);
    let own = client.ask(17, &[text("/own.jpg")]);
    let theirs = client.ask(17, &[text("/canary.jpg")]);
    if (own.kind, theirs.code()) == (105, 2) {
        return "not answered, still acme".to_owned();
    }
    format!("{own:?}, {theirs:?}")
}

fn channel_flood(w: &World) -> String {
    let outcome = grows(w, || {
        let mut ssh = w.ssh_logged_in();
        let (mut opened, mut refused) = (0, 0);
        for train in 0..100u32 {
            let opens: Vec<u8> = (0..100)
                .flat_map(|number| ssh.packet(&channel_open("session", train * 100 + number, 1 << 20, &[]), 0))
                .collect();
            ssh.send_raw(&opens);
            for _ in 0..100 {
                match ssh.answer().kind() {
                    message::CHANNEL_OPEN_CONFIRMATION => opened += 1,
                    message::CHANNEL_OPEN_FAILURE => refused += 1,
                    other => return format!("message {other}"),
                }
            }
        }
        w.sftp_works();
        if (opened, refused) == (MAX_CHANNELS, 10_000 - MAX_CHANNELS) {
            return format!("{MAX_CHANNELS} are, the others are refused");
        }
        format!("{opened} opened, {refused} refused")
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most; others go on"))
}

fn strange_channels(w: &World) -> String {
    let data = |channel: u32| [vec![message::CHANNEL_DATA], channel.to_be_bytes().to_vec(), text("x")].concat();
    let about = |kind: u8, channel: u32| [vec![kind], channel.to_be_bytes().to_vec()].concat();
    let window = |channel: u32| [about(message::CHANNEL_WINDOW_ADJUST, channel), vec![255; 4]].concat();
    let confirmation = |channel: u32| [about(message::CHANNEL_OPEN_CONFIRMATION, channel), vec![0; 12]].concat();
    let subsystem =
        |channel: u32| [about(message::CHANNEL_REQUEST, channel), text("subsystem"), vec![1], text("sftp")].concat();
    let mut exceptions = Vec::new();
    for channel in [1u32, 77, 0x7fff_ffff, u32::MAX] {
        for payload in [
            data(channel),
            about(message::CHANNEL_EOF, channel),
            about(message::CHANNEL_CLOSE, channel),
            window(channel),
            confirmation(channel),
            subsystem(channel),
            about(message::CHANNEL_SUCCESS, channel),
            [about(95, channel), vec![0, 0, 0, 1], text("x")].concat(),
            [about(message::CHANNEL_OPEN_FAILURE, channel), vec![0; 12]].concat(),
        ] {
            let mut ssh = w.ssh_logged_in();
            ssh.patience(Duration::from_millis(100));
            ssh.send(&payload);
            match ssh.answer() {
                Heard::Closed | Heard::Silence => {}
                Heard::Packet(answer) if matches!(answer[0], message::CHANNEL_FAILURE | message::DISCONNECT) => {}
                Heard::Packet(answer) => exceptions.push(format!("message {} gets {}", payload[0], answer[0])),
            }
        }
    }
    // On a channel that is there: a window beyond 2^32, ends twice, data behind the end.
    let mut ssh = w.ssh_logged_in();
    let channel = ssh.sftp(1 << 20);
    for payload in [
        window(channel),
        window(channel),
        about(message::CHANNEL_EOF, channel),
        data(channel),
        about(message::CHANNEL_EOF, channel),
        about(message::CHANNEL_CLOSE, channel),
        about(message::CHANNEL_CLOSE, channel),
        data(channel),
        subsystem(channel),
    ] {
        ssh.send(&payload);
    }
    w.sftp_works();
    all_hold("ignored or closed, others go on", &exceptions)
}

fn data_for_nobody(w: &World) -> String {
    let mut ssh = w.ssh_logged_in();
    let channel = ssh.open("session", 0, 1 << 20, &[]).expect("a channel");
    ssh.data(channel, b"whoever reads this");
    let answer = ssh.answer().kind();
    ssh.send(&[vec![message::CHANNEL_CLOSE], channel.to_be_bytes().to_vec()].concat());
    let second = ssh.open("session", 1, 1 << 20, &[]);
    if answer == message::CHANNEL_CLOSE && second.is_some() {
        return "the channel is closed, another works".to_owned();
    }
    format!("message {answer}, then {second:?}")
}

fn window_overrun(w: &World) -> String {
    let outcome = grows_by(w, BACKLOG_KIB, || {
        let mut ssh = w.ssh_logged_in();
        // Not a byte is taken.
        let channel = ssh.sftp(0);
        ssh.data(channel, &request(1, 3, &[]));
        let stats = request(17, 5, &[text("/own.jpg")]).repeat(30_000);
        let mut sent = 0;
        while sent < 64 * MIB && ssh.data(channel, &stats) {
            sent += stats.len();
        }
        ssh.patience(Duration::from_secs(15));
        let ended = ssh.hangs_up();
        drop(ssh);
        w.sftp_works();
        if ended { "the connection ends".to_owned() } else { format!("{sent} bytes were taken") }
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 32 MiB at most; others go on"))
}

fn rekey_flood(w: &World) -> String {
    let outcome = grows(w, || {
        let mut ssh = w.ssh_logged_in();
        let channel = ssh.sftp(1 << 20);
        sftp::begin(&mut ssh, channel);
        ssh.data(channel, &sftp::open(1, "rekeyed.jpg", 0x1a));
        ssh.answer();
        for number in 0..200u64 {
            let own = ssh.kexinit();
            ssh.send(&own);
            if !ssh.go_on_with(&own) {
                return format!("closed at the {number}th");
            }
            ssh.data(channel, &sftp::write(2, b"00000100", number * 1_000, &[7; 1_000]));
        }
        let mut client = sftp::Client::over(ssh, channel);
        let closed = client.ask(4, &[text("00000100")]);
        let landed = std::fs::read(w.home().join("rekeyed.jpg")).is_ok_and(|bytes| bytes == vec![7; 200_000]);
        if closed.code() == 0 && landed { "the file lands".to_owned() } else { format!("{closed:?}") }
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

fn data_in_rekey(w: &World) -> String {
    let mut ssh = upload(w, "in-rekey.jpg");
    let own = ssh.kexinit();
    ssh.send(&own);
    ssh.data(0, &sftp::close(3, b"00000100"));
    ssh.patience(Duration::from_secs(15));
    outcome(w, "in-rekey.jpg", ssh.hangs_up())
}

/// A channel 0 with an upload that has some bytes.
fn upload(w: &World, name: &str) -> Ssh {
    let mut ssh = w.ssh_logged_in();
    let channel = ssh.sftp(1 << 20);
    sftp::begin(&mut ssh, channel);
    ssh.data(channel, &sftp::open(1, name, 0x1a));
    ssh.answer();
    ssh.data(channel, &sftp::write(2, b"00000100", 0, &[7; 5_000]));
    ssh.answer();
    ssh
}

fn outcome(w: &World, name: &str, closed: bool) -> String {
    let landed = w.home().join(name).exists();
    match (closed, landed) {
        (true, false) => "closed, nothing lands".to_owned(),
        (closed, landed) => format!("closed {closed}, landed {landed}"),
    }
}

fn forged_packets(w: &World) -> String {
    let mut exceptions = Vec::new();
    for place in [0, 3, 4, 5, 9, 30, usize::MAX] {
        let mut ssh = upload(w, "forged.jpg");
        let payload = [
            vec![message::CHANNEL_DATA, 0, 0, 0, 0],
            sftp::close(3, b"00000100").len().to_be_bytes()[4..].to_vec(),
            sftp::close(3, b"00000100"),
        ];
        let mut packet = ssh.packet(&payload.concat(), 0);
        let place = place.min(packet.len() - 1);
        packet[place] ^= 1;
        // Enough behind it for any length that it may say now.
        packet.resize(packet.len() + 64, 0);
        ssh.send_raw(&packet);
        if place == 0 {
            ssh.send_raw(&vec![0; 1024]);
        }
        ssh.patience(Duration::from_secs(15));
        let closed = ssh.hangs_up();
        if outcome(w, "forged.jpg", closed) != "closed, nothing lands" {
            exceptions.push(format!("at {place}: {}", outcome(w, "forged.jpg", closed)));
        }
    }
    all_hold("closed, nothing lands", &exceptions)
}

/// How a client may be gone.
#[derive(Debug, Clone, Copy)]
enum End {
    Fin,
    Reset,
    Disconnect,
    Eof,
    Close,
    HalfPacket,
}

const ENDS: [End; 6] = [End::Fin, End::Reset, End::Disconnect, End::Eof, End::Close, End::HalfPacket];

fn end(ssh: &mut Ssh, how: End) {
    let about = |kind: u8| vec![kind, 0, 0, 0, 0];
    match how {
        End::Fin => drop(ssh.socket().shutdown(std::net::Shutdown::Both)),
        End::Reset => drop(socket2::SockRef::from(ssh.socket()).set_linger(Some(Duration::ZERO))),
        End::Disconnect => {
            let payload = [vec![message::DISCONNECT, 0, 0, 0, 11], text("bye"), text("")].concat();
            ssh.send(&payload);
        }
        End::Eof => {
            ssh.send(&about(message::CHANNEL_EOF));
        }
        End::Close => {
            ssh.send(&about(message::CHANNEL_CLOSE));
        }
        End::HalfPacket => {
            let packet = ssh.packet(&[vec![message::CHANNEL_DATA, 0, 0, 0, 0], text("x")].concat(), 0);
            ssh.send_raw(&packet[..packet.len() / 2]);
            drop(ssh.socket().shutdown(std::net::Shutdown::Both));
        }
    }
}

/// What an upload is on the wire, and the places in it: within and behind each field of each request.
fn stream(name: &str) -> (Vec<u8>, Vec<usize>) {
    let requests = [
        sftp::open(1, name, 0x1a),
        sftp::write(2, b"00000100", 0, &[7; 3_000]),
        sftp::write(3, b"00000100", 3_000, &[8; 3_000]),
        sftp::close(4, b"00000100"),
    ];
    let (mut stream, mut places) = (Vec::new(), Vec::new());
    for request in requests {
        let at = stream.len();
        places.extend(
            [2, 4, 5, 7, 9, 13, 17, 21]
                .into_iter()
                .filter(|place| at + place < at + request.len())
                .map(|place| at + place),
        );
        stream.extend(request);
        places.push(stream.len() - 1);
    }
    places.retain(|place| *place < stream.len());
    (stream, places)
}

fn ends(w: &World) -> String {
    let mut exceptions = Vec::new();
    for how in ENDS {
        for (number, place) in stream("").1.iter().enumerate() {
            let name = format!("ends-{how:?}-{number}");
            let (stream, places) = stream(&name);
            let cut = place.min(&(stream.len() - 1)).max(&places[number]).to_owned();
            let mut ssh = w.ssh_logged_in();
            let channel = ssh.sftp(1 << 20);
            sftp::begin(&mut ssh, channel);
            // OPEN by itself, since the others need its handle; the rest as far as it comes.
            let first = sftp::open(1, &name, 0x1a).len();
            if cut >= first {
                ssh.data(channel, &stream[..first]);
                ssh.answer();
            }
            let from = if cut >= first { first } else { 0 };
            ssh.data(channel, &stream[from..cut]);
            end(&mut ssh, how);
            drop(ssh);
            if w.home().join(&name).exists() {
                exceptions.push(format!("{name} at {cut} was published"));
            }
            // The first WRITE had come whole: its bytes are kept.
            let whole = first + sftp::write(2, b"00000100", 0, &[7; 3_000]).len();
            if cut >= whole && number % 3 == 0 {
                let sftp = Sftp::connect(w.open.address("sftp"), "acme", PASSWORD);
                wait_until("the suspension", || sftp.size(&name).filter(|size| *size >= 3_000));
            }
        }
    }
    let left: Vec<String> = w.names().into_iter().filter(|name| name.starts_with("ends-")).collect();
    exceptions.extend(left);
    all_hold("0 published, each is suspended", &exceptions)
}

fn ends_behind_close(w: &World) -> String {
    let mut exceptions = Vec::new();
    for how in ENDS {
        for round in 0..4 {
            let name = format!("behind-{how:?}-{round}");
            let (stream, _) = stream(&name);
            let mut ssh = w.ssh_logged_in();
            let channel = ssh.sftp(1 << 20);
            sftp::begin(&mut ssh, channel);
            let first = sftp::open(1, &name, 0x1a).len();
            ssh.data(channel, &stream[..first]);
            ssh.answer();
            ssh.data(channel, &stream[first..]);
            end(&mut ssh, how);
            drop(ssh);
            let whole = [vec![7; 3_000], vec![8; 3_000]].concat();
            let sftp = Sftp::connect(w.open.address("sftp"), "acme", PASSWORD);
            wait_until("its end", || {
                let there = std::fs::read(w.home().join(&name)).ok();
                let suspended = there.is_none() && sftp.size(&name).is_some();
                (there.is_some() || suspended).then_some(())
            });
            if std::fs::read(w.home().join(&name)).is_ok_and(|bytes| bytes != whole) {
                exceptions.push(name);
            }
        }
    }
    all_hold("whole or not there", &exceptions)
}

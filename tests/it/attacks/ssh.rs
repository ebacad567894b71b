//! Attacks on SSH before the login: versions, packets, key exchanges.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use landfall_tests::ssh::{Heard, channel_open, login, message, string};
use landfall_tests::{Server, Sftp, Ssh};

use super::floods::{MIB, grows, grows_by, pour};
use super::{Attack, PASSWORD, World, all_hold, here};

/// Far below `limits.login_seconds`: who is closed within this time is not closed by that.
const AT_ONCE: Duration = Duration::from_secs(15);
/// Strangers at a time, and what one may take: a task, buffers, the state of a key exchange.
const STRANGERS: usize = 300;
const STRANGER_KIB: u64 = 48;
/// Longest packet that the server takes once somebody is logged in, in bytes.
const LONGEST: u32 = 256 * 1024;

pub(super) const ATTACKS: &[Attack] = &[
    here(
        "other protocols to the SSH port",
        "HTTP, a TLS ClientHello, FTP, SMTP, a PROXY line from a stranger, zeros, lines before the version",
        "closed at once, others go on",
        other_protocols,
    ),
    here(
        "a version without an end",
        "64 MiB without a line feed, twice",
        "closed early; memory + 1 MiB at most",
        endless_version,
    ),
    here(
        "slow login",
        "a version byte by byte, IGNORE after IGNORE, KEXINIT and then nothing",
        "each ended by `login_seconds`",
        slow_login,
    ),
    here(
        "huge packets in clear",
        "lengths of 2^31, 2^32-1, 256 KiB, 16 KiB + 1, 3, 0 and a padding beyond the packet, 1 MiB behind each",
        "each closed; memory + 1 MiB at most",
        huge_packets,
    ),
    here(
        "huge packets under keys",
        "lengths of 2^31, 2^32-1 and 256 KiB before the login, and over 256 KiB after it",
        "each closed; memory + 1 MiB at most",
        huge_packets_under_keys,
    ),
    here(
        "memory by announcing packets (CVE-2024-43410)",
        "300 strangers announce a packet of 256 KiB, in clear and under keys, and send none of it",
        "each closed; memory + 48 KiB for each at most",
        announced_packets,
    ),
    here("padding", "packets of nothing, of padding alone, of as much padding as can be", "the login goes on", padding),
    here(
        "Terrapin (CVE-2023-48795)",
        "IGNORE, DEBUG, UNIMPLEMENTED or EXT_INFO before and during the first key exchange",
        "strict key exchange is announced; each is closed",
        terrapin,
    ),
    here(
        "what comes before the keys",
        "login, channels, data and NEWKEYS without a key exchange",
        "each closed",
        before_keys,
    ),
    here(
        "KEXINIT again and again",
        "10,000 KEXINIT in a row, and a second one in the middle",
        "closed; memory + 1 MiB at most",
        kexinit_flood,
    ),
    here(
        "weak and unneeded algorithms",
        "SHA-1, DSA, RSA, 3DES, CBC, RC4, MD5, zlib, `none`, each as the only choice",
        "no agreement, closed",
        weak_algorithms,
    ),
];

impl World {
    pub(super) fn ssh(&self) -> Ssh {
        Ssh::connect(self.open.address("sftp"))
    }

    pub(super) fn ssh_logged_in(&self) -> Ssh {
        Ssh::logged_in(self.open.address("sftp"), "acme", PASSWORD)
    }

    /// A login and an upload as ever: nobody is in the way of others.
    pub(super) fn sftp_works(&self) {
        let sftp = Sftp::connect(self.open.address("sftp"), "acme", PASSWORD);
        sftp.put("works.jpg", b"as ever").unwrap();
    }
}

pub(super) fn closes(ssh: &mut Ssh) -> bool {
    ssh.patience(AT_ONCE);
    ssh.hangs_up()
}

fn other_protocols(w: &World) -> String {
    let hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 500]].concat();
    let mut exceptions = Vec::new();
    for bytes in [
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSSH-2.0-x\r\n".as_slice(),
        b"GET /\n",
        &hello,
        b"USER acme\r\nPASS x\r\n",
        b"EHLO x\r\nMAIL FROM:<a@b>\r\n",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nSSH-2.0-x\r\n",
        b"a line before the version\r\nSSH-2.0-x\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0\r\n",
        &vec![0; 100_000],
        &[b'\n'; 10_000],
    ] {
        let mut ssh = Ssh::silent_from(IpAddr::from([127, 0, 0, 1]), w.open.address("sftp"));
        ssh.hear_version();
        ssh.send_raw(bytes);
        ssh.send_raw(b"\n");
        if !closes(&mut ssh) {
            exceptions.push(format!("{:.20}", bytes.escape_ascii().to_string()));
        }
    }
    w.sftp_works();
    all_hold("closed at once, others go on", &exceptions)
}

fn endless_version(w: &World) -> String {
    let outcome = grows(w, || {
        let ssh = Ssh::silent_from(IpAddr::from([127, 0, 0, 1]), w.open.address("sftp"));
        let sent = pour(ssh.socket(), &vec![b'S'; MIB], 64 * MIB);
        if sent < 32 * MIB { "closed early".to_owned() } else { "read to the end".to_owned() }
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

/// On a server of its own, with little patience.
fn slow_login(_: &World) -> String {
    let server = Server::builder().set("limits.login_seconds", "2").start();
    let address = server.address("sftp");
    let mut exceptions = Vec::new();
    let drip = |ssh: &mut Ssh, mut next: Box<dyn FnMut(&mut Ssh) -> bool>| {
        ssh.patience(Duration::from_millis(100));
        (0..300).any(|_| !next(ssh) || ssh.hear() == Heard::Closed)
    };
    let mut ssh = Ssh::silent_from(IpAddr::from([127, 0, 0, 1]), address);
    if !drip(&mut ssh, Box::new(|ssh| ssh.send_raw(b"S"))) {
        exceptions.push("the version");
    }
    let mut ssh = Ssh::connect(address);
    ssh.exchange();
    if !drip(&mut ssh, Box::new(|ssh| ssh.send(&[message::IGNORE, 0, 0, 0, 0]))) {
        exceptions.push("IGNORE");
    }
    let mut ssh = Ssh::connect(address);
    let kexinit = ssh.kexinit();
    ssh.send(&kexinit);
    if !closes(&mut ssh) {
        exceptions.push("KEXINIT");
    }
    let mut ssh = Ssh::connect(address);
    ssh.exchange();
    ssh.begin_login();
    if !closes(&mut ssh) {
        exceptions.push("the login");
    }
    all_hold("each ended by `login_seconds`", &exceptions.into_iter().map(str::to_owned).collect::<Vec<_>>())
}

fn huge_packets(w: &World) -> String {
    let much = vec![7; MIB];
    let outcome = grows(w, || {
        let mut exceptions = Vec::new();
        for length in [1 << 31, u32::MAX, LONGEST, 16 * 1024 + 1, 3, 0] {
            let mut ssh = w.ssh();
            ssh.send_raw(&length.to_be_bytes());
            ssh.send_raw(&much);
            if !closes(&mut ssh) {
                exceptions.push(format!("{length}"));
            }
        }
        let mut ssh = w.ssh();
        ssh.send_raw(&[0, 0, 0, 12, 255, message::IGNORE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        if !closes(&mut ssh) {
            exceptions.push("padding".to_owned());
        }
        all_hold("each closed", &exceptions)
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

fn huge_packets_under_keys(w: &World) -> String {
    let outcome = grows(w, || {
        let mut exceptions = Vec::new();
        for (length, logged_in) in
            [(1u32 << 31, false), (u32::MAX, false), (LONGEST, false), (1 << 31, true), (LONGEST + 64, true), (0, true)]
        {
            let mut ssh = if logged_in { w.ssh_logged_in() } else { w.ssh() };
            if !logged_in {
                ssh.exchange();
            }
            let packet = ssh.seal(&length.to_be_bytes(), vec![4; 64 * 1024]);
            ssh.send_raw(&packet);
            if !closes(&mut ssh) {
                exceptions.push(format!("{length}, logged in {logged_in}"));
            }
        }
        all_hold("each closed", &exceptions)
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

fn announced_packets(w: &World) -> String {
    let mut peak = 0;
    let outcome = grows_by(w, STRANGERS as u64 * STRANGER_KIB, || {
        let before = w.open.resident_kib();
        let mut strangers: Vec<Ssh> = (0..STRANGERS).map(|_| w.ssh()).collect();
        for (number, ssh) in strangers.iter_mut().enumerate() {
            if number % 2 == 0 {
                ssh.exchange();
            }
            let packet = ssh.seal(&LONGEST.to_be_bytes(), vec![4; 4]);
            ssh.send_raw(&packet);
        }
        let open = strangers.iter_mut().filter_map(|ssh| (!closes(ssh)).then_some(())).count();
        peak = w.open.resident_kib().saturating_sub(before);
        if open == 0 { "each closed".to_owned() } else { format!("{open} still open") }
    });
    outcome.map_or_else(
        |wrong| format!("{wrong}, {peak} KiB while they were there"),
        |right| format!("{right}; memory + {STRANGER_KIB} KiB for each at most"),
    )
}

fn padding(w: &World) -> String {
    let mut ssh = w.ssh();
    ssh.exchange();
    let nothing = ssh.packet(&[], 0);
    let most = ssh.packet(&[message::IGNORE, 0, 0, 0, 0], 14);
    let padding_alone = ssh.seal(&32u32.to_be_bytes(), vec![31; 32]);
    for packet in [nothing, most, padding_alone] {
        ssh.send_raw(&packet);
    }
    ssh.begin_login();
    let in_ = ssh.password("acme", PASSWORD) == message::USERAUTH_SUCCESS;
    if in_ { "the login goes on".to_owned() } else { "refused".to_owned() }
}

fn terrapin(w: &World) -> String {
    let mut exceptions = Vec::new();
    let mut announced = false;
    let nothing = [[message::IGNORE, 0, 0, 0, 0].to_vec(), [message::DEBUG, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec()];
    let others = [[message::UNIMPLEMENTED, 0, 0, 0, 0].to_vec(), [message::EXT_INFO, 0, 0, 0, 0].to_vec()];
    for injected in nothing.into_iter().chain(others) {
        for place in 0..3 {
            let mut ssh = w.ssh();
            let own = ssh.kexinit();
            if place == 0 {
                ssh.send(&injected);
            }
            ssh.send(&own);
            if let (0, Heard::Packet(theirs)) = (place, ssh.hear()) {
                announced |= theirs.windows(30).any(|window| window == b"kex-strict-s-v00@openssh.com,," as &[u8])
                    || String::from_utf8_lossy(&theirs).contains("kex-strict-s-v00@openssh.com");
            }
            if place == 1 {
                ssh.send(&injected);
            }
            let closed = if place < 2 {
                // The server may find out only when the exchange goes on.
                let mut init = vec![message::KEX_ECDH_INIT];
                string(&mut init, &[9; 32]);
                ssh.send(&init);
                ssh.patience(AT_ONCE);
                let mut closed = false;
                for _ in 0..4 {
                    closed |= ssh.hear() == Heard::Closed;
                }
                closed
            } else {
                let mut init = vec![message::KEX_ECDH_INIT];
                string(&mut init, &[9; 32]);
                ssh.send(&init);
                ssh.hear();
                ssh.hear();
                ssh.send(&injected);
                closes(&mut ssh)
            };
            if !closed {
                exceptions.push(format!("message {} at {place}", injected[0]));
            }
        }
    }
    if !announced {
        exceptions.push("not announced".to_owned());
    }
    all_hold("strict key exchange is announced; each is closed", &exceptions)
}

fn before_keys(w: &World) -> String {
    let mut service = vec![message::SERVICE_REQUEST];
    string(&mut service, b"ssh-userauth");
    let mut password = vec![0];
    string(&mut password, PASSWORD.as_bytes());
    let mut exceptions = Vec::new();
    for payload in [
        service,
        login(b"acme", "password", &password),
        login(b"acme", "none", &[]),
        channel_open("session", 0, 1 << 20, &[]),
        [message::CHANNEL_DATA, 0, 0, 0, 0, 0, 0, 0, 1, b'x'].to_vec(),
        vec![message::NEWKEYS],
        vec![message::USERAUTH_SUCCESS],
        vec![message::KEX_ECDH_REPLY, 0],
    ] {
        // In place of the key exchange, and in the middle of it.
        for begun in [false, true] {
            let mut ssh = w.ssh();
            let own = ssh.kexinit();
            if begun {
                ssh.send(&own);
            }
            ssh.hear();
            ssh.send(&payload);
            if !closes(&mut ssh) {
                exceptions.push(format!("message {}, begun {begun}", payload[0]));
            }
        }
    }
    all_hold("each closed", &exceptions)
}

fn kexinit_flood(w: &World) -> String {
    let outcome = grows(w, || {
        let mut ssh = w.ssh();
        let own = ssh.kexinit();
        let flood = ssh.packet(&own, 0).repeat(10_000);
        drop(ssh.socket().write_all(&flood));
        if closes(&mut ssh) { "closed".to_owned() } else { "goes on".to_owned() }
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

fn weak_algorithms(w: &World) -> String {
    let good = ["curve25519-sha256", "ssh-ed25519", "aes128-gcm@openssh.com", "hmac-sha2-256-etm@openssh.com", "none"];
    let weak: [(usize, &[&str]); 5] = [
        (
            0,
            &[
                "diffie-hellman-group1-sha1",
                "diffie-hellman-group14-sha1",
                "diffie-hellman-group-exchange-sha1",
                "diffie-hellman-group14-sha256",
                "ecdh-sha2-nistp256",
                "none",
            ],
        ),
        (1, &["ssh-dss", "ssh-rsa", "rsa-sha2-256", "ssh-ed25519-cert-v01@openssh.com"]),
        (2, &["3des-cbc", "aes128-cbc", "arcfour", "blowfish-cbc", "none"]),
        (3, &["hmac-sha1", "hmac-md5", "hmac-sha1-etm@openssh.com", "hmac-sha1-96", "none"]),
        (4, &["zlib", "zlib@openssh.com"]),
    ];
    let mut exceptions = Vec::new();
    for (kind, names) in weak {
        for name in names {
            let mut lists = good;
            lists[kind] = name;
            // The MAC matters with a cipher that needs one.
            if kind == 3 {
                lists[2] = "aes128-ctr";
            }
            let [kex, key, cipher, mac, compression] = lists;
            let mut payload = vec![message::KEXINIT];
            payload.extend([7; 16]);
            for list in [kex, key, cipher, cipher, mac, mac, compression, compression, "", ""] {
                string(&mut payload, list.as_bytes());
            }
            payload.extend([0; 5]);
            let mut ssh = w.ssh();
            ssh.send(&payload);
            if !closes(&mut ssh) {
                exceptions.push((*name).to_owned());
            }
        }
    }
    all_hold("no agreement, closed", &exceptions)
}

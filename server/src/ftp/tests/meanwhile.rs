//! What may be said and what may happen while a transfer runs, and the deadlines that do and do not apply then.

use super::*;

#[test]
fn progress() {
    let rig = Rig::new();
    let mut client = rig.client();
    assert!(client.expect("STAT", 211).contains("\r\n No transfer\r\n"));
    client.expect("ALLO 10", 200);
    // Before there is a data connection, too.
    let address = client.passive();
    client.expect("STOR in.bin", 150);
    assert!(client.expect("STAT", 211).contains("\r\n STOR /in.bin\r\n 0 of 10 bytes so far\r\n 0 per second\r\n"));
    let mut data = connect(address);
    data.write_all(b"1234").unwrap();
    until("receiving", || client.expect("STAT", 211).contains("\r\n 4 of 10 bytes so far\r\n"));
    data.write_all(b"567890").unwrap();
    drop(data);
    client.heard(226);
    // STAT of a name waits for its turn, and so does what comes behind it.
    let address = client.passive();
    client.expect("REST 4", 350);
    client.expect("RETR in.bin", 150);
    client.send(b"STAT in.bin\r\nSTAT\r\n");
    assert_eq!(connect(address).read_to_end(&mut Vec::new()).unwrap(), 6);
    client.heard(226);
    client.heard(213);
    assert!(client.heard(211).contains("No transfer"));
    client.passive();
    client.expect("LIST", 150);
    assert!(client.expect("STAT", 211).contains("\r\n LIST\r\n 0 bytes so far\r\n"));
    client.expect("ABOR", 426);
    client.heard(226);
}

#[test]
fn abor_with_nothing_to_stop() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("ABOR", 225);
    let address = client.passive();
    client.expect("ABOR", 225);
    assert!(TcpStream::connect(address).is_err());
    client.expect("LIST", 425);
    // What was to hold for the transfer that never came holds for the next.
    client.upload("STOR a.bin", b"hello");
    client.expect("REST 2", 350);
    client.expect("ABOR", 225);
    assert_eq!(client.download("RETR a.bin"), b"llo");
    // While nobody has connected yet.
    for line in ["STOR b.bin", "RETR a.bin", "NLST", "MLSD", "LIST", "STOU", "APPE a.bin"] {
        client.passive();
        client.expect(line, 150);
        assert!(client.expect("ABOR", 426).starts_with("426 The transfer was stopped"), "{line}");
        client.heard(226);
    }
    client.passive();
    client.expect("LIST", 150);
    // Both at once: the transfer's end is told first, then ABOR is answered, then the goodbye is said.
    client.send(b"QUIT\r\nABOR\r\n");
    for code in [426, 226, 221] {
        client.heard(code);
    }
    assert!(client.ended());
}

/// 1 TiB of nothing takes no room, and longer to be copied than any test runs, where the file system does not clone it.
#[test]
fn a_copy_before_an_upload_can_be_stopped() {
    let rig = Rig::new();
    drop(rig.client());
    let file = std::fs::File::create(rig.file("huge.bin")).unwrap();
    file.set_len(1 << 40).unwrap();
    let begin = |client: &mut Client, line: &str| {
        if line.starts_with("STOR") {
            client.expect("REST 1000000000000", 350);
        }
        client.passive();
        client.send(format!("{line}\r\n").as_bytes());
    };
    for line in ["APPE huge.bin", "STOR huge.bin"] {
        let mut client = rig.client();
        begin(&mut client, line);
        client.send(b"STAT\r\n");
        let status = client.heard(211);
        assert!(status.contains("The command before runs:\r\n "), "{status}");
        assert!(status.contains("bytes of the landed file are copied"), "{status}");
        client.send(b"ABOR\r\n");
        assert!(client.heard(426).contains("nothing was changed"));
        client.heard(226);
        // The session goes on, and QUIT ends the copy too.
        begin(&mut client, line);
        client.send(b"QUIT\r\n");
        client.heard(426);
        client.heard(221);
        let mut client = rig.client();
        begin(&mut client, line);
        until("copying", || client.expect("STAT", 211).contains("The command before runs"));
        drop(client);
        until("the end of the session", || rig.delivery.registry().count() == 0);
        assert!(rig.client().expect("SIZE huge.bin", 213).starts_with("213 1099511627776\r"));
        until("the end of the session", || rig.delivery.registry().count() == 0);
    }
}

#[test]
fn abor_overtakes_thousands_of_commands() {
    let rig = Rig::new();
    let mut client = rig.client();
    let _data = client.begin("STOR a.bin");
    client.send(&b"PWD\r\n".repeat(2_000));
    client.send(b"ABOR\r\n");
    client.heard(426);
    client.heard(226);
    for _ in 0..2_000 {
        client.heard(257);
    }
}

#[test]
fn a_client_that_says_too_much_is_still_seen_to_go() {
    let rig = Rig::new();
    let bytes = payload(100_000);
    for orderly in [true, false] {
        let mut client = rig.client();
        let mut data = client.begin("STOR a.bin");
        data.write_all(&bytes).unwrap();
        until("receiving", || rig.delivery.registry().list()[0].received_bytes == 100_000);
        // More than is kept: nothing is read from here on.
        client.send(&b"PWD\r\n".repeat(20_000));
        if !orderly {
            socket2::SockRef::from(client.wire.get_ref().socket()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        until("the end of the session", || rig.delivery.registry().count() == 0);
        drop(data);
        assert_eq!(rig.landed("a.bin"), None);
        assert!(rig.client().expect("SIZE a.bin", 213).starts_with("213 100000\r"));
    }
}

#[test]
fn a_long_transfer_is_not_idleness() {
    let rig = Rig::with(|_, limits| limits.idle_seconds = 3);
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        data.write_all(b"more").unwrap();
        std::thread::park_timeout(Duration::from_millis(100));
    }
    drop(data);
    client.heard(226);
    // Neither at its end: the time begins anew.
    client.expect("NOOP", 200);
    client.heard(421);
}

#[test]
fn a_data_connection_that_stands_still_is_given_up() {
    let rig = Rig::with(|_, limits| limits.transfer_idle_seconds = 1);
    let mut client = rig.client();
    client.upload("STOR a.bin", &payload(30_000_000));
    let data = client.begin("RETR a.bin");
    assert!(client.heard(426).contains("No byte went over the data connection for 1 s"));
    drop(data);
    let mut client = rig.tls_client(&rustls::version::TLS13);
    let data = client.begin_tls("RETR a.bin");
    client.heard(426);
    drop(data);
    let data = client.begin_tls("STOR b.bin");
    client.heard(426);
    drop(data);
    client.expect("NOOP", 200);
}

/// A client that lost its connection comes back before the server has noticed.
#[test]
fn one_name_from_two_sessions() {
    let rig = Rig::new();
    let (mut one, mut two) = (rig.client(), rig.client());
    let mut data = one.begin("STOR a.bin");
    data.write_all(b"first").unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 5);
    // What is under way cannot be gone on with; it can be begun again, and whichever ends last stays.
    two.expect("REST 5", 350);
    for line in ["STOR a.bin", "APPE a.bin"] {
        two.passive();
        assert!(two.expect(line, 450).contains("another session is sending this file"), "{line}");
    }
    assert!(two.upload("STOR a.bin", b"second").starts_with("226 "));
    assert_eq!(rig.landed("a.bin").unwrap(), b"second");
    drop(data);
    one.heard(226);
    assert_eq!(rig.landed("a.bin").unwrap(), b"first");
}

#[test]
fn a_file_replaced_cut_or_lengthened_during_its_download() {
    let rig = Rig::new();
    let old = payload(30_000_000);
    let mut client = rig.client();
    client.upload("STOR a.bin", &old);
    let mut data = client.begin("RETR a.bin");
    assert!(rig.client().upload("STOR a.bin", b"new").starts_with("226 "));
    let mut got = Vec::new();
    data.read_to_end(&mut got).unwrap();
    client.heard(226);
    assert!(got == old, "the old file, whole");
    assert_eq!(client.download("RETR a.bin"), b"new");

    // By an integrator, behind the server's back.
    for under_tls in [false, true] {
        std::fs::write(rig.file("a.bin"), &old).unwrap();
        let mut client = if under_tls { rig.tls_client(&rustls::version::TLS13) } else { rig.client() };
        let file = std::fs::File::options().append(true).open(rig.file("a.bin")).unwrap();
        let read = |client: &mut Client, change: &dyn Fn()| {
            let mut got = Vec::new();
            if under_tls {
                let mut data = client.begin_tls("RETR a.bin");
                change();
                // The end comes without close_notify where it is none.
                data.read_to_end(&mut got).ok();
            } else {
                let mut data = client.begin("RETR a.bin");
                change();
                data.read_to_end(&mut got).unwrap();
            }
            (got.len(), client.reply())
        };
        let (got, reply) = read(&mut client, &|| (&file).write_all(b"longer").unwrap());
        assert!(got == old.len() && reply.starts_with("226 "), "{got} {reply}");
        let (got, reply) = read(&mut client, &|| file.set_len(1_000).unwrap());
        assert!(got < old.len(), "{got}");
        assert_eq!(reply, "451 the file became shorter while it was sent; get it again\r\n");
    }
}

#[test]
fn rest_counts_for_one_transfer_and_for_those_that_can_use_it() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"0123456789");
    // Other commands may come between.
    client.expect("REST 4", 350);
    for line in ["NOOP", "PWD", "TYPE I", "SIZE a.bin"] {
        client.expect(
            line,
            if line == "PWD" {
                257
            } else if line == "SIZE a.bin" {
                213
            } else {
                200
            },
        );
    }
    assert_eq!(client.download("RETR a.bin"), b"456789");
    assert_eq!(client.download("RETR a.bin"), b"0123456789");
    // Also when the transfer is refused, and when it is a listing.
    client.expect("REST 4", 350);
    client.passive();
    client.expect("RETR missing", 550);
    assert_eq!(client.download("RETR a.bin").len(), 10);
    client.expect("REST 4", 350);
    client.listed("NLST");
    assert_eq!(client.download("RETR a.bin").len(), 10);
    client.expect("REST 4", 350);
    client.expect("REST 0", 350);
    assert_eq!(client.download("RETR a.bin").len(), 10);
    for line in ["APPE a.bin", "STOU"] {
        client.expect("REST 4", 350);
        client.passive();
        client.expect(line, 503);
    }
    assert!(client.upload("APPE a.bin", b"ab").starts_with("226 "));
    assert_eq!(rig.landed("a.bin").unwrap(), b"0123456789ab");
    client.expect("REST 13", 350);
    client.passive();
    client.expect("RETR a.bin", 554);
    client.expect("REST 12", 350);
    assert_eq!(client.download("RETR a.bin"), b"");
}

#[test]
fn appe_to_what_is_not_there_and_nothing_at_all() {
    let rig = Rig::new();
    let mut client = rig.client();
    assert!(client.upload("APPE a.bin", b"new").starts_with("226 Landed as /a.bin: 3 bytes"));
    for line in ["STOR empty.bin", "APPE none.bin", "APPE a.bin", "STOU"] {
        assert!(client.upload(line, b"").starts_with("226 "), "{line}");
    }
    assert_eq!(rig.landed("a.bin").unwrap(), b"new");
    assert_eq!(rig.landed("empty.bin").unwrap(), b"");
    assert_eq!(rig.landed("none.bin").unwrap(), b"");
    assert!(client.expect("SIZE empty.bin", 213).starts_with("213 0\r"));
    assert_eq!(client.download("RETR empty.bin"), b"");
    // A file of nothing that is cut off leaves nothing to resume.
    let _data = client.begin("STOR cut.bin");
    assert!(client.expect("ABOR", 426).starts_with("426 The transfer was stopped\r"));
    client.heard(226);
    client.expect("SIZE cut.bin", 550);
    client.expect("REST 1", 350);
    client.passive();
    client.expect("STOR cut.bin", 554);
}

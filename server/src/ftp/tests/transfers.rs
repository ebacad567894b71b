//! Uploads and downloads: what lands, what is suspended, how it is resumed, what may be said meanwhile.

use landfall_auth::Overwrite;

use super::*;

#[test]
fn there_and_back() {
    let rig = Rig::new();
    let mut client = rig.client();
    for size in [0, 1, 255_999, 256 * 1_024, 3_000_000] {
        let bytes = payload(size);
        let reply = client.upload("STOR a b.bin", &bytes);
        assert!(reply.starts_with(&format!("226 Landed as /a b.bin: {size} bytes, sha256 ")), "{reply}");
        assert_eq!(rig.landed("a b.bin").unwrap(), bytes);
        assert!(client.download("RETR a b.bin") == bytes);
    }
    client.expect("REST 2999990", 350);
    assert_eq!(client.download("RETR a b.bin"), payload(3_000_000)[2_999_990..]);
    // REST was for that one only.
    assert_eq!(client.download("RETR a b.bin").len(), 3_000_000);
}

#[test]
fn nothing_is_visible_before_the_end() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"old");
    let mut data = client.begin("STOR a.bin");
    data.write_all(b"new and longer").unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 17);
    assert_eq!(rig.landed("a.bin").unwrap(), b"old");
    assert_eq!(rig.client().download("RETR a.bin"), b"old");
    drop(data);
    client.heard(226);
    assert_eq!(rig.landed("a.bin").unwrap(), b"new and longer");
}

#[test]
fn abor_suspends_and_stor_resumes() {
    let rig = Rig::new();
    let bytes = payload(1_000_000);
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    data.write_all(&bytes[..400_000]).unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 400_000);
    assert!(client.expect("STAT", 211).contains("\r\n STOR /a.bin\r\n 400000 bytes so far\r\n"));
    client.expect("NOOP", 200);
    // As a Telnet client says it: Interrupt Process, then an urgent Data Mark.
    client.send(b"\xff\xf4\xff");
    socket2::SockRef::from(client.wire.get_ref().socket()).send_out_of_band(b"\xf2").unwrap();
    client.send(b"ABOR\r\n");
    let reply = client.heard(426);
    assert!(reply.contains("suspended at 400000 bytes"), "{reply}");
    client.heard(226);
    client.expect("ABOR", 225);
    assert_eq!(rig.landed("a.bin"), None);
    client.expect("SIZE a.bin", 213);
    assert!(client.listed("MLSD").contains("size=400000;"));

    // Seen, but not to be read before it has landed.
    assert!(client.expect("MLST a.bin", 250).contains("perm=adfw;"));
    client.passive();
    assert!(client.expect("RETR a.bin", 550).contains("not landed yet: only 400000 bytes have come"));
    client.expect("RETR b.bin", 550);

    client.expect("REST 400000", 350);
    client.upload("STOR a.bin", &bytes[400_000..]);
    assert!(rig.landed("a.bin").unwrap() == bytes);
}

#[test]
fn appe_goes_on_where_it_stopped() {
    let rig = Rig::new();
    let bytes = payload(500_000);
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    data.write_all(&bytes[..123_456]).unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 123_456);
    drop(client);
    until("the end of the session", || rig.delivery.registry().count() == 0);
    assert_eq!(rig.landed("a.bin"), None);

    let mut client = rig.client();
    assert!(client.upload("APPE a.bin", &bytes[123_456..]).starts_with("226 "));
    assert!(rig.landed("a.bin").unwrap() == bytes);
    // And after what has landed.
    assert!(client.upload("APPE a.bin", b"more").starts_with("226 "));
    assert_eq!(rig.landed("a.bin").unwrap().len(), 500_004);
}

#[test]
fn an_offset_beyond_the_end_is_an_error() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello");
    for offset in ["6", "1099511627776", "18446744073709551615"] {
        client.passive();
        client.expect(&format!("REST {offset}"), 350);
        client.expect("RETR a.bin", 554);
        client.expect(&format!("REST {offset}"), 350);
        client.expect("STOR new.bin", 554);
    }
    client.expect("REST 18446744073709551616", 501);
    client.expect("REST -1", 501);
    assert_eq!(rig.landed("new.bin"), None);
}

/// What lftp's `put -c` and curl's `-C -` do once SIZE has told them the size of a file that has landed.
#[test]
fn a_restart_within_a_landed_file_rewrites_its_tail() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello, you");
    for (offset, tail, whole) in [
        (7, "everybody", "hello, everybody"),
        (5, "", "hello"),
        (5, " again", "hello again"),
        (11, "!", "hello again!"),
    ] {
        client.expect(&format!("REST {offset}"), 350);
        let reply = client.upload("STOR a.bin", tail.as_bytes());
        assert!(reply.starts_with(&format!("226 Landed as /a.bin: {} bytes", whole.len())), "{reply}");
        assert_eq!(rig.landed("a.bin").unwrap(), whole.as_bytes());
    }
    client.expect("REST 13", 350);
    client.passive();
    assert!(client.expect("STOR a.bin", 554).contains("beyond the 12 bytes of the file"));
    // What is suspended goes first: it is what SIZE tells.
    client.expect("REST 5", 350);
    let before = rig.delivery.registry().list()[0].received_bytes;
    let mut data = client.begin("STOR a.bin");
    data.write_all(b", half").unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == before + 6);
    client.expect("ABOR", 426);
    client.heard(226);
    assert_eq!(rig.landed("a.bin").unwrap(), b"hello again!");
    client.expect("REST 12", 350);
    client.passive();
    assert!(client.expect("STOR a.bin", 554).contains("beyond the 11 bytes"));
    client.expect("REST 11", 350);
    assert!(client.upload("STOR a.bin", b" and half").starts_with("226 "));
    assert_eq!(rig.landed("a.bin").unwrap(), b"hello, half and half");
}

#[test]
fn a_directorys_name_is_no_files() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("MKD in", 257);
    for line in ["STOR x/", "APPE x/", "STOU x/", "STOR in/", "STOR x/.", "STOR x/y/..", "STOR /", "STOR ."] {
        client.passive();
        client.expect(line, 553);
    }
    assert_eq!(rig.landed("x"), None);
    client.expect("RNFR in", 350);
    client.expect("RNTO out/", 250);
    client.expect("MKD in/", 257);
}

#[test]
fn a_lost_control_connection_is_no_end() {
    let rig = Rig::new();
    for (orderly, at_once) in [(true, true), (false, true), (true, false), (false, false)] {
        let mut client = rig.client();
        let mut data = client.begin("STOR a.bin");
        data.write_all(b"half").unwrap();
        if !at_once {
            until("receiving", || rig.delivery.registry().list()[0].received_bytes == 4);
        }
        if orderly {
            client.wire.get_ref().socket().shutdown(Shutdown::Write).unwrap();
        } else {
            socket2::SockRef::from(client.wire.get_ref().socket()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        // As the kernel does for a process that was killed: all of its sockets, in the order they were opened.
        drop(client);
        drop(data);
        until("the end of the session", || rig.delivery.registry().count() == 0);
        assert_eq!(rig.landed("a.bin"), None);
    }
    assert!(rig.client().expect("SIZE a.bin", 213).starts_with("213 4"));
}

/// A client that gives up without ABOR: the data connection first, the control connection right behind it. What came is
/// landed where the server was faster, and suspended where it was not; never lost.
#[test]
fn what_came_before_both_ends_is_kept() {
    let rig = Rig::new();
    let bytes = payload(50_000);
    for round in 0..60 {
        let name = format!("{round}.bin");
        let mut client = rig.client();
        let address = client.passive();
        let mut data = connect(address);
        client.send(format!("STOR {name}\r\n").as_bytes());
        // Those that wait for the 150, and those that do not.
        if round % 3 > 0 {
            client.heard(150);
        }
        data.write_all(&bytes).unwrap();
        drop(data);
        if round % 3 == 2 {
            socket2::SockRef::from(client.wire.get_ref().socket()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        until("the end of the session", || rig.delivery.registry().count() == 0);
        let size = rig.client().expect(&format!("SIZE {name}"), 213);
        assert!(size.starts_with("213 50000\r"), "round {round}: {size}");
    }
}

#[test]
fn an_abor_that_came_before_the_end_counts() {
    let rig = Rig::new();
    let mut client = rig.client();
    for round in 0..50 {
        let mut data = client.begin("STOR a.bin");
        data.write_all(b"half").unwrap();
        client.send(b"ABOR\r\n");
        drop(data);
        let reply = client.reply();
        assert!(reply.starts_with("426 "), "round {round}: {reply}");
        client.heard(226);
    }
    assert_eq!(rig.landed("a.bin"), None);
}

#[test]
fn every_abor_is_answered() {
    let rig = Rig::new();
    let mut client = rig.client();
    let _data = client.begin("STOR a.bin");
    client.send(b"ABOR\r\nABOR\r\nABOR\r\nPWD\r\n");
    for code in [426, 226] {
        client.heard(code);
    }
    // The others found the transfer, or came after it.
    for _ in 0..2 {
        let reply = client.reply();
        assert!(reply.starts_with("226 ") || reply.starts_with("225 "), "{reply}");
    }
    client.heard(257);
}

#[test]
fn a_reset_is_no_end() {
    let rig = Rig::new();
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    data.write_all(b"half").unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 4);
    socket2::SockRef::from(&data).set_linger(Some(Duration::ZERO)).unwrap();
    drop(data);
    client.heard(426);
    assert_eq!(rig.landed("a.bin"), None);
}

#[test]
fn silence_suspends() {
    let rig = Rig::with(|_, limits| limits.transfer_idle_seconds = 1);
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    data.write_all(b"half").unwrap();
    assert!(client.heard(426).contains("suspended at 4 bytes"));
    client.expect("NOOP", 200);
}

#[test]
fn the_size_announced_must_come() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("ALLO 10", 200);
    assert!(client.upload("STOR a.bin", b"half").starts_with("451 "));
    assert_eq!(rig.landed("a.bin"), None);
    // The rest, announced as the rest or as the whole.
    for announced in ["6", "10"] {
        client.expect(&format!("ALLO {announced}"), 200);
        client.expect("REST 4", 350);
        assert!(client.upload("STOR a.bin", b" whole").starts_with("226 "), "{announced}");
        assert_eq!(rig.landed("a.bin").unwrap(), b"half whole");
        client.expect("DELE a.bin", 250);
        client.expect("ALLO 10", 200);
        assert!(client.upload("STOR a.bin", b"half").starts_with("451 "));
    }
    client.expect("DELE a.bin", 250);
    client.expect("ALLO 10", 200);
    let reply = client.upload("STOR a.bin", b"half whole!");
    assert!(reply.starts_with("451 10 bytes were announced and 11 came; announce the right size or none"), "{reply}");
    assert_eq!(rig.landed("a.bin"), None);
    client.expect("ALLO 5 R 1", 200);
    assert!(client.upload("STOR a.bin", b"hello").starts_with("226 "));
    // ALLO was for that one only.
    assert!(client.upload("STOR a.bin", b"hello, you").starts_with("226 "));
}

#[test]
fn quit_waits_for_the_transfer() {
    let rig = Rig::new();
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    client.send(b"QUIT\r\n");
    data.write_all(b"all of it").unwrap();
    drop(data);
    client.heard(226);
    client.heard(221);
    assert_eq!(rig.landed("a.bin").unwrap(), b"all of it");
}

#[test]
fn other_commands_wait_and_abor_overtakes_them() {
    let rig = Rig::new();
    let mut client = rig.client();
    let data = client.begin("STOR a.bin");
    client.send(b"NOOP\r\nPWD\r\nNOOP\r\n");
    client.heard(200);
    drop(data);
    for code in [226, 257, 200] {
        client.heard(code);
    }
    let _data = client.begin("STOR b.bin");
    client.send(b"PWD\r\nABOR\r\n");
    for code in [426, 226, 257] {
        client.heard(code);
    }
}

#[test]
fn more_commands_than_are_kept_do_no_harm() {
    let rig = Rig::new();
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    client.send(&b"PWD\r\n".repeat(15_000));
    data.write_all(b"whole").unwrap();
    drop(data);
    client.heard(226);
    for _ in 0..15_000 {
        client.heard(257);
    }
    assert_eq!(rig.landed("a.bin").unwrap(), b"whole");
}

#[test]
fn text_is_converted_in_type_a_only() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR raw.txt", b"a\r\nb\n");
    assert_eq!(rig.landed("raw.txt").unwrap(), b"a\r\nb\n");
    client.expect("TYPE A", 200);
    client.upload("STOR text.txt", b"a\r\nb\r\n\r");
    assert_eq!(rig.landed("text.txt").unwrap(), b"a\nb\n\r");
    assert_eq!(client.download("RETR text.txt"), b"a\r\nb\r\n\r");
    client.expect("SIZE text.txt", 550);
    client.expect("REST 2", 501);
    client.expect("TYPE I", 200);
    assert_eq!(client.download("RETR text.txt"), b"a\nb\n\r");
    client.expect("REST 2", 350);
    client.expect("TYPE A", 200);
    client.passive();
    client.expect("RETR text.txt", 501);
    client.expect("TYPE E", 504);
}

#[test]
fn stou_finds_a_name() {
    let rig = Rig::new();
    let mut client = rig.client();
    let data = client.passive();
    let data = connect(data);
    let reply = client.expect("STOU a.jpg", 150);
    let name = reply.trim_end().strip_prefix("150 FILE: ").unwrap().to_owned();
    assert_eq!(name.split(['-', '.']).map(str::len).collect::<Vec<_>>(), [1, 16, 3], "{name}");
    drop(data);
    client.heard(226);
    assert!(rig.landed(&name).is_some());
}

#[test]
fn a_refusal_has_its_sentence() {
    let grant = Grant { max_file_bytes: Some(10), overwrite: Some(Overwrite::Reject), ..Grant::default() };
    let rig = Rig::granting(grant, |_, _| {});
    let mut client = rig.client();
    assert!(client.upload("STOR small.bin", b"hello").starts_with("226 "));
    client.passive();
    let reply = client.expect("STOR small.bin", 550);
    assert!(reply.starts_with("550 small.bin refused: ") && reply.contains("files are not replaced here"), "{reply}");
    client.passive();
    client.expect("ALLO 11", 200);
    assert!(client.expect("STOR large.bin", 553).starts_with("553 large.bin refused: "));
    let mut data = client.begin("STOR large.bin");
    data.write_all(b"more than ten").ok();
    drop(data);
    let reply = client.heard(553);
    assert!(reply.starts_with("553 large.bin refused: ") && reply.contains("10 bytes"), "{reply}");
    client.upload("STOR next.tmp", b"hello");
    client.expect("RNFR next.tmp", 350);
    assert!(client.expect("RNTO small.bin", 550).starts_with("550 small.bin refused: "));
    client.passive();
    client.expect("STOR missing/a.bin", 550);
    client.expect("SIZE large.bin", 550);
}

#[test]
fn versions_are_named_in_the_reply() {
    let rig = Rig::granting(Grant { overwrite: Some(Overwrite::Version), ..Grant::default() }, |_, _| {});
    let mut client = rig.client();
    client.upload("STOR a.bin", b"one");
    assert!(client.upload("STOR a.bin", b"two").starts_with("226 Landed as /a~2.bin: 3 bytes"));
}

#[test]
fn a_stopped_download_leaves_the_session_usable() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", &payload(30_000_000));
    let mut data = client.begin("RETR a.bin");
    data.read_exact(&mut [0; 1000]).unwrap();
    client.send(b"ABOR\r\n");
    client.heard(426);
    client.heard(226);
    let data = client.begin("RETR a.bin");
    drop(data);
    client.heard(426);
    assert!(client.download("RETR a.bin") == payload(30_000_000));
}

#[test]
fn a_hard_stop_suspends() {
    let rig = Rig::new();
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    data.write_all(b"half").unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 4);
    rig.lifecycle.stop();
    until("the end of the session", || rig.delivery.registry().count() == 0);
    assert_eq!(rig.landed("a.bin"), None);
}

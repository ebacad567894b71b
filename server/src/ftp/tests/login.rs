//! Before and at the login: who gets in, what is refused, what a hostile stranger meets.

use std::io::{Read, Write};

use super::*;
use crate::config::TlsPolicy;

#[test]
fn a_login_and_a_goodbye() {
    let rig = Rig::new();
    let mut client = rig.stranger();
    client.expect("PWD", 530);
    client.expect("PASS secret", 503);
    client.log_in();
    client.expect("USER acme", 530);
    client.expect("PASS secret", 503);
    client.expect("PWD", 257);
    client.expect("REIN", 220);
    client.expect("PWD", 530);
    client.log_in();
    client.expect("QUIT", 221);
    assert!(client.ended());
    until("leaving the registry", || rig.delivery.registry().count() == 0);
}

#[test]
fn every_session_leaves_one_line() {
    let rig = Rig::new();
    let logged_out = |reason: &str| {
        until(reason, || rig.log.with(&format!("reason=\"{reason}\"")).len() == 1);
        let line = rig.log.with(&format!("reason=\"{reason}\"")).remove(0);
        assert!(line.contains("logged out user=\"acme\" peer=127.0.0.1:"), "{line}");
        line
    };
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello");
    client.download("RETR a.bin");
    client.expect("QUIT", 221);
    let line = logged_out("quit");
    assert!(
        line.contains(" protocol=\"ftp\" session=1 reason=\"quit\" received_bytes=5 sent_bytes=5 seconds="),
        "{line}"
    );
    rig.client();
    logged_out("lost");
    rig.client().expect("REIN", 220);
    logged_out("rein");
    let mut client = rig.tls_client(&rustls::version::TLS13);
    rig.delivery.registry().end_all();
    client.heard(421);
    assert!(logged_out("kicked").contains(" protocol=\"ftps\" "));
    let mut client = rig.client();
    rig.lifecycle.drain();
    client.heard(421);
    logged_out("draining");
    assert_eq!(rig.log.with("logged out").len(), 5);
}

#[test]
fn wrong_passwords_are_counted_and_sound_alike() {
    let rig = Rig::with(|_, limits| limits.login_attempts_per_connection = 2);
    let mut client = rig.stranger();
    client.expect("USER acme", 331);
    let known = client.expect("PASS wrong", 530);
    client.expect("USER nobody", 331);
    let last = client.expect("PASS wrong", 530);
    assert_eq!(known, last);
    assert!(client.ended());
}

#[test]
fn pipelined_passwords_are_one_try() {
    let rig = Rig::new();
    let mut client = rig.stranger();
    client.send(b"USER acme\r\nPASS wrong\r\nPASS secret\r\nPASS secret\r\nNOOP\r\n");
    for code in [331, 530, 503, 503, 200] {
        client.heard(code);
    }
}

#[test]
fn no_login_in_time() {
    let rig = Rig::with(|_, limits| limits.login_seconds = 1);
    let mut client = rig.stranger();
    client.heard(421);
    assert!(client.ended());
}

#[test]
fn an_idle_session_ends() {
    let rig = Rig::with(|_, limits| limits.idle_seconds = 1);
    let mut client = rig.client();
    client.heard(421);
    assert!(client.ended());
    assert!(rig.log.with("logged out")[0].contains(" reason=\"idle\" "));
}

#[test]
fn a_long_line_ends_the_connection() {
    let rig = Rig::new();
    let mut client = rig.stranger();
    client.send(&vec![b'x'; 4_096]);
    client.send(b"\r\n");
    client.heard(500);
    client.expect("NOOP", 200);
    client.send(&vec![b'x'; 4_098]);
    client.heard(500);
    assert!(client.ended());
}

#[test]
fn a_browser_is_not_answered() {
    let rig = Rig::new();
    let mut client = rig.stranger();
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER acme\r\nPASS secret\r\n");
    assert_eq!(client.reply(), "");
}

#[test]
fn tls_required_means_all_of_it() {
    let rig = Rig::with(|config, _| config.tls = TlsPolicy::Required);
    let mut client = rig.stranger();
    client.expect("USER acme", 530);
    client.expect("PASS secret", 530);
    client.expect("USER acme", 530);
    let told = rig.log.with("login refused");
    assert!(told.len() == 1 && told[0].contains("WARN") && told[0].contains("TLS"), "{told:?}");
    let config = rig.tls_config(&rustls::version::TLS13);
    client.expect("AUTH TLS", 234);
    client.go_over_to_tls(config);
    client.log_in();
    // No PROT yet, and then a PROT that policy refuses: no verb gets a data connection in clear.
    for line in ["STOR a.bin", "RETR a.bin", "LIST", "NLST", "MLSD", "APPE a.bin", "STOU"] {
        client.passive();
        let code = if line.starts_with("RETR") { 550 } else { 521 };
        client.expect(line, code);
    }
    client.expect("PBSZ 0", 200);
    client.expect("PROT C", 534);
    client.expect("PROT P", 200);
    assert!(client.upload("STOR a.bin", b"hello").starts_with("226 "));
}

#[test]
fn tls_off_is_not_offered() {
    let rig = Rig::with(|config, _| config.tls = TlsPolicy::Off);
    let mut client = rig.stranger();
    assert!(!client.expect("FEAT", 211).contains("AUTH"));
    client.expect("AUTH TLS", 502);
}

#[test]
fn what_came_before_the_handshake_is_forgotten() {
    let rig = Rig::new();
    let mut client = rig.stranger();
    client.expect("USER nobody", 331);
    // Injected by somebody in between: must not be obeyed after the handshake.
    client.send(b"AUTH TLS\r\nUSER acme\r\nNOOP\r\n");
    client.heard(234);
    let config = rig.tls_config(&rustls::version::TLS13);
    client.go_over_to_tls(config);
    client.expect("PASS secret", 503);
    client.expect("AUTH TLS", 503);
    client.log_in();
    assert!(client.expect("CCC", 534).contains("stays under TLS"));
    for size in ["", "+0", "-0", "0x0", "4294967296"] {
        client.expect(&format!("PBSZ {size}"), 501);
    }
    client.expect("PBSZ 4294967295", 200);
}

#[test]
fn a_silent_handshake_ends() {
    let rig = Rig::with(|_, limits| limits.handshake_seconds = 1);
    let mut client = rig.stranger();
    client.expect("AUTH TLS", 234);
    let mut rest = Vec::new();
    client.wire.get_mut().read_to_end(&mut rest).ok();
    assert_eq!(rest, b"");
}

#[test]
fn implicit_tls_is_private_at_once() {
    let rig = Rig::new();
    let mut client = rig.implicit_client();
    assert!(client.upload("STOR a.bin", &payload(300_000)).starts_with("226 "));
    assert_eq!(client.download("RETR a.bin"), payload(300_000));
    // A client that speaks first in clear gets nowhere.
    let mut clear = connect(rig.implicit);
    clear.write_all(b"USER acme\r\n").unwrap();
    let mut answer = Vec::new();
    clear.read_to_end(&mut answer).ok();
    assert!(!answer.starts_with(b"220"));
}

#[test]
fn a_drain_ends_idle_sessions_and_waits_for_transfers() {
    let rig = Rig::new();
    let (mut idle, mut stranger, mut busy) = (rig.client(), rig.stranger(), rig.client());
    let mut data = busy.begin("STOR a.bin");
    data.write_all(b"half").unwrap();
    rig.lifecycle.drain();
    idle.heard(421);
    stranger.heard(421);
    data.write_all(b" and half").unwrap();
    drop(data);
    busy.heard(226);
    busy.heard(421);
    assert_eq!(rig.landed("a.bin").unwrap(), b"half and half");
}

#[test]
fn a_kick_ends_a_session_and_suspends_its_upload() {
    let rig = Rig::new();
    let mut client = rig.client();
    let mut data = client.begin("STOR a.bin");
    data.write_all(b"half").unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 4);
    assert_eq!(rig.delivery.registry().list()[0].activity, "STOR /a.bin");
    let id = rig.delivery.registry().list()[0].id;
    assert!(rig.delivery.registry().kick(id));
    client.heard(426);
    client.heard(421);
    assert!(client.ended());
    until("the end of the session", || rig.delivery.registry().count() == 0);
    assert_eq!(rig.landed("a.bin"), None);
    assert!(rig.client().expect("SIZE a.bin", 213).starts_with("213 4"));
}

#[test]
fn commands_can_be_pipelined() {
    let rig = Rig::new();
    let mut client = rig.stranger();
    client.send(b"USER acme\r\nPASS secret\r\nSYST\r\nPWD\r\nFROB\r\nQUIT\r\n");
    for code in [331, 230, 215, 257, 500, 221] {
        client.heard(code);
    }
}

#[test]
fn a_client_that_goes_away_costs_nothing() {
    let rig = Rig::new();
    for _ in 0..20 {
        drop(rig.client());
    }
    until("leaving the registry", || rig.delivery.registry().count() == 0);
}

//! Data connections: where they come from, and TLS on them.

use std::net::Ipv4Addr;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::config::{PassiveHost, SessionReuse};

#[test]
fn there_and_back_under_tls() {
    let rig = Rig::new();
    for version in [&TLS12, &TLS13] {
        let mut client = rig.tls_client(version);
        for size in [0, 1, 16_384, 1_000_000] {
            let bytes = payload(size);
            assert!(client.upload("STOR a.bin", &bytes).starts_with("226 "), "{version:?} {size}");
            assert!(rig.landed("a.bin").unwrap() == bytes);
            assert!(client.download("RETR a.bin") == bytes);
        }
        assert!(client.listed("LIST").ends_with(" a.bin\r\n"));
        client.expect("PROT C", 200);
        client.tls = None;
        assert_eq!(client.download("RETR a.bin").len(), 1_000_000);
    }
}

#[test]
fn without_close_notify_nothing_lands() {
    for required in [true, false] {
        let rig = Rig::with(|config, _| config.tls_close_notify_required = required);
        for version in [&TLS12, &TLS13] {
            let mut client = rig.tls_client(version);
            let mut data = client.begin_tls("STOR a.bin");
            data.write_all(b"half").unwrap();
            drop(data.sock);
            if required {
                assert!(client.heard(426).contains("suspended at 4 bytes"));
                assert_eq!(rig.landed("a.bin"), None);
            } else {
                client.heard(226);
                assert_eq!(rig.landed("a.bin").unwrap(), b"half");
            }
        }
    }
}

#[test]
fn a_client_that_waits_for_our_close_notify_gets_it() {
    let rig = Rig::new();
    let mut client = rig.tls_client(&TLS13);
    let mut data = client.begin_tls("STOR a.bin");
    data.write_all(b"whole").unwrap();
    data.conn.send_close_notify();
    data.flush().unwrap();
    let mut rest = Vec::new();
    data.read_to_end(&mut rest).unwrap();
    client.heard(226);
}

#[test]
fn sessions_are_resumed_again_and_again() {
    for reuse in [SessionReuse::Optional, SessionReuse::Required] {
        let rig = Rig::with(|config, _| config.tls_session_reuse = reuse);
        // TLS 1.2's session is one; of TLS 1.3's tickets this client uses each once, two are sent at first, and another
        // with every transfer.
        for version in [&TLS12, &TLS13] {
            let mut client = rig.tls_client(version);
            for _ in 0..7 {
                let mut data = client.begin_tls("STOR a.bin");
                assert_eq!(data.conn.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
                data.write_all(b"whole").unwrap();
                end_tls(data);
                client.heard(226);
            }
        }
    }
}

#[test]
fn a_client_that_only_uploads_may_close_at_once() {
    let rig = Rig::new();
    let bytes = payload(8_000_000);
    for version in [&TLS12, &TLS13] {
        let mut client = rig.tls_client(version);
        let mut data = client.begin_tls("STOR a.bin");
        data.write_all(&bytes).unwrap();
        data.conn.send_close_notify();
        data.flush().unwrap();
        // Had anything come that it did not read, its close would be a reset, over bytes that are still on their way.
        drop(data);
        client.heard(226);
        assert!(rig.landed("a.bin").unwrap() == bytes);
    }
}

#[test]
fn a_session_of_another_connection_does_not_count() {
    let rig = Rig::with(|config, _| config.tls_session_reuse = SessionReuse::Required);
    for version in [&TLS12, &TLS13] {
        let other = rig.tls_client(version);
        let mut client = rig.tls_client(version);
        let (fresh, foreign) = (rig.tls_config(version), other.tls.clone().unwrap());
        // Again as well: what a refused handshake leaves must not open the door the next time.
        for config in [&fresh, &fresh, &foreign, &foreign] {
            let data = client.begin("STOR a.bin");
            // The refusal may come before the client's own handshake is done.
            if let Ok(mut data) = try_shake(data, config) {
                data.write_all(b"stolen").ok();
                data.conn.send_close_notify();
                data.flush().ok();
            }
            client.heard(522);
            assert_eq!(rig.landed("a.bin"), None);
        }
        assert!(client.upload("STOR a.bin", b"own").starts_with("226 "));
        client.expect("DELE a.bin", 250);
    }
}

#[test]
fn a_failed_handshake_leaves_the_session_usable() {
    let rig = Rig::with(|_, limits| limits.handshake_seconds = 1);
    let mut client = rig.tls_client(&TLS13);
    // In clear where TLS is due; silence; gone at once.
    let mut data = client.begin("STOR a.bin");
    data.write_all(b"this is no handshake, but it is long enough to be looked at").unwrap();
    client.heard(425);
    let data = client.begin("STOR a.bin");
    client.heard(425);
    drop(data);
    let data = client.begin("STOR a.bin");
    drop(data);
    client.heard(425);
    assert_eq!(rig.landed("a.bin"), None);
    client.expect("SIZE a.bin", 550);
    assert!(client.upload("STOR a.bin", b"whole").starts_with("226 "));
}

#[test]
fn a_stranger_does_not_get_the_data_connection() {
    let rig = Rig::new();
    let mut client = rig.client();
    let address = client.passive();
    let mut stranger = connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), address);
    stranger.write_all(b"forged").unwrap();
    let mut data = connect(address);
    client.expect("STOR a.bin", 150);
    data.write_all(b"own").unwrap();
    drop(data);
    client.heard(226);
    assert_eq!(rig.landed("a.bin").unwrap(), b"own");

    let rig = Rig::with(|config, _| config.data_peer_check = false);
    let mut client = rig.client();
    let address = client.passive();
    let mut other = connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), address);
    client.expect("STOR a.bin", 150);
    other.write_all(b"own").unwrap();
    drop(other);
    client.heard(226);
}

#[test]
fn nobody_connects() {
    let rig = Rig::with(|_, limits| limits.data_connect_seconds = 1);
    let mut client = rig.client();
    for line in ["STOR a.bin", "LIST"] {
        client.passive();
        client.expect(line, 150);
        client.heard(425);
        // The one that PASV prepared is gone.
        client.expect(line, 425);
    }
    client.expect("SIZE a.bin", 550);
    client.passive();
    client.expect("STOR a.bin", 150);
    client.expect("ABOR", 426);
    client.heard(226);
}

#[test]
fn passive_ports_run_out_and_come_back() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rig = Rig::with(|config, _| config.passive_ports = PortRange { first: free, last: free });
    let (mut one, mut two) = (rig.client(), rig.client());
    assert_eq!(one.passive().port(), free);
    assert_eq!(two.expect("EPSV", 425), "425 All passive ports are in use; try again in a moment\r\n");
    one.expect("ABOR", 225);
    two.expect("EPSV", 229);
    drop(two);
    for _ in 0..5 {
        assert!(one.upload("STOR a.bin", b"hello").starts_with("226 "));
        one.passive();
    }
}

#[test]
fn a_passive_port_that_nobody_uses_goes_back() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rig = Rig::with(|config, limits| {
        config.passive_ports = PortRange { first: free, last: free };
        limits.data_connect_seconds = 1;
    });
    let (mut one, mut two) = (rig.client(), rig.client());
    one.passive();
    // Whatever the holder says meanwhile: only its use keeps it.
    loop {
        two.send(b"EPSV\r\n");
        if two.reply().starts_with("229 ") {
            break;
        }
        one.expect("NOOP", 200);
    }
    one.expect("STOR a.bin", 425);
}

#[test]
fn one_user_does_not_run_all_transfers() {
    let rig = Rig::with(|_, limits| limits.transfers = 4);
    let (mut one, mut two) = (rig.client(), rig.client());
    let _data = one.begin("STOR a.bin");
    two.passive();
    two.expect("STOR b.bin", 450);
}

#[test]
fn what_pasv_and_epsv_say() {
    let rig = Rig::with(|config, _| config.passive_host = PassiveHost::Host("198.51.100.7".to_owned()));
    let mut client = rig.client();
    assert!(client.expect("PASV", 227).contains("(198,51,100,7,"));
    client.expect("EPSV 1", 229);
    assert!(client.expect("EPSV 2", 522).contains("(1)"));
    client.expect("EPSV ALL", 200);
    for line in ["PASV", "PORT 127,0,0,1,100,1", "EPRT |1|127.0.0.1|5000|"] {
        client.expect(line, 503);
    }
    client.expect("EPSV", 229);
    let rig = Rig::new();
    assert!(rig.client().expect("PASV", 227).contains("(127,0,0,1,"));
}

#[test]
fn active_mode_is_off() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("PORT 127,0,0,1,100,1", 502);
    client.expect("EPRT |1|127.0.0.1|5000|", 502);
    client.expect("STOR a.bin", 425);
}

#[test]
fn active_mode_goes_back_to_the_client_only() {
    let rig = Rig::with(|config, _| config.active = true);
    let mut client = rig.client();
    for line in ["PORT 127,0,0,2,100,1", "PORT 127,0,0,1,0,22", "EPRT |1|192.0.2.1|5000|", "PORT x"] {
        client.expect(line, 501);
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
    client.expect(&format!("PORT 127,0,0,1,{high},{low}"), 200);
    client.expect("STOR a.bin", 150);
    listener.accept().unwrap().0.write_all(b"hello").unwrap();
    client.heard(226);
    client.expect(&format!("EPRT |1|127.0.0.1|{}|", listener.local_addr().unwrap().port()), 200);
    client.expect("RETR a.bin", 150);
    let mut bytes = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"hello");
    client.heard(226);
    // Nobody listens there.
    drop(listener);
    client.expect(&format!("PORT 127,0,0,1,{high},{low}"), 200);
    client.expect("RETR a.bin", 150);
    client.heard(425);
}

#[test]
fn transfers_at_a_time_are_counted() {
    let rig = Rig::with(|_, limits| limits.transfers = 1);
    let (mut one, mut two) = (rig.client(), rig.client());
    let data = one.begin("STOR a.bin");
    two.passive();
    two.expect("STOR b.bin", 450);
    drop(data);
    one.heard(226);
    // Free by the time of the reply.
    assert!(two.upload("STOR b.bin", b"hello").starts_with("226 "));
}

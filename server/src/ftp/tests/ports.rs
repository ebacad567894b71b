//! Passive ports and active mode against whoever would misuse them, proxies before the server, and peers that dawdle.

use rustls::version::TLS13;

use super::*;

/// A rig whose peers on this machine are proxies.
fn behind_a_proxy(change: impl FnOnce(&mut config::Ftp, &mut config::Limits)) -> Rig {
    Rig::with(|config, limits| {
        config.proxy_protocol = vec!["127.0.0.1".parse().unwrap()];
        change(config, limits);
    })
}

const HEADER: &[u8] = b"PROXY TCP4 198.51.100.9 203.0.113.5 4000 21\r\n";

/// The same in version 2, with a TLV that says nothing.
const HEADER_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc6\x33\x64\x09\xcb\x00\x71\x05\x0f\xa0\0\x15\x04\0\x01x";

fn relayed(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(header).unwrap();
    stream
}

fn peers(rig: &Rig) -> Vec<IpAddr> {
    rig.delivery.registry().list().into_iter().map(|session| session.peer.ip()).collect()
}

#[test]
fn who_comes_by_a_proxy_is_who_it_says() {
    let rig = behind_a_proxy(|_, _| {});
    for header in [HEADER, HEADER_2] {
        let mut client = Client::greeted(Wire::Clear(relayed(rig.explicit, header)), &rig);
        client.log_in();
        assert_eq!(peers(&rig), [IpAddr::from([198, 51, 100, 9])]);
        // What the client connected to is what PASV tells.
        assert!(client.expect("PASV", 227).contains("(203,0,113,5,"));
        let mut data = relayed(client.passive(), header);
        client.expect("STOR a.bin", 150);
        data.write_all(b"hello").unwrap();
        drop(data);
        client.heard(226);
        let mut bytes = Vec::new();
        let mut data = relayed(client.passive(), header);
        client.expect("RETR a.bin", 150);
        data.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"hello");
        client.heard(226);
        client.expect("QUIT", 221);
        until("leaving the registry", || rig.delivery.registry().count() == 0);
    }
    assert_eq!(rig.log.with("logged out user=\"acme\" peer=198.51.100.9:4000").len(), 2);
}

#[test]
fn the_header_comes_before_tls() {
    let rig = behind_a_proxy(|_, _| {});
    let config = rig.tls_config(&TLS13);
    let wire = Wire::Tls(Box::new(shake(relayed(rig.implicit, HEADER_2), &config)));
    let mut client = Client::greeted(wire, &rig);
    client.log_in();
    assert_eq!(peers(&rig), [IpAddr::from([198, 51, 100, 9])]);
    let data = relayed(client.passive(), HEADER);
    client.expect("STOR a.bin", 150);
    let mut data = shake(data, &config);
    data.write_all(b"hello").unwrap();
    end_tls(data);
    client.heard(226);
}

#[test]
fn a_proxy_must_say_and_nobody_else_may() {
    let rig = behind_a_proxy(|_, _| {});
    // Not a word before the header, and none without it.
    for wrong in [&b"USER acme\r\nPASS secret\r\n"[..], b"PROXY TCP4 198.51.100.9\r\n", b"PROXY TCP4 198.51.100.9"] {
        let mut stream = relayed(rig.explicit, wrong);
        // The server may have been faster.
        stream.shutdown(Shutdown::Write).ok();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).ok();
        assert_eq!(said, b"", "{}", wrong.escape_ascii());
    }
    assert_eq!(rig.log.with("connection not taken").len(), 1, "more than one line");
    // A stranger's header is a command that does not exist.
    let mut liar = connect_from([127, 0, 0, 2].into(), rig.explicit);
    liar.write_all(HEADER).unwrap();
    let mut client = Client::greeted(Wire::Clear(liar), &rig);
    client.heard(500);
    client.log_in();
    assert_eq!(peers(&rig), [IpAddr::from([127, 0, 0, 2])]);
}

#[test]
fn a_silent_proxy_does_not_stay() {
    let rig = behind_a_proxy(|_, limits| limits.strangers = 2);
    // Their places are strangers' places: these go for one that speaks.
    let mut silent = [connect(rig.explicit), connect(rig.explicit)];
    let _client = Client::greeted(Wire::Clear(relayed(rig.explicit, HEADER)), &rig);
    assert!(matches!(silent[0].read(&mut [0]), Ok(0) | Err(_)));
    // And this one's time is short.
    assert!(matches!(silent[1].read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn health_checks_are_the_proxys_own() {
    let rig = behind_a_proxy(|config, _| config.active = true);
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = Client::greeted(Wire::Clear(relayed(rig.explicit, header)), &rig);
        client.log_in();
        assert_eq!(peers(&rig), [IpAddr::from([127, 0, 0, 1])]);
        // It is not told where the client is, and the proxy is nobody to connect to.
        assert!(client.expect("PORT 127,0,0,1,200,200", 501).contains("proxy"));
        client.expect("QUIT", 221);
        until("leaving the registry", || rig.delivery.registry().count() == 0);
    }
}

#[test]
fn networks_are_counted_behind_a_proxy() {
    let rig = behind_a_proxy(|_, limits| limits.connections_per_network = 1);
    let mut one = Client::greeted(Wire::Clear(relayed(rig.explicit, HEADER)), &rig);
    one.log_in();
    let mut two = relayed(rig.explicit, HEADER);
    assert!(matches!(two.read(&mut [0]), Ok(0) | Err(_)), "one too many");
    let other = relayed(rig.explicit, b"PROXY TCP4 198.51.100.10 203.0.113.5 4000 21\r\n");
    Client::greeted(Wire::Clear(other), &rig).log_in();
}

#[test]
fn a_client_of_ipv6_before_a_server_of_ipv4() {
    let rig = behind_a_proxy(|config, _| config.active = true);
    let header = b"PROXY TCP6 2001:db8::9 2001:db8::1 4000 21\r\n";
    let mut client = Client::greeted(Wire::Clear(relayed(rig.explicit, header)), &rig);
    client.log_in();
    client.expect("PASV", 425);
    assert!(client.expect("EPSV 1", 522).contains("(2)"));
    client.expect("EPSV 2", 229);
    assert!(client.expect("EPRT |1|192.0.2.1|5000|", 522).contains("(2)"));
    let mut data = relayed(client.passive(), header);
    client.expect("STOR a.bin", 150);
    data.write_all(b"hello").unwrap();
    drop(data);
    client.heard(226);
}

#[test]
fn strangers_before_the_transfer_keep_nobody_out() {
    let rig = Rig::new();
    let mut client = rig.client();
    let address = client.passive();
    // More than the port's queue holds, while the client has not said what it wants.
    let mut strangers: Vec<_> = (0..300).map(|_| connect_from([127, 0, 0, 2].into(), address)).collect();
    for stranger in &mut strangers {
        assert!(matches!(stranger.read(&mut [0]), Ok(0) | Err(_)));
    }
    let mut data = connect(address);
    client.expect("STOR a.bin", 150);
    data.write_all(b"own").unwrap();
    drop(data);
    client.heard(226);
    assert_eq!(rig.landed("a.bin").unwrap(), b"own");
    assert_eq!(rig.log.with("came to a passive port").len(), 1, "one line for all of them");
}

#[test]
fn two_sessions_race_for_one_port() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rig = Rig::with(|config, _| config.passive_ports = PortRange { first: free, last: free });
    let racers = ["a.bin", "b.bin"].map(|name| {
        let mut client = rig.client();
        std::thread::spawn(move || {
            for _ in 0..50 {
                assert!(client.upload(&format!("STOR {name}"), name.as_bytes()).starts_with("226 "));
            }
        })
    });
    for racer in racers {
        racer.join().unwrap();
    }
    for name in ["a.bin", "b.bin"] {
        assert_eq!(rig.landed(name).unwrap(), name.as_bytes());
    }
}

#[test]
fn active_mode_does_not_bounce() {
    let rig = Rig::with(|config, _| config.active = true);
    let (mut client, mut other) = (rig.client(), rig.client());
    // The server's own listeners, and another session's passive port.
    for port in [rig.explicit.port(), rig.implicit.port(), other.passive().port()] {
        assert!(client.expect(&format!("EPRT |1|127.0.0.1|{port}|"), 501).contains("of this server"));
    }
    for (line, code) in [
        ("PORT 127,0,0,1,+200,200", 501),
        ("PORT 127,0,0,1,200", 501),
        ("PORT 127,0,0,1,200,200,200", 501),
        ("PORT 127,0,0,1,0,0", 501),
        ("PORT 127,0,0,1,3,255", 501),
        ("PORT 10,0,0,1,200,200", 501),
        ("PORT 0,0,0,0,200,200", 501),
        ("PORT 255,255,255,255,200,200", 501),
        ("EPRT |1|127.0.0.1|+50000|", 501),
        ("EPRT |1|127.0.0.1|21|", 501),
        ("EPRT |1|127.0.0.1|50000", 501),
        ("EPRT |1|0x7f000001|50000|", 501),
        ("EPRT |1|2130706433|50000|", 501),
        ("EPRT |2|::1|50000|", 522),
        ("EPRT |2|::ffff:127.0.0.1|50000|", 522),
        ("EPRT |9|127.0.0.1|50000|", 522),
    ] {
        client.expect(line, code);
    }
    client.expect("STOR a.bin", 425);
    // It comes from the address that the client knows.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    client.expect(&format!("EPRT |1|127.0.0.1|{}|", listener.local_addr().unwrap().port()), 200);
    client.expect("LIST", 150);
    assert_eq!(listener.accept().unwrap().1.ip(), rig.explicit.ip());
    client.heard(226);
}

/// Sends a byte at a time, over and over, until nobody takes them any more.
fn dawdle(stream: &TcpStream, bytes: &'static [u8]) {
    let mut stream = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        for byte in bytes.iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
}

#[test]
fn a_byte_at_a_time_wins_no_time() {
    let rig = Rig::with(|_, limits| {
        limits.login_seconds = 2;
        limits.handshake_seconds = 1;
    });
    // Before the login.
    let mut stream = connect(rig.explicit);
    dawdle(&stream, b"NOOP\r\n");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok();
    assert!(String::from_utf8(said).unwrap().contains("421 No login in time"));
    // In the handshake: of a record that is far from its end.
    let mut stream = connect(rig.implicit);
    stream.write_all(b"\x16\x03\x01\x3f\xff\x01").unwrap();
    dawdle(&stream, b"\0");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok();
    assert_eq!(rig.log.with("logged out").len(), 0);
    until("the places to be free", || rig.delivery.registry().count() == 0);
}

#[test]
fn a_data_handshake_of_a_byte_at_a_time_ends() {
    let rig = Rig::with(|_, limits| limits.handshake_seconds = 1);
    let mut client = rig.tls_client(&TLS13);
    let mut data = client.begin("STOR a.bin");
    data.write_all(b"\x16\x03\x01\x3f\xff\x01").unwrap();
    dawdle(&data, b"\0");
    client.heard(425);
    client.expect("NOOP", 200);
}

#[test]
fn a_reader_that_does_not_read_is_left() {
    let rig = Rig::with(|_, limits| limits.transfer_idle_seconds = 1);
    std::fs::create_dir_all(rig.file("")).unwrap();
    // More than the buffers of both ends hold.
    std::fs::write(rig.file("large.bin"), vec![7; 64 << 20]).unwrap();
    let mut client = rig.client();
    let _data = client.begin("RETR large.bin");
    assert!(client.heard(426).contains("byte went over"));
    let mut client = rig.tls_client(&TLS13);
    let _data = client.begin_tls("RETR large.bin");
    assert!(client.heard(426).contains("byte went over"));
    client.expect("NOOP", 200);
}

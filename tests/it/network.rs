//! Behind a proxy, over IPv6, and through the doors that data connections come by.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;

use landfall_tests::{Ftp, Run, Server, Sftp, pattern, tool, wait_until};

const PASSWORD: &str = "secret-of-acme";

/// What haproxy listens on; and where it comes from.
const FRONT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const PROXY: &str = "127.0.0.4";

fn free_port() -> u16 {
    TcpListener::bind((FRONT, 0)).and_then(|free| free.local_addr()).expect("a free port").port()
}

/// The first of four ports that are free before and behind the proxy.
fn free_range() -> u16 {
    wait_until("four free ports", || {
        let first = free_port();
        let behind = IpAddr::from([127, 0, 0, 1]);
        let free = |port: u16| TcpListener::bind((FRONT, port)).is_ok() && TcpListener::bind((behind, port)).is_ok();
        (first < u16::MAX - 4 && (first..first + 4).all(free)).then_some(first)
    })
}

struct Front {
    server: Server,
    ftp: SocketAddr,
    ftps: SocketAddr,
    sftp: SocketAddr,
    _haproxy: Run,
}

/// The server behind a real haproxy, which speaks version 1 here and version 2 there.
fn behind_haproxy() -> Front {
    let first = free_range();
    let range = format!("{first}-{}", first + 3);
    let server = Server::builder()
        .set("ftp.proxy_protocol", &format!("[\"{PROXY}\"]"))
        .set("sftp.proxy_protocol", &format!("\"{PROXY}/32\""))
        .set("ftp.passive_ports", &format!("\"{range}\""))
        .start();
    server.add_user("acme", PASSWORD);
    let [ftp, ftps, sftp] = [free_port(), free_port(), free_port()].map(|port| SocketAddr::new(FRONT, port));
    let config = format!(
        "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
         listen ftp\n  bind {ftp}\n  server one {} source {PROXY} send-proxy\n\
         listen data\n  bind {FRONT}:{range}\n  server one 127.0.0.1 source {PROXY} send-proxy-v2\n\
         listen ftps\n  bind {ftps}\n  server one {} source {PROXY} send-proxy-v2 proxy-v2-options crc32c,unique-id\n\
         listen sftp\n  bind {sftp}\n  server one {} source {PROXY} send-proxy-v2 proxy-v2-options crc32c\n",
        server.address("ftp"),
        server.address("ftps"),
        server.address("sftp"),
    );
    let path = server.directory().path().join("haproxy.cfg");
    std::fs::write(&path, config).unwrap();
    let haproxy = Run::start(Command::new("haproxy").arg("-db").arg("-f").arg(&path));
    wait_until("haproxy", || Ftp::try_connect(ftp).filter(|client| client.greeting().code == 220));
    Front { server, ftp, ftps, sftp, _haproxy: haproxy }
}

/// Where the sessions come from, as an operator sees it.
fn peers(server: &Server) -> String {
    server.cli(&["sessions", "--json"]).ok().stdout
}

#[test]
fn everything_works_behind_haproxy() {
    let front = behind_haproxy();
    let bytes = pattern(300_000);
    let mut client = Ftp::connect(front.ftp);
    client.login("acme", PASSWORD).expect(230);
    assert!(client.command("PASV").expect(227).text.contains("(127,0,0,2,"), "PASV tells where the proxy is");
    // Data by the proxy, and data past it.
    client.upload("STOR a.jpg", &bytes).expect(226);
    let mut data = client.open_data_at(front.server.address("ftp").ip());
    client.command("STOR b.jpg").expect(150);
    data.write(&bytes);
    data.finish();
    client.reply().expect(226);
    let (came, reply) = client.download("RETR b.jpg");
    reply.expect(226);
    assert!(came == bytes);

    let mut tls = Ftp::connect_implicit(front.ftps);
    tls.login("acme", PASSWORD).expect(230);
    tls.protect();
    tls.upload("STOR c.jpg", &bytes).expect(226);
    let sftp = Sftp::connect(front.sftp, "acme", PASSWORD);
    sftp.put("d.jpg", &bytes).unwrap();

    let peers = peers(&front.server);
    assert_eq!(peers.matches("127.0.0.1:").count(), 2, "{peers}");
    // This client binds to the address that it goes to.
    assert_eq!(peers.matches("127.0.0.2:").count(), 1, "{peers}");
    assert!(!peers.contains(PROXY), "{peers}");
    let landed: Vec<String> = front.server.landed().into_iter().map(|row| row.path).collect();
    assert_eq!(landed, ["/a.jpg", "/b.jpg", "/c.jpg", "/d.jpg"]);
}

#[test]
fn curl_uploads_through_haproxy() {
    let front = behind_haproxy();
    let file = front.server.directory().path().join("a.jpg");
    std::fs::write(&file, pattern(100_000)).unwrap();
    let user = format!("acme:{PASSWORD}");
    for (name, how) in [("a.jpg", "--ftp-pasv"), ("b.jpg", "--disable-epsv"), ("c.jpg", "--ssl-reqd")] {
        let url = format!("ftp://{}/{name}", front.ftp);
        tool("curl", &["-sSk", how, "-u", &user, "-T", file.to_str().unwrap(), &url]).ok();
    }
    assert_eq!(front.server.landed().len(), 3);
}

#[test]
fn people_are_judged_by_the_address_that_the_proxy_tells() {
    let server = Server::builder()
        .set("ftp.proxy_protocol", "[\"127.0.0.0/8\"]")
        .tables("[[users]]\nname = \"inside\"\npassword = \"secret-of-inside\"\nnetworks = [\"192.0.2.0/24\"]\n")
        .start();
    server.add_user("acme", PASSWORD);
    let ftp = server.address("ftp");
    let from = |last: u8| {
        let header = format!("PROXY TCP4 192.0.2.{last} 203.0.113.1 4000 21\r\n");
        Ftp::connect_with(header.as_bytes(), ftp)
    };
    from(1).login("inside", "secret-of-inside").expect(230);
    let mut outside = Ftp::connect_with(b"PROXY TCP4 198.51.100.1 203.0.113.1 4000 21\r\n", ftp);
    outside.login("inside", "secret-of-inside").expect(530);
    // Guesses from one client throttle that one, and nobody else behind the same proxy.
    let guesses: Vec<_> = (0..12)
        .map(|_| {
            let mut guesser = from(66);
            std::thread::spawn(move || guesser.login("acme", "guess").code)
        })
        .collect();
    for guess in guesses {
        assert_ne!(guess.join().unwrap(), 230);
    }
    assert_ne!(from(66).login("acme", PASSWORD).code, 230, "the guesser is not throttled");
    from(67).login("acme", PASSWORD).expect(230);
}

#[test]
fn both_families_on_one_listener() {
    let server = Server::builder().set("ftp.listen", "[\"[::]:0\"]").set("ftp.active", "true").start();
    server.add_user("acme", PASSWORD);
    let port = server.address("ftp").port();
    let bytes = pattern(100_000);

    let here = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
    let mut six = Ftp::connect(here);
    six.login("acme", PASSWORD).expect(230);
    six.upload("STOR six.jpg", &bytes).expect(226);
    assert!(six.command("PASV").expect(425).text.contains("EPSV"));
    six.command("EPSV 2").expect(229);
    assert!(six.command("EPSV 1").expect(522).text.contains("(2)"));
    six.command("EPSV 3").expect(522);
    assert!(six.command("EPRT |1|127.0.0.1|50000|").expect(522).text.contains("(2)"));
    six.command("EPRT |2|::2|50000|").expect(501);
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    six.command(&format!("EPRT |2|::1|{}|", listener.local_addr().unwrap().port())).expect(200);
    six.command("STOR active.jpg").expect(150);
    let (mut data, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), Ipv6Addr::LOCALHOST);
    std::io::Write::write_all(&mut data, &bytes).unwrap();
    drop(data);
    six.reply().expect(226);

    // IPv4 by the same socket is IPv4 in every respect.
    let mut four = Ftp::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    four.login("acme", PASSWORD).expect(230);
    four.upload("STOR four.jpg", &bytes).expect(226);
    assert!(four.command("PASV").expect(227).text.contains("(127,0,0,1,"));
    four.command("EPSV 1").expect(229);
    assert!(four.command("EPSV 2").expect(522).text.contains("(1)"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
    four.command(&format!("PORT 127,0,0,1,{high},{low}")).expect(200);
    four.command("RETR active.jpg").expect(150);
    let mut came = Vec::new();
    std::io::Read::read_to_end(&mut listener.accept().unwrap().0, &mut came).unwrap();
    assert!(came == bytes);
    four.reply().expect(226);
    four.command("EPSV ALL").expect(200);
    for line in ["PASV", "PORT 127,0,0,1,200,200", "EPRT |1|127.0.0.1|50000|"] {
        four.command(line).expect(503);
    }
    four.upload("STOR all.jpg", &bytes).expect(226);
    assert_eq!(server.landed().len(), 4);
}

#[test]
fn active_mode_reaches_none_of_the_servers_own_doors() {
    let server = Server::builder().set("ftp.active", "true").start();
    server.add_user("acme", PASSWORD);
    let mut client = Ftp::connect(server.address("ftp"));
    client.login("acme", PASSWORD).expect(230);
    for protocol in ["ftp", "ftps", "sftp", "http"] {
        let [high, low] = server.address(protocol).port().to_be_bytes();
        client.command(&format!("PORT 127,0,0,1,{high},{low}")).expect(501);
    }
}

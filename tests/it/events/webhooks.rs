//! Webhooks: order, repetition, failures, what may be reached, and what is never told.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use landfall_tests::{Server, repository, wait_until};
use rustix::process::Signal;

use super::*;

/// A child that is killed with its test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_example_receiver_gets_each_event_once_and_in_order() {
    let text = |name: &str| std::fs::read_to_string(repository().join(name)).unwrap();
    assert!(text("README.md").contains(text("tests/clients/webhook_receiver.py").trim()), "README has another one");
    let port = free_port();
    let place = tempfile::tempdir().unwrap();
    let printed = place.path().join("printed");
    let script = repository().join("tests/clients/webhook_receiver.py");
    let mut python = Command::new("python3");
    python.arg(script).args([&port.to_string(), SECRET]).stderr(Stdio::null());
    let _receiver = Guard(python.stdout(std::fs::File::create(&printed).unwrap()).spawn().unwrap());
    let table = format!(
        "[[sinks]]\nname = \"shop\"\nurl = \"http://127.0.0.1:{port}/\"\nsecret = \"{SECRET}\"\nallow_private_networks = true\n"
    );
    let server = start(Server::builder().tables(&table));
    land(&server, 12);
    let all = events(&server);
    assert_eq!(all.len(), 12);
    let got = || lines(&std::fs::read_to_string(&printed).unwrap());
    wait_until("the example to print all", || (got().len() >= all.len()).then_some(()));
    // The same once more: it drops what it knows.
    server.cli(&["events", "replay", "--since", "1h"]).ok();
    wait_for_log(&server, "replay done");
    for user in USERS {
        assert_eq!(of_user(&got(), user), of_user(&all, user), "{user}");
    }
    assert_eq!(got().len(), 12);
    server.cli(&["events", "test", "shop"]).ok();
}

/// Uploads, and seconds of silence, in the test of a receiver that fails; `tests/torture/events` for more.
fn torture() -> (usize, Duration) {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    (number("TORTURE_UPLOADS", 16), Duration::from_secs(number("TORTURE_DOWN_SECONDS", 2) as u64))
}

/// Three turns in ten, as if thrown: a pattern would meet the same lane again and again, and send its pauses to the hours.
fn fails(turn: usize) -> bool {
    let mut mixed = (turn as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (mixed >> 32) % 10 < 3
}

#[test]
fn a_receiver_that_fails_often_and_goes_away_gets_all_in_order() {
    let (uploads, down) = torture();
    let turn = AtomicUsize::new(0);
    let mut receiver =
        Receiver::start(move |_| Some(if fails(turn.fetch_add(1, Ordering::Relaxed)) { 500 } else { 204 }));
    let server = start(Server::builder().tables(&hook(&receiver, "")));
    let began = Instant::now();
    land(&server, uploads / 2);
    receiver.go_down();
    let gone = Instant::now();
    land(&server, uploads - uploads / 2);
    wait_until("the receiver's return", || (gone.elapsed() >= down).then_some(()));
    receiver.come_up();
    let all = events(&server);
    let patience = Instant::now() + Duration::from_mins(30);
    while receiver.taken().len() < all.len() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    expect_all(&server, &receiver);
    let (tried, taken) =
        (receiver.deliveries().len(), receiver.deliveries().iter().filter(|one| one.is_taken()).count());
    eprintln!(
        "{uploads} uploads, down for {down:?}: {} events, {tried} requests answered, {} refused, {} taken twice, {:?} in all",
        all.len(),
        tried - taken,
        taken - all.len(),
        began.elapsed()
    );
    assert!(taken < tried, "it never failed");
}

#[test]
fn killed_between_commit_and_delivery_nothing_is_lost() {
    let receiver = Receiver::start(|_| Some(503));
    let mut server = start(Server::builder().tables(&hook(&receiver, "")));
    land(&server, 6);
    wait_until("an attempt", || (!receiver.deliveries().is_empty()).then_some(()));
    server.kill();
    receiver.answer(|_| Some(200));
    server.start_again();
    expect_all(&server, &receiver);
    // And once more while a request is under way.
    receiver.answer(|_| None);
    land(&server, 4);
    server.kill();
    receiver.answer(|_| Some(200));
    server.start_again();
    expect_all(&server, &receiver);
    assert_eq!(receiver.taken().len(), 10);
}

#[test]
fn one_supplier_that_fails_holds_up_no_other() {
    let receiver = Receiver::start(|event| Some(if event["data"]["user"] == "acme" { 500 } else { 200 }));
    let server = start(Server::builder().tables(&hook(&receiver, "")));
    land(&server, 10);
    wait_until("beta's events", || (of_user(&receiver.taken(), "beta").len() == 5).then_some(()));
    assert_eq!(of_user(&receiver.taken(), "acme").len(), 0);
    receiver.answer(|_| Some(200));
    expect_all(&server, &receiver);
}

#[test]
fn refusals_and_suspensions_are_told_in_the_words_of_the_reply() {
    let receiver = Receiver::willing();
    let server = start(Server::builder().tables(&hook(&receiver, "")));
    server.cli(&["user", "set", "acme", "--max-file-bytes", "10"]).ok();
    let mut acme = ftp(&server, "acme");
    let reply = acme.upload("STOR large.jpg", b"more than ten bytes");
    let beta = Sftp::connect(server.address("sftp"), "beta", PASSWORD);
    let mut file = beta.create("half.jpg").unwrap();
    file.write(b"half of it").unwrap();
    beta.cut();
    wait_until("both", || (receiver.taken().len() == 2).then_some(()));
    let taken = receiver.taken();
    let refused = taken.iter().find(|event| event["type"] == "landfall.upload.refused").unwrap();
    let sentence = refused["data"]["reason"].as_str().unwrap();
    assert!(reply.text.contains(sentence), "{sentence} is not in {reply:?}");
    assert_eq!(refused["subject"], "/large.jpg");
    let suspended = taken.iter().find(|event| event["type"] == "landfall.upload.suspended").unwrap();
    assert_eq!((suspended["subject"].as_str(), suspended["data"]["size"].as_u64()), (Some("/half.jpg"), Some(10)));
}

#[test]
fn a_sink_hears_what_it_asked_for() {
    let receiver = Receiver::willing();
    let server = start(Server::builder().tables(&hook(&receiver, "types = [\"landed\"]\nusers = [\"beta\"]")));
    server.cli(&["user", "set", "beta", "--max-file-bytes", "8"]).ok();
    land(&server, 4);
    let beta = Sftp::connect(server.address("sftp"), "beta", PASSWORD);
    beta.put("large.jpg", b"more than eight bytes").unwrap_err();
    beta.put("last.jpg", b"small").unwrap();
    wait_until("the last one", || (receiver.taken().len() == 3).then_some(()));
    assert_eq!(
        ids(&receiver.taken()),
        ids(&of_user(&events(&server), "beta")
            .into_iter()
            .filter(|event| event["type"] == "landfall.upload.landed")
            .collect::<Vec<_>>())
    );
}

#[test]
fn private_networks_are_refused_after_the_look_up() {
    let receiver = Receiver::willing();
    let table = format!(
        "[[sinks]]\nname = \"shop\"\nurl = \"http://localhost:{}/\"\nsecret = \"{SECRET}\"\n",
        receiver.address.port()
    );
    let server = start(Server::builder().tables(&table));
    land(&server, 1);
    wait_for_log(&server, "network refused: localhost is ");
    let test = server.cli(&["events", "test", "shop"]);
    assert_eq!(test.status.code(), Some(1));
    assert!(test.stdout.contains("network refused"), "{test:?}");
    assert!(receiver.deliveries().is_empty());
    // Allowed and reloaded, it gets what waited.
    let place = server.directory().path().join("landfall.toml");
    let allowed = std::fs::read_to_string(&place).unwrap() + "allow_private_networks = true\n";
    std::fs::write(&place, allowed).unwrap();
    server.signal(Signal::HUP);
    expect_all(&server, &receiver);
}

#[test]
fn a_test_says_what_is_wrong() {
    let receiver = Receiver::start(|_| Some(410));
    let silent = Receiver::start(|_| None);
    // Answers before anybody has said anything, and not in TLS.
    let rude = TcpListener::bind("127.0.0.1:0").unwrap();
    let rude_port = rude.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in rude.incoming().map_while(Result::ok) {
            drop((&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    let sink = |name: &str, url: &str, seconds: u32| {
        let url = format!("url = \"{url}\"\nsecret = \"{SECRET}\"\nallow_private_networks = true\n");
        format!("[[sinks]]\nname = \"{name}\"\n{url}timeout_seconds = {seconds}\n")
    };
    let tables = [
        sink("gone", &format!("http://{}/", receiver.address), 60),
        sink("clear", &format!("https://127.0.0.1:{rude_port}/"), 60),
        sink("nowhere", "https://landfall.invalid/", 60),
        sink("closed", &format!("http://127.0.0.1:{}/", free_port()), 60),
        sink("silent", &format!("http://{}/", silent.address), 1),
    ];
    let server = Server::builder().tables(&tables.concat()).prepare(std::sync::Arc::new(tempfile::tempdir().unwrap()));
    for (name, part) in [
        ("gone", "status 410"),
        ("clear", "TLS with 127.0.0.1"),
        ("nowhere", "DNS: landfall.invalid"),
        ("closed", "connection to 127.0.0.1"),
        ("silent", "time-out: no answer within 1 s"),
    ] {
        let outcome = server.cli(&["events", "test", name]);
        assert!(outcome.stdout.contains(part) && outcome.status.code() == Some(1), "{name}: {outcome:?}");
        let json = server.cli(&["events", "test", name, "--json"]);
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        assert!(json["acknowledged"] == false && json["error"].as_str().unwrap().contains(part), "{json}");
    }
    assert!(server.cli(&["events", "test", "other"]).stderr.contains("there is no sink other; there are gone, clear"));
    receiver.answer(|_| Some(202));
    let outcome = server.cli(&["events", "test", "gone"]).ok();
    assert!(outcome.stdout.contains("acknowledged") && outcome.stdout.contains("status 202"), "{outcome:?}");
    assert_eq!(receiver.taken().last().unwrap()["type"], "landfall.test");
}

#[test]
fn secrets_are_told_to_nobody() {
    const CANARY: &str = "Y2FuYXJ5LWluLXNlY3JldC1jYW5hcnktaW4tc2VjcmV0";
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("secret");
    std::fs::write(&file, format!("whsec_{CANARY}\n")).unwrap();
    let sink = |name: &str, url: String, secret: String| {
        format!("[[sinks]]\nname = \"{name}\"\nurl = \"{url}\"\n{secret}\nallow_private_networks = true\n")
    };
    let closed = || format!("http://127.0.0.1:{}/canary-in-path?token=canary-in-url", free_port());
    let tables = sink("a", closed(), format!("secret = \"whsec_{CANARY}\""))
        + &sink("b", closed(), format!("secret_file = '{}'", file.display()));
    let server = start(Server::builder().tables(&tables));
    land(&server, 2);
    wait_for_log(&server, "event not delivered");
    server.signal(Signal::HUP);
    wait_for_log(&server, "reloaded");
    let mut said = vec![server.log()];
    for arguments in [
        &["events", "test", "a"][..],
        &["events", "test", "b", "--json"],
        &["events", "list", "--json"],
        &["events", "list", "--parked"],
        &["events", "replay", "--since", "1h"],
    ] {
        said.push(server.cli(arguments).text());
    }
    for text in &said {
        assert!(!text.contains(CANARY) && !text.contains("canary-in"), "{text}");
    }
    for arguments in [&["config", "show"][..], &["config", "show", "--json"], &["config", "check"]] {
        assert!(!server.cli(arguments).text().contains(CANARY));
    }
    let wrong = server.cli(&["config", "show"]).stdout;
    assert!(wrong.contains("(secret)"), "{wrong}");
}

/// HTTPS with the certificate of the server itself, which is as good as any.
const OVER_TLS: &str = r#"
import ssl, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["content-length"])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

#[test]
fn authorities_are_those_that_were_named() {
    let (place, port) = (tempfile::tempdir().unwrap(), free_port());
    let (printed, ca) = (place.path().join("printed"), place.path().join("ca.pem"));
    let sink = |name: &str, more: &str| {
        let url =
            format!("url = \"https://localhost:{port}/\"\nsecret = \"{SECRET}\"\nallow_private_networks = true\n");
        format!("[[sinks]]\nname = \"{name}\"\n{url}{more}\n")
    };
    let tables = sink("trusting", &format!("ca = '{}'", ca.display())) + &sink("strict", "types = [\"refused\"]");
    let server = start(Server::builder().tables(&tables));
    wait_for_log(&server, "the sink is told nothing until this is mended");
    land(&server, 2);
    wait_for_log(&server, "event not delivered");

    let tls = server.data().join("tls");
    let mut python = Command::new("python3");
    python.args(["-c", OVER_TLS, &port.to_string()]).args([tls.join("cert.pem"), tls.join("key.pem")]);
    let _receiver =
        Guard(python.stderr(Stdio::null()).stdout(std::fs::File::create(&printed).unwrap()).spawn().unwrap());
    wait_until("the receiver", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    std::fs::copy(tls.join("cert.pem"), &ca).unwrap();
    server.signal(Signal::HUP);
    let got = || lines(&std::fs::read_to_string(&printed).unwrap());
    wait_until("both events", || (got().len() == 2).then_some(()));
    let strict = server.cli(&["events", "test", "strict"]);
    assert!(strict.stdout.contains("TLS with localhost") && strict.status.code() == Some(1), "{strict:?}");
}

//! Events on their way to integrators: the real server, real receivers, failures of every kind.

mod exec;
mod receiver;
mod replays;
mod webhooks;

use landfall_tests::{Builder, Ftp, Server, Sftp, wait_until};
use serde_json::Value;

use self::receiver::{Receiver, SECRET};

const PASSWORD: &str = "secret-of-acme";
const USERS: [&str; 2] = ["acme", "beta"];

/// A table that makes that receiver a sink.
fn hook(receiver: &Receiver, more: &str) -> String {
    let url = format!("http://{}/hook?token=canary-in-url", receiver.address);
    format!(
        "[[sinks]]\nname = \"shop\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nallow_private_networks = true\n{more}\n"
    )
}

fn start(builder: Builder) -> Server {
    let server = builder.environment("LANDFALL_LOG", "landfall=debug").start();
    for user in USERS {
        server.add_user(user, PASSWORD);
    }
    server
}

fn ftp(server: &Server, user: &str) -> Ftp {
    Ftp::connect_as(server.address("ftp"), user, PASSWORD)
}

/// Lands so many files, of both suppliers in turn, over FTP and SFTP.
fn land(server: &Server, files: usize) {
    let (mut acme, beta) = (ftp(server, "acme"), Sftp::connect(server.address("sftp"), "beta", PASSWORD));
    for number in 0..files {
        let (name, bytes) = (format!("{number}.jpg"), format!("image {number}"));
        match number % 2 {
            0 => drop(acme.upload(&format!("STOR {name}"), bytes.as_bytes()).expect(226)),
            _ => beta.put(&name, bytes.as_bytes()).unwrap(),
        }
    }
}

/// All events there are, as they are told.
fn events(server: &Server) -> Vec<Value> {
    lines(&server.cli(&["events", "list", "--json", "--limit", "10000"]).ok().stdout)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_user(events: &[Value], user: &str) -> Vec<Value> {
    events.iter().filter(|event| event["data"]["user"] == user).cloned().collect()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// Waits until the receiver has taken all that there is, and compares: nothing missing, nothing else, in order.
#[track_caller]
fn expect_all(server: &Server, receiver: &Receiver) {
    let all = events(server);
    wait_until("all events to be taken", || (receiver.taken().len() >= all.len()).then_some(()));
    for user in USERS {
        assert_eq!(of_user(&receiver.taken(), user), of_user(&all, user), "{user}");
    }
    assert_eq!(receiver.taken().len(), all.len());
}

#[track_caller]
fn wait_for_log(server: &Server, part: &str) {
    wait_until(part, || server.log().contains(part).then_some(()));
}

//! The whole engine over a socket, with a client that speaks SSH.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BufMut;
use landfall_auth::{Cost, Hasher, Login, NewUser, Secret, Throttle, ThrottleLimits, Users, WorkLimits};
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey, PrivateKeyWithHashAlg};
use russh::server::Auth;
use russh::{ChannelMsg, Disconnect};
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::rig::{Ground, noise, request};
use crate::config::Limits;
use crate::lifecycle::Lifecycle;
use crate::listen::{self, Gate};
use crate::sftp::login::{Door, Rules};
use crate::sftp::{Engine, packets};

const PASSWORD: &str = "correct horse";
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    ground: Ground,
    address: SocketAddr,
    lifecycle: Lifecycle,
    key: PrivateKey,
    users: Users,
    login: Login,
    tasks: TaskTracker,
}

struct Anyone;

impl client::Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &russh::keys::PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

fn fresh_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap()
}

impl Server {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let ground = Ground::new().await;
        let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
        let hasher = Hasher::new(cost, WorkLimits::default()).unwrap();
        let users = Users::open(ground.database.clone(), landfall_auth::Grant::default(), hasher);
        let key = fresh_key();
        let line = key.public_key().to_openssh().unwrap();
        let new = NewUser {
            name: "acme".to_owned(),
            password: Some(Secret::new(PASSWORD)),
            keys: vec![line],
            ..NewUser::default()
        };
        users.add(new).await.unwrap();
        let lifecycle = Lifecycle::default();
        let ecdsa = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
        let login = Login::new(users.clone(), Throttle::new(ThrottleLimits::default()), SystemTime::now);
        let engine = Arc::new(Engine {
            config: crate::config::Sftp::default(),
            limits: limits.clone(),
            login: login.clone(),
            delivery: ground.delivery.clone(),
            host_keys: vec![fresh_key(), PrivateKey::random(&mut russh::keys::key::safe_rng(), ecdsa).unwrap()],
            lifecycle: lifecycle.clone(),
        });
        let listener = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move |connection| engine.clone().serve(connection);
        let tasks = TaskTracker::new();
        tokio::spawn(listen::run(listener, Gate::new(limits), lifecycle.clone(), tasks.clone(), |_| false, serve));
        Self { ground, address, lifecycle, key, users, login, tasks }
    }

    async fn connect(&self) -> Handle<Anyone> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        client::connect_stream(Arc::new(client::Config::default()), stream, Anyone).await.unwrap()
    }

    async fn logged_in(&self) -> Handle<Anyone> {
        let mut client = self.connect().await;
        assert!(client.authenticate_password("acme", PASSWORD).await.unwrap().success());
        client
    }

    async fn ended(&self) {
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("the session did not end");
    }
}

async fn sftp(client: &Handle<Anyone>) -> RawSftpSession {
    let channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let session = RawSftpSession::new(channel.into_stream());
    session.init().await.unwrap();
    session
}

async fn create(session: &RawSftpSession, name: &str) -> String {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    session.open(name, flags, FileAttributes::empty()).await.unwrap().handle
}

async fn put(session: &RawSftpSession, name: &str, data: &[u8]) {
    let handle = create(session, name).await;
    for (index, piece) in data.chunks(32_768).enumerate() {
        session.write(handle.as_str(), index as u64 * 32_768, piece.to_vec()).await.unwrap();
    }
    session.close(handle).await.unwrap();
}

/// Waits until the server has hung up.
async fn hung_up(client: Handle<Anyone>) {
    let _ = tokio::time::timeout(PATIENCE, client).await.expect("the server did not hang up");
}

#[tokio::test]
async fn a_password_opens_and_files_go_both_ways() {
    let server = Server::new().await;
    let client = server.logged_in().await;
    let session = sftp(&client).await;
    let data = noise(300_000, 11);
    put(&session, "a.jpg", &data).await;
    assert_eq!(std::fs::read(server.ground.on_disk("a.jpg")).unwrap(), data);
    let handle = session.open("a.jpg", OpenFlags::READ, FileAttributes::empty()).await.unwrap().handle;
    let mut read = Vec::new();
    while read.len() < data.len() {
        read.extend(session.read(handle.as_str(), read.len() as u64, 100_000).await.unwrap().data);
    }
    assert_eq!(read, data);
    client.disconnect(Disconnect::ByApplication, "", "").await.unwrap();
    server.ended_after_stop().await;
}

impl Server {
    async fn ended_after_stop(&self) {
        self.lifecycle.drain();
        self.ended().await;
    }
}

#[tokio::test]
async fn a_key_opens_if_it_is_on_file() {
    let server = Server::new().await;
    let mut client = server.connect().await;
    let strange = PrivateKeyWithHashAlg::new(Arc::new(fresh_key()), None);
    assert!(!client.authenticate_publickey("acme", strange).await.unwrap().success());
    let known = PrivateKeyWithHashAlg::new(Arc::new(server.key.clone()), None);
    // Not for somebody else, whatever was asked before.
    assert!(!client.authenticate_publickey("beta", known.clone()).await.unwrap().success());
    assert!(client.authenticate_publickey("acme", known).await.unwrap().success());
    put(&sftp(&client).await, "by-key", b"x").await;
    assert!(server.ground.on_disk("by-key").exists());
}

#[tokio::test]
async fn keyboard_interactive_asks_for_the_password() {
    let server = Server::new().await;
    let mut client = server.connect().await;
    let asked = client.authenticate_keyboard_interactive_start("acme", None).await.unwrap();
    let KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } = asked else { panic!("{asked:?}") };
    assert_eq!((prompts.len(), prompts[0].echo), (1, false));
    let wrong = client.authenticate_keyboard_interactive_respond(vec!["wrong".to_owned()]).await.unwrap();
    assert!(matches!(wrong, KeyboardInteractiveAuthResponse::Failure { .. }));
    client.authenticate_keyboard_interactive_start("acme", None).await.unwrap();
    let right = client.authenticate_keyboard_interactive_respond(vec![PASSWORD.to_owned()]).await.unwrap();
    assert!(matches!(right, KeyboardInteractiveAuthResponse::Success));
}

/// The door itself, without SSH in front of it.
impl Server {
    fn door(&self) -> (Door, oneshot::Receiver<crate::delivery::Session>) {
        let (admitted, admission) = oneshot::channel();
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let (login, delivery) = (self.login.clone(), self.ground.delivery.clone());
        let rules = Rules { max_tries: 3, ..Rules::default() };
        (Door::new(login, delivery, self.lifecycle.clone(), peer, rules, admitted), admission)
    }
}

#[tokio::test]
async fn an_answer_for_another_user_is_no_answer() {
    let server = Server::new().await;
    let (mut door, _admission) = server.door();
    let answer = Some(vec![PASSWORD.as_bytes().to_vec()]);
    assert!(matches!(door.interactive("beta", None).await, Ok(Auth::Partial { .. })));
    assert!(matches!(door.interactive("acme", answer.clone()).await, Ok(Auth::Reject { .. })));
    // Nor is one that nobody asked for.
    assert!(matches!(door.interactive("acme", answer.clone()).await, Ok(Auth::Reject { .. })));
    assert!(matches!(door.interactive("acme", None).await, Ok(Auth::Partial { .. })));
    assert!(matches!(door.interactive("acme", answer).await, Ok(Auth::Accept)));
}

#[tokio::test]
async fn a_password_left_without_its_code_is_a_try() {
    let shown = || Some(vec![b"wrong".to_vec()]);
    let abandonments = [None, Some(vec![]), Some(vec![vec![0xff]]), Some(vec![vec![], vec![]])];
    for abandoned in abandonments {
        // A server each: the throttle counts these guesses too.
        let server = Server::new().await;
        let new = NewUser { name: "beta".to_owned(), totp: landfall_auth::Totp::generate(), ..NewUser::default() };
        server.users.add(new).await.unwrap();
        let (mut door, _admission) = server.door();
        for _ in 0..2 {
            assert!(matches!(door.interactive("acme", None).await, Ok(Auth::Partial { .. })));
            assert!(matches!(door.interactive("acme", shown()).await, Ok(Auth::Partial { .. })));
            assert!(door.interactive("acme", abandoned.clone()).await.is_ok());
            assert!(!door.is_shut());
        }
        // The third time, for another name, and with what would have let somebody in.
        assert!(matches!(door.interactive("beta", None).await, Ok(Auth::Partial { .. })));
        assert!(matches!(door.interactive("beta", shown()).await, Ok(Auth::Partial { .. })));
        assert!(door.password("acme", PASSWORD).await.is_err(), "{abandoned:?}");
        assert!(door.is_shut());
    }
}

#[tokio::test]
async fn questions_and_offers_are_counted() {
    let server = Server::new().await;
    let (mut door, _admission) = server.door();
    let mut asked = 0;
    while door.interactive("acme", None).await.is_ok() {
        asked += 1;
        assert!(asked < 100, "asked for ever");
    }
    let (mut door, _admission) = server.door();
    let known = server.key.public_key();
    assert_eq!(door.offer("acme", known, &Algorithm::Ed25519).await.ok(), Some(Auth::Accept));
    for _ in 0..20 {
        door.offer("acme", fresh_key().public_key(), &Algorithm::Ed25519).await.unwrap();
    }
    assert!(matches!(door.offer("acme", known, &Algorithm::Ed25519).await, Ok(Auth::Reject { .. })));
    assert!(matches!(door.key("acme", known, &Algorithm::Ed25519).await, Ok(Auth::Reject { .. })));
    // SHA-1 signatures are none.
    let (mut door, _admission) = server.door();
    let old = Algorithm::Rsa { hash: None };
    assert!(matches!(door.key("acme", known, &old).await, Ok(Auth::Reject { .. })));
    assert!(matches!(door.key("acme", known, &Algorithm::Ed25519).await, Ok(Auth::Accept)));
}

#[tokio::test]
async fn tries_are_counted_over_the_connection() {
    let server = Server::new().await;
    let mut client = server.connect().await;
    for user in ["acme", "beta"] {
        let AuthResult::Failure { remaining_methods, .. } = client.authenticate_password(user, "wrong").await.unwrap()
        else {
            panic!("let in")
        };
        assert!(!remaining_methods.is_empty());
    }
    let third = client.authenticate_password("acme", "wrong").await.unwrap();
    assert!(matches!(third, AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty()));
    // Even the right password comes too late.
    let fourth = client.authenticate_password("acme", PASSWORD).await;
    assert!(!fourth.is_ok_and(|result| result.success()));
    hung_up(client).await;
}

#[tokio::test]
async fn floods_before_login_are_cut_off() {
    let server = Server::new().await;
    let mut client = server.connect().await;
    let mut offered = 0;
    loop {
        let strange = PrivateKeyWithHashAlg::new(Arc::new(fresh_key()), None);
        match client.authenticate_publickey("acme", strange).await {
            Ok(result) => assert!(!result.success()),
            Err(_) => break,
        }
        offered += 1;
        assert!(offered < 100, "offered for ever");
    }
}

#[tokio::test]
async fn nothing_but_sftp_is_offered() {
    let server = Server::new().await;
    let client = server.logged_in().await;
    let refused = |mut channel: russh::Channel<client::Msg>| async move {
        loop {
            match tokio::time::timeout(PATIENCE, channel.wait()).await.expect("no answer") {
                Some(ChannelMsg::Failure) => return,
                Some(ChannelMsg::Success) | None => panic!("not refused"),
                Some(_) => {}
            }
        }
    };
    let channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "id").await.unwrap();
    refused(channel).await;
    let channel = client.channel_open_session().await.unwrap();
    channel.request_shell(true).await.unwrap();
    refused(channel).await;
    let channel = client.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    refused(channel).await;
    let channel = client.channel_open_session().await.unwrap();
    channel.set_env(true, "LD_PRELOAD", "x").await.unwrap();
    refused(channel).await;
    let channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "netconf").await.unwrap();
    refused(channel).await;
    let channel = client.channel_open_session().await.unwrap();
    channel.agent_forward(true).await.unwrap();
    refused(channel).await;
    assert!(client.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await.is_err());
    assert!(client.channel_open_direct_streamlocal("/run/x").await.is_err());
    assert!(client.tcpip_forward("127.0.0.1", 0).await.is_err());
    // A channel on which much else was asked still does its work.
    let channel = client.channel_open_session().await.unwrap();
    for _ in 0..200 {
        channel.set_env(false, "A", "b").await.unwrap();
    }
    channel.request_subsystem(true, "sftp").await.unwrap();
    let session = RawSftpSession::new(channel.into_stream());
    session.init().await.unwrap();
}

#[tokio::test]
async fn eight_channels_and_no_more() {
    let server = Server::new().await;
    let client = server.logged_in().await;
    let mut sessions = Vec::new();
    for number in 0..8 {
        let session = sftp(&client).await;
        put(&session, &format!("{number}"), b"x").await;
        sessions.push(session);
    }
    assert!(client.channel_open_session().await.is_err());
    sessions.pop().unwrap().close_session().unwrap();
    tokio::time::timeout(PATIENCE, async {
        while client.channel_open_session().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the place did not come back");
}

#[tokio::test]
async fn a_lost_connection_suspends() {
    let server = Server::new().await;
    let client = server.logged_in().await;
    let session = sftp(&client).await;
    let handle = create(&session, "a").await;
    session.write(handle.as_str(), 0, vec![7; 30_000]).await.unwrap();
    drop(session);
    drop(client);
    tokio::time::timeout(PATIENCE, async {
        while server.ground.delivery.registry().count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the session did not end");
    assert!(!server.ground.on_disk("a").exists());
    let client = server.logged_in().await;
    let session = sftp(&client).await;
    assert_eq!(session.stat("a").await.unwrap().attrs.size, Some(30_000));
}

#[tokio::test]
async fn a_huge_packet_ends_its_channel_only() {
    let server = Server::new().await;
    let client = server.logged_in().await;
    let good = sftp(&client).await;
    let mut bad = client.channel_open_session().await.unwrap();
    bad.request_subsystem(true, "sftp").await.unwrap();
    let mut bytes = request(1, 3, |_| {}).to_vec();
    bytes.put_u32(u32::MAX);
    bytes.put_u8(3);
    bad.data(&bytes[..]).await.unwrap();
    let over = async {
        while let Some(message) = bad.wait().await {
            if matches!(message, ChannelMsg::Close) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, over).await.expect("the channel goes on");
    put(&good, "a", b"x").await;
}

#[tokio::test]
async fn a_kick_ends_the_connection() {
    let server = Server::new().await;
    let client = server.logged_in().await;
    let session = sftp(&client).await;
    create(&session, "a").await;
    let registry = server.ground.delivery.registry();
    let info = registry.list();
    assert_eq!((info.len(), info[0].activity.as_str()), (1, "STOR /a"));
    assert!(registry.kick(info[0].id));
    hung_up(client).await;
}

#[tokio::test]
async fn a_drain_waits_for_transfers_and_for_nothing_else() {
    let server = Server::new().await;
    let idle = server.logged_in().await;
    let busy = server.logged_in().await;
    let session = sftp(&busy).await;
    let handle = create(&session, "a").await;
    server.lifecycle.drain();
    hung_up(idle).await;
    session.write(handle.as_str(), 0, b"still here".to_vec()).await.unwrap();
    let refused = session.mkdir("d", FileAttributes::empty()).await;
    assert!(refused.is_err());
    session.close(handle).await.unwrap();
    hung_up(busy).await;
    assert_eq!(std::fs::read(server.ground.on_disk("a")).unwrap(), b"still here");
    server.ended().await;
}

#[tokio::test]
async fn who_does_not_log_in_or_does_nothing_has_to_go() {
    let server = Server::with(Limits { login_seconds: 1, idle_seconds: 2, ..Limits::default() }).await;
    hung_up(server.connect().await).await;
    // Not even a name was sent.
    let mute = TcpStream::connect(server.address).await.unwrap();
    let mut byte = [0; 256];
    let silence =
        async { while mute.readable().await.is_ok() && mute.try_read(&mut byte).is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(PATIENCE, silence).await.expect("the server did not hang up");
    hung_up(server.logged_in().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_pipelines_in_both_directions() {
    let server = Server::new().await;
    let data = Arc::new(noise(3_200_000, 12));
    let client = server.logged_in().await;
    std::fs::write(server.ground.on_disk("down"), &data[..]).unwrap();
    let channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let (mut read, write) = channel.split();
    let sent = data.clone();
    let open = |id, name: &'static str, flags| request(3, id, |out| super::rig::open_fields(out, name, flags));
    write.data_bytes(request(1, 3, |_| {})).await.unwrap();
    write.data_bytes(open(1, "down", super::rig::READ)).await.unwrap();
    write.data_bytes(open(2, "up", super::rig::FRESH)).await.unwrap();
    let mut greeting = Vec::new();
    while !greeting.windows(8).any(|bytes| bytes == b"00000101") {
        if let Some(ChannelMsg::Data { data }) = read.wait().await {
            greeting.extend_from_slice(&data);
        }
    }
    let writer = tokio::spawn(async move {
        // The handles of a fresh channel are known: first slots, first use.
        for pass in 0..8u32 {
            for index in 0..100u32 {
                let offset = u64::from(index) * 32_000;
                let ask = request(5, 1000 + pass * 100 + index, |out| {
                    packets::string(out, b"00000100");
                    out.put_u64(offset);
                    out.put_u32(32_000);
                });
                write.data_bytes(ask).await.unwrap();
            }
        }
        for index in 0..100u32 {
            let from = index as usize * 32_000;
            let give = request(6, 10_000 + index, |out| {
                packets::string(out, b"00000101");
                out.put_u64(from as u64);
                packets::string(out, &sent[from..from + 32_000]);
            });
            write.data_bytes(give).await.unwrap();
        }
        write.data_bytes(request(4, 20_000, |out| packets::string(out, b"00000101"))).await.unwrap();
        write
    });
    // Nothing is read before everything is sent, as far as the line holds.
    let _write = tokio::time::timeout(PATIENCE, writer).await.expect("the server stopped reading").unwrap();
    let (mut bytes, mut done) = (0usize, false);
    let reading = async {
        while bytes < 8 * data.len() || !done {
            match read.wait().await {
                Some(ChannelMsg::Data { data }) => bytes += data.len(),
                Some(_) => {}
                None => panic!("the channel ended"),
            }
            done = server.ground.on_disk("up").exists();
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the replies did not come");
    assert_eq!(std::fs::read(server.ground.on_disk("up")).unwrap(), data[..]);
}

//! The engine as a whole: a real listener, a real store, a real user database, and clients that speak raw bytes.
//! Here stands the rig; the scenarios stand beside it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod data;
mod digests;
mod features;
mod listings;
mod login;
mod meanwhile;
mod ports;
mod state;
mod text;
mod transfers;
mod trees;
mod verbs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use landfall_auth::{
    Cost, Database, Grant, Hasher, Login, NewUser, Secret, Sync, Throttle, ThrottleLimits, Users, WorkLimits,
};
use landfall_storage::{Durability, LocalStore};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use super::Engine;
use crate::config::{self, PortRange};
use crate::delivery::{Delivery, Ledger, TemporaryNames, ledger};
use crate::lifecycle::Lifecycle;
use crate::listen::{self, Gate};
use crate::tls::{self, Tls};

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running engine with one user, `acme`, password `secret`.
struct Rig {
    place: TempDir,
    runtime: Option<Runtime>,
    delivery: Arc<Delivery>,
    lifecycle: Lifecycle,
    explicit: SocketAddr,
    implicit: SocketAddr,
    log: Log,
}

/// What the rig's own threads have logged, a line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Lines with this text.
    fn with(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    fn with(change: impl FnOnce(&mut config::Ftp, &mut config::Limits)) -> Self {
        Self::granting(Grant::default(), change)
    }

    fn granting(grant: Grant, change: impl FnOnce(&mut config::Ftp, &mut config::Limits)) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test is the edge of its own world")]
        let clock = SystemTime::now;
        #[expect(clippy::disallowed_methods, reason = "a thread logs there for as long as it lives")]
        let keep = std::mem::forget::<tracing::dispatcher::DefaultGuard>;
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let dispatch = tracing::Dispatch::new(subscriber);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(move || keep(tracing::dispatcher::set_default(&dispatch)))
            .build()
            .unwrap();
        let place = tempfile::tempdir().unwrap();
        let mut config = config::Ftp { passive_ports: PortRange { first: 0, last: 0 }, ..config::Ftp::default() };
        let mut limits = config::Limits::default();
        change(&mut config, &mut limits);
        let lifecycle = Lifecycle::default();
        let (engine, [explicit, implicit]) = runtime.block_on(async {
            let database = Database::open(&place.path().join("db"), Sync::Normal).await.unwrap();
            database.migrate(&ledger::MIGRATIONS).await.unwrap();
            let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
            let users =
                Users::open(database.clone(), Grant::default(), Hasher::new(cost, WorkLimits::default()).unwrap());
            let password = Some(Secret::new("secret"));
            users.add(NewUser { name: "acme".to_owned(), password, grant, ..NewUser::default() }).await.unwrap();
            let (files, staging) = (place.path().join("files"), place.path().join("staging"));
            let store = LocalStore::open(&files, &staging, Durability::Process).unwrap();
            let delivery = Delivery::new(Arc::new(store), Ledger::start(database), TemporaryNames::default());
            let host = config::TlsHost { name: "ftp.example.com".to_owned(), ..config::TlsHost::default() };
            let certificates = config::Tls { hosts: vec![host], ..config::Tls::default() };
            let engine = Arc::new(Engine {
                tls: Some(Tls::load(&certificates, place.path(), &tls::own_names(&config)).unwrap()),
                config,
                limits: limits.clone(),
                login: Login::new(users, Throttle::new(ThrottleLimits::default()), clock),
                delivery,
                lifecycle: lifecycle.clone(),
                shared: Arc::default(),
            });
            let gate = Gate::new(limits);
            let addresses = [false, true].map(|implicit| {
                let listener = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
                let address = listener.local_addr().unwrap();
                let (engine, gate, lifecycle) = (engine.clone(), gate.clone(), lifecycle.clone());
                engine.shared.listens_on(address.port());
                let proxies = engine.clone();
                let is_proxy = move |peer| proxies.config.is_proxy(peer);
                let serve = move |connection| engine.clone().serve(connection, implicit);
                tokio::spawn(listen::run(listener, gate, lifecycle, TaskTracker::new(), is_proxy, serve));
                address
            });
            (engine, addresses)
        });
        let delivery = engine.delivery.clone();
        Self { place, runtime: Some(runtime), delivery, lifecycle, explicit, implicit, log }
    }

    /// Where acme's file of that name stands.
    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join("files/acme").join(name)
    }

    fn landed(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.file(name)).ok()
    }

    /// In clear, and not logged in.
    fn stranger(&self) -> Client {
        Client::greeted(Wire::Clear(connect(self.explicit)), self)
    }

    /// In clear, and logged in.
    fn client(&self) -> Client {
        let mut client = self.stranger();
        client.log_in();
        client
    }

    fn tls_config(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.place.path().join("tls/cert.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Under explicit TLS with PROT P, and logged in.
    fn tls_client(&self, version: &'static SupportedProtocolVersion) -> Client {
        let config = self.tls_config(version);
        let mut client = self.stranger();
        client.expect("AUTH TLS", 234);
        client.go_over_to_tls(config);
        client.log_in();
        client.expect("PBSZ 0", 200);
        client.expect("PROT P", 200);
        client
    }

    /// Under implicit TLS, and logged in.
    fn implicit_client(&self) -> Client {
        let config = self.tls_config(&rustls::version::TLS13);
        let wire = Wire::Tls(Box::new(shake(connect(self.implicit), &config)));
        let mut client = Client::greeted(wire, self);
        client.tls = Some(config);
        client.log_in();
        client
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.lifecycle.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

type TlsWire = StreamOwned<ClientConnection, TcpStream>;

fn shake(stream: TcpStream, config: &Arc<ClientConfig>) -> TlsWire {
    try_shake(stream, config).unwrap()
}

fn try_shake(stream: TcpStream, config: &Arc<ClientConfig>) -> std::io::Result<TlsWire> {
    let connection = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut wire = StreamOwned::new(connection, stream);
    while wire.conn.is_handshaking() {
        wire.conn.complete_io(&mut wire.sock)?;
    }
    Ok(wire)
}

enum Wire {
    Clear(TcpStream),
    Tls(Box<TlsWire>),
    Gone,
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(stream) => stream,
            Self::Tls(wire) => &wire.sock,
            Self::Gone => panic!("the wire is gone"),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            Self::Tls(wire) => wire.read(buffer),
            Self::Gone => Ok(0),
        }
    }
}

/// A client that says what it is told to.
struct Client {
    wire: BufReader<Wire>,
    server: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Client {
    fn greeted(wire: Wire, rig: &Rig) -> Self {
        let mut client = Self { wire: BufReader::new(wire), server: rig.explicit, tls: None };
        client.heard(220);
        client
    }

    fn go_over_to_tls(&mut self, config: Arc<ClientConfig>) {
        let Wire::Clear(stream) = std::mem::replace(self.wire.get_mut(), Wire::Gone) else { panic!("under TLS") };
        *self.wire.get_mut() = Wire::Tls(Box::new(shake(stream, &config)));
        self.tls = Some(config);
    }

    fn log_in(&mut self) {
        self.expect("USER acme", 331);
        self.expect("PASS secret", 230);
    }

    fn send(&mut self, bytes: &[u8]) {
        match self.wire.get_mut() {
            Wire::Clear(stream) => stream.write_all(bytes).unwrap(),
            Wire::Tls(wire) => wire.write_all(bytes).unwrap(),
            Wire::Gone => panic!("the wire is gone"),
        }
    }

    /// The next reply, all its lines; empty at the end of the connection.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            if self.wire.read_line(&mut line).unwrap_or(0) == 0 {
                return reply;
            }
            reply.push_str(&line);
            let code = line.get(..3).is_some_and(|code| code.bytes().all(|b| b.is_ascii_digit()));
            if code && line.as_bytes().get(3) == Some(&b' ') {
                return reply;
            }
        }
    }

    /// The next reply, which must have this code.
    #[track_caller]
    fn heard(&mut self, code: u16) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(&code.to_string()), "wanted {code}, got {reply:?}");
        reply
    }

    /// Says a line and hears a reply with this code.
    #[track_caller]
    fn expect(&mut self, line: &str, code: u16) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        let reply = self.reply();
        assert!(reply.starts_with(&code.to_string()), "{line}: wanted {code}, got {reply:?}");
        reply
    }

    /// The connection ends, whatever is said before.
    fn ended(&mut self) -> bool {
        let mut rest = Vec::new();
        self.wire.read_to_end(&mut rest).is_ok() || self.wire.get_mut().read(&mut [0]).is_err()
    }

    /// EPSV: where to connect to.
    fn passive(&mut self) -> SocketAddr {
        let reply = self.expect("EPSV", 229);
        let port = reply.split('|').nth(3).unwrap().parse().unwrap();
        SocketAddr::new(self.server.ip(), port)
    }

    /// Begins a transfer over a bare socket.
    #[track_caller]
    fn begin(&mut self, line: &str) -> TcpStream {
        let address = self.passive();
        let data = connect(address);
        self.expect(line, 150);
        data
    }

    /// Begins a transfer over TLS.
    #[track_caller]
    fn begin_tls(&mut self, line: &str) -> TlsWire {
        let data = self.begin(line);
        shake(data, self.tls.as_ref().unwrap())
    }

    /// A whole upload, over TLS where the client is; its reply.
    #[track_caller]
    fn upload(&mut self, line: &str, bytes: &[u8]) -> String {
        if self.tls.is_some() {
            let mut data = self.begin_tls(line);
            data.write_all(bytes).unwrap();
            end_tls(data);
        } else {
            let mut data = self.begin(line);
            data.write_all(bytes).unwrap();
        }
        self.reply()
    }

    /// A whole download or listing, over TLS where the client is.
    #[track_caller]
    fn download(&mut self, line: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.tls.is_some() {
            self.begin_tls(line).read_to_end(&mut bytes).unwrap();
        } else {
            self.begin(line).read_to_end(&mut bytes).unwrap();
        }
        self.heard(226);
        bytes
    }

    fn listed(&mut self, line: &str) -> String {
        String::from_utf8(self.download(line)).unwrap()
    }
}

/// close_notify, and the socket's own end.
fn end_tls(mut data: TlsWire) {
    data.conn.send_close_notify();
    data.flush().unwrap();
    data.sock.shutdown(Shutdown::Write).unwrap();
}

/// Bytes in which every part differs from every other.
fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(bytes)
    .collect()
}

/// Waits until it is so.
#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

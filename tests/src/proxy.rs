//! `Proxy`: a TCP relay in front of one address that spoils a connection at a chosen byte. Knows no protocol.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::connect_unspec;

/// How a connection ends after its bytes have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens: a plain relay.
    None,
    /// An orderly end of the stream towards the server.
    Fin,
    /// A reset towards the server.
    Reset,
    /// Bytes are no longer passed on; the connection stays open.
    Silence,
}

struct Shared {
    upstream: SocketAddr,
    fault: Mutex<(Fault, u64)>,
    bytes_per_second: u64,
    passed: AtomicU64,
    stop: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

/// A relay on a port of its own.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Relays to `upstream`; `fault` strikes each connection after `bytes` bytes from the client.
    #[must_use]
    pub fn start(upstream: SocketAddr, fault: Fault, bytes: u64) -> Self {
        Self::build(upstream, fault, bytes, u64::MAX)
    }

    /// Relays to `upstream` at a pace: for clients that cannot go slowly themselves.
    #[must_use]
    pub fn slow(upstream: SocketAddr, bytes_per_second: u64) -> Self {
        Self::build(upstream, Fault::None, u64::MAX, bytes_per_second)
    }

    fn build(upstream: SocketAddr, fault: Fault, bytes: u64, bytes_per_second: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            upstream,
            fault: Mutex::new((fault, bytes)),
            bytes_per_second,
            passed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            sockets: Mutex::new(Vec::new()),
        });
        let accepted = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepted.stop.load(Ordering::Relaxed) {
                    return;
                }
                relay(&accepted, client);
            }
        });
        Self { address, shared }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, new connections are relayed without fault.
    pub fn heal(&self) {
        *self.shared.fault.lock().unwrap() = (Fault::None, u64::MAX);
    }

    /// Bytes that went from clients to the server.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        for socket in self.shared.sockets.lock().unwrap().iter() {
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

fn relay(shared: &Arc<Shared>, client: TcpStream) {
    let Ok(server) = TcpStream::connect(shared.upstream) else { return };
    let clones = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
    {
        let mut sockets = shared.sockets.lock().unwrap();
        sockets.push(client.try_clone().expect("a socket"));
        sockets.push(server.try_clone().expect("a socket"));
    }
    let up = Arc::clone(shared);
    std::thread::spawn(move || towards_server(&up, client, server));
    std::thread::spawn(move || towards_client(clones.1, clones.0));
}

fn towards_server(shared: &Shared, mut client: TcpStream, mut server: TcpStream) {
    let (fault, mut left) = *shared.fault.lock().unwrap();
    let chunk_bytes = usize::try_from(shared.bytes_per_second / 20).map_or(16_384, |bytes| bytes.clamp(1, 16_384));
    let mut chunk = vec![0; chunk_bytes];
    loop {
        let Ok(count @ 1..) = client.read(&mut chunk) else {
            drop(server.shutdown(Shutdown::Write));
            return;
        };
        let pass = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(bytes) = chunk.get(..pass) else { return };
        if server.write_all(bytes).is_err() {
            drop(client.shutdown(Shutdown::Both));
            return;
        }
        shared.passed.fetch_add(pass as u64, Ordering::Relaxed);
        left -= pass as u64;
        if left == 0 && fault != Fault::None {
            return strike(fault, &mut client, &server);
        }
        if shared.bytes_per_second != u64::MAX {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn strike(fault: Fault, client: &mut TcpStream, server: &TcpStream) {
    match fault {
        Fault::None => {}
        Fault::Fin => {
            drop(server.shutdown(Shutdown::Both));
            drop(client.shutdown(Shutdown::Both));
        }
        Fault::Reset => {
            // `connect` to no address dissolves a connection at once and with RST, whoever else holds the socket open.
            let _ = connect_unspec(server);
            let _ = connect_unspec(&*client);
        }
        Fault::Silence => {
            let mut nothing = [0; 16_384];
            while matches!(client.read(&mut nothing), Ok(1..)) {}
        }
    }
}

fn towards_client(mut server: TcpStream, mut client: TcpStream) {
    let mut chunk = [0; 16_384];
    while let Ok(count @ 1..) = server.read(&mut chunk) {
        let Some(bytes) = chunk.get(..count) else { return };
        if client.write_all(bytes).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Write));
}

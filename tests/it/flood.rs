//! Many who want nothing, too few descriptors, and many who are idle: the server goes on, and gets back to what it was.
//! Small here; `tests/torture/flood` runs the same in full and prints the figures.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use landfall_tests::{Builder, Ftp, Server, connect_from, wait_until};

const PASSWORD: &str = "secret-of-acme";

/// How large it is to be.
struct Scale {
    held: usize,
    strays: usize,
    over: Duration,
    login_seconds: u64,
    sessions: usize,
    /// What a password costs, memory and passes: in full as it comes.
    password: [&'static str; 2],
}

/// `TORTURE_SESSIONS` means all of it.
fn scale() -> Scale {
    match std::env::var("TORTURE_SESSIONS") {
        Ok(sessions) => Scale {
            held: 2_000,
            strays: 20_000,
            over: Duration::from_mins(1),
            login_seconds: 30,
            sessions: sessions.parse().expect("a number of sessions"),
            password: ["19456", "2"],
        },
        Err(_) => Scale {
            held: 300,
            strays: 600,
            over: Duration::from_secs(2),
            login_seconds: 3,
            sessions: 100,
            password: ["64", "1"],
        },
    }
}

/// One of many addresses of this machine, so that no network's limit helps.
fn somewhere(number: usize) -> IpAddr {
    let [.., high, low] = u32::try_from(number % 60_000).unwrap().to_be_bytes();
    IpAddr::from([127, 1, high, low])
}

fn server(builder: Builder) -> Server {
    let server = builder.environment("LANDFALL_LOG", "info").start();
    server.add_user("acme", PASSWORD);
    server
}

/// Logs in and out again; how long that took.
fn visit(address: SocketAddr) -> Duration {
    let began = Instant::now();
    let mut client = Ftp::connect_from([127, 0, 0, 2].into(), address);
    client.login("acme", PASSWORD).expect(230);
    let took = began.elapsed();
    client.command("QUIT").expect(221);
    took
}

#[test]
fn strangers_in_numbers_keep_nobody_out() {
    let scale = scale();
    let builder = Server::builder().set("limits.login_seconds", &scale.login_seconds.to_string());
    let [memory, passes] = scale.password;
    let server = server(builder.set("auth.argon2_memory_kib", memory).set("auth.argon2_iterations", passes));
    let (ftp, doors) = (server.address("ftp"), ["ftp", "sftp", "ftps"].map(|protocol| server.address(protocol)));
    let sockets = server.open_sockets();
    visit(ftp);
    let memory = server.resident_kib();
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(memory));

    let (mut took, gone) = std::thread::scope(|scope| {
        let visits = scope.spawn(|| {
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) {
                took.push(visit(ftp));
                peak.fetch_max(server.resident_kib(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
            took
        });
        let came = |number: usize| connect_from(somewhere(number), doors[number % doors.len()]).expect("an open door");
        let held: Vec<TcpStream> = (0..scale.held).map(came).collect();
        let began = Instant::now();
        // Those that came first were sent away long ago; this end forgets them too.
        let mut strays = VecDeque::with_capacity(scale.held);
        for number in 0..scale.strays {
            strays.push_back(came(scale.held + number));
            if strays.len() > 3 * scale.held {
                strays.pop_front();
            }
            let due = scale.over * u32::try_from(number).unwrap() / u32::try_from(scale.strays).unwrap();
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let ended = Instant::now();
        over.store(true, Ordering::Relaxed);
        let took = visits.join().unwrap();
        // This end closes nothing: the server does.
        wait_until("the strangers to be gone", || (server.open_sockets() <= sockets).then_some(()));
        let gone = ended.elapsed();
        drop((held, strays));
        (took, gone)
    });
    took.sort_unstable();
    let p99 = took[(took.len() * 99).div_ceil(100) - 1];
    let grown = peak.load(Ordering::Relaxed).saturating_sub(memory);
    eprintln!(
        "{} held, then {} in {:?}: {} logins, median {:?}, p99 {p99:?}, slowest {:?}; strangers gone {gone:?} after the last \
         came; memory {memory} KiB before, {grown} KiB more at most",
        scale.held,
        scale.strays,
        scale.over,
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1],
    );
    assert!(grown <= 64 * 1024, "{grown} KiB more");
    visit(ftp);
}

#[test]
fn too_few_descriptors_are_survived() {
    // The server knows of its limit at the start, and turns away what it has no room for.
    let mut server = server(Server::builder().descriptors(256));
    let ftp = server.address("ftp");
    visit(ftp);
    let ticks = server.processor_ticks();
    let crowd: Vec<TcpStream> = (0..1_000).filter_map(|number| connect_from(somewhere(number), ftp).ok()).collect();
    assert!(server.open_descriptors() < 256);
    visit(ftp);
    std::thread::sleep(Duration::from_secs(1));
    let ticks = server.processor_ticks() - ticks;
    eprintln!("{} connections at 256 descriptors: {} ms of processor time", crowd.len(), ticks * 10);
    assert!(ticks < 150, "{ticks} hundredths of a second for a crowd that does nothing");
    drop(crowd);
    visit(ftp);
    assert!(server.is_running());
}

#[test]
fn descriptors_that_run_out_come_back() {
    // Taken away under way, as by somebody else's use: now accept(2) itself fails.
    let mut server = server(Server::builder());
    let ftp = server.address("ftp");
    visit(ftp);
    let most = u64::try_from(server.open_descriptors()).unwrap() + 20;
    server.limit_descriptors(most);
    let crowd: Vec<TcpStream> = (0..60).filter_map(|number| connect_from(somewhere(number), ftp).ok()).collect();
    wait_until("a complaint", || server.log().contains("connection not taken").then_some(()));
    let ticks = server.processor_ticks();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = server.processor_ticks() - ticks;
    eprintln!("accept(2) without descriptors: {} ms of processor time in a second", ticks * 10);
    assert!(ticks < 50, "{ticks} hundredths of a second in one second");
    drop(crowd);
    visit(ftp);
    assert!(server.is_running());
}

#[test]
fn idle_sessions_are_small_and_leave_nothing() {
    let scale = scale();
    let server = server(Server::builder());
    let (ftp, ftps) = (server.address("ftp"), server.address("ftps"));
    let open = |count: usize| -> Vec<Ftp> {
        let opened = |number: usize| {
            let source = somewhere(number);
            let mut client = if number.is_multiple_of(2) {
                Ftp::connect_from(source, ftp)
            } else {
                Ftp::implicit_from(source, ftps)
            };
            client.login("acme", PASSWORD).expect(230);
            client
        };
        let share = |first: usize| (first..count).step_by(4).map(opened).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            let shares: Vec<_> = (0..4).map(|first| scope.spawn(move || share(first))).collect();
            shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
        })
    };
    let sockets = server.open_sockets();
    let closed = |sessions: Vec<Ftp>| {
        drop(sessions);
        wait_until("the sessions to be gone", || (server.open_sockets() <= sockets).then_some(()));
    };
    // What is made once, whoever comes.
    closed(open(50));
    let before = server.resident_kib();
    let sessions = open(scale.sessions);
    let during = server.resident_kib();
    closed(sessions);
    let after = server.resident_kib();
    // What the allocator keeps, it keeps for those who come next.
    closed(open(scale.sessions));
    let again = server.resident_kib();
    eprintln!(
        "{} idle sessions, half under TLS: memory {before} KiB before, {during} KiB with them, {after} KiB after, {again} KiB \
         after as many again",
        scale.sessions
    );
    assert!(again <= during + during / 10, "{again} KiB after a second round");
    let grown = during.saturating_sub(before);
    let most = 80 * u64::try_from(scale.sessions).unwrap() + 8 * 1024;
    assert!(grown <= most, "{grown} KiB for {} sessions", scale.sessions);
}

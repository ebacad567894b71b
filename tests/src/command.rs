//! `Run`: a child process with a bound on its time, dead when dropped. Knows no program in particular.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest that anything in a test may take. A bound against hanging, no statement about speed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What a process left behind.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// Itself, if the process succeeded.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "an assertion first")]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr);
        self
    }

    /// Both streams, one after the other.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A process under way.
#[derive(Debug)]
pub struct Run {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Run {
    /// Starts `command` with nothing on stdin.
    #[track_caller]
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        Self::with_input(command, b"")
    }

    /// Starts `command` with `input` on stdin.
    #[track_caller]
    #[must_use]
    pub fn with_input(command: &mut Command, input: &[u8]) -> Self {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child =
            spawned.unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs what is needed"));
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // A child that does not read is free to close its stdin.
        drop(stdin.write_all(input));
        drop(stdin);
        let stdout = child.stdout.take().map(drain);
        let stderr = child.stderr.take().map(drain);
        Self { child, stdout, stderr }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the process is there");
    }

    /// True until it has ended.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for its end.
    #[track_caller]
    #[must_use]
    pub fn outcome(self) -> Outcome {
        self.outcome_within(PATIENCE)
    }

    /// The same for what may take longer than anything else.
    #[track_caller]
    #[must_use]
    pub fn outcome_within(mut self, patience: Duration) -> Outcome {
        let ask = || self.child.try_wait().expect("a child can be waited for");
        let status = wait_until_within(patience, "a child process to end", ask);
        let text = |reader: Option<JoinHandle<Vec<u8>>>| {
            let bytes = reader.map(|reader| reader.join().expect("reading does not panic")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Outcome { status, stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes));
        bytes
    })
}

/// Runs a program by name to its end, arguments given, no input.
#[track_caller]
#[must_use]
pub fn tool(program: &str, arguments: &[&str]) -> Outcome {
    Run::start(Command::new(program).args(arguments)).outcome()
}

/// Asks again and again until there is an answer.
#[track_caller]
pub fn wait_until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_until_within(PATIENCE, what, ask)
}

#[track_caller]
fn wait_until_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Connects from a given address of this machine: any of 127.0.0.0/8 will do as a stranger's.
///
/// # Errors
/// What the system says.
pub fn connect_from(source: IpAddr, peer: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(peer), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect(&peer.into())?;
    Ok(socket.into())
}

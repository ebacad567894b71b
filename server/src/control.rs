//! The socket by which commands speak to a running server, and the lock that lets only one server use a data directory.
//! One line of JSON asks, one line answers. Knows no protocol and no rule.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::delivery::{Registry, SessionInfo};
use crate::lifecycle::Lifecycle;

/// Longest question, in bytes.
const MAX_REQUEST_BYTES: u64 = 4_096;
/// Longest answer, in bytes: ten thousand sessions with long names.
const MAX_REPLY_BYTES: u64 = 64 * 1_048_576;
/// From connect to the end of the question.
const ASK_SECONDS: u64 = 5;
/// From the question to the end of the answer.
const ANSWER_SECONDS: u64 = 30;
/// How often the socket is tried again that a full disk had no room for.
const BIND_RETRY: Duration = Duration::from_secs(2);
/// Askers at a time.
const ASKERS: usize = 16;
/// Longest path that fits into a socket address of the system, in bytes.
const MAX_SOCKET_PATH_BYTES: usize = 107;

const SOCKET: &str = "control.sock";
const LOCK: &str = "lock";

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Do all listeners accept, and does the database answer?
    Health,
    /// Who is in?
    Sessions,
    /// Ends the session of that number.
    Kick {
        /// The number.
        id: u64,
    },
    /// Reads users, certificate and limits again, as SIGHUP does.
    Reload,
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Health`].
    Health(Health),
    /// To [`Request::Sessions`].
    Sessions(Vec<SessionInfo>),
    /// Was there such a session?
    Kicked(bool),
    /// Done.
    Done,
    /// Not done, and why.
    Failed(String),
}

/// How the server is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// Every listener that should be there.
    pub listeners: Vec<ListenerHealth>,
    /// Does the database answer?
    pub database: bool,
    /// No new logins: the server is about to end.
    pub draining: bool,
}

/// How one listener is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerHealth {
    /// `ftp`, `ftps`, `sftp`, `http`.
    pub protocol: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Does it take connections?
    pub accepting: bool,
}

impl Health {
    /// True when nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.database && !self.draining && self.listeners.iter().all(|listener| listener.accepting)
    }
}

/// Who knows the answers.
pub trait Desk: Send + Sync + 'static {
    /// How the server is.
    fn health(&self) -> impl Future<Output = Health> + Send;
    /// Reads users, certificate and limits again; one sentence when that fails.
    fn reload(&self) -> impl Future<Output = Result<(), String>> + Send;
    /// Who is in.
    fn registry(&self) -> &Registry;
}

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("no server is running on {}", .0.display())]
    NoServer(PathBuf),
    /// Somebody listens, but the talk failed.
    #[error("the server does not answer: {0}")]
    Io(#[from] io::Error),
    /// The answer makes no sense: another version, perhaps.
    #[error("the server's answer cannot be read: {0}")]
    Reply(#[from] serde_json::Error),
}

/// A way to name the socket that fits into a socket address however long the directory's path is. Keeps the directory
/// open as long as the name is needed.
struct SocketName {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl SocketName {
    fn of(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SOCKET);
        if path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
            return Ok(Self { path, _directory: None });
        }
        let directory = rustix::fs::open(data_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_fd().as_raw_fd()));
        Ok(Self { path, _directory: Some(directory) })
    }
}

/// Asks the server that runs on `data_dir`. Blocks.
///
/// # Errors
/// [`AskError`].
pub fn ask(data_dir: &Path, request: &Request) -> Result<Reply, AskError> {
    let nobody = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NoServer(data_dir.to_owned()),
        _ => AskError::Io(error),
    };
    let name = SocketName::of(data_dir).map_err(nobody)?;
    let mut stream = BlockingStream::connect(&name.path).map_err(nobody)?;
    stream.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS)))?;
    stream.set_write_timeout(Some(Duration::from_secs(ASK_SECONDS)))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_REPLY_BYTES)).read_until(b'\n', &mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// The server's end of the socket.
pub struct Control {
    data_dir: PathBuf,
    /// None while there is no room for it.
    listener: Option<UnixListener>,
}

impl Control {
    /// Binds the socket. What a crash left there is removed: the lock tells that nobody uses it.
    ///
    /// A full disk may have no room for its name. The server starts all the same, so that its users can make room, and
    /// [`Control::run`] tries again until there is.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(data_dir: &Path, _lock: &DataLock) -> io::Result<Self> {
        let listener = match Self::listen(data_dir) {
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                tracing::warn!(%error, "no room for the control socket; until then no command finds this server");
                None
            }
            other => Some(other?),
        };
        Ok(Self { data_dir: data_dir.to_owned(), listener })
    }

    fn listen(data_dir: &Path) -> io::Result<UnixListener> {
        use socket2::{Domain, SockAddr, Socket, Type};
        let name = SocketName::of(data_dir)?;
        match std::fs::remove_file(&name.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Before the name exists: Linux gives it the mode of the socket, so there is no moment at which others may connect.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
        socket.bind(&SockAddr::unix(&name.path)?)?;
        socket.listen(i32::try_from(ASKERS).unwrap_or(i32::MAX))?;
        UnixListener::from_std(socket.into())
    }

    /// The socket, as soon as there is room for it.
    async fn listener(self) -> UnixListener {
        let mut listener = self.listener;
        loop {
            if let Some(listener) = listener {
                return listener;
            }
            tokio::time::sleep(BIND_RETRY).await;
            listener = Self::listen(&self.data_dir).ok();
        }
    }

    /// Answers until everything must stop.
    pub async fn run<D: Desk>(self, desk: Arc<D>, lifecycle: Lifecycle) {
        let askers = Arc::new(Semaphore::new(ASKERS));
        let listener = tokio::select! {
            () = lifecycle.cut() => return,
            listener = self.listener() => listener,
        };
        loop {
            // Closed never: the semaphore is ours.
            let Ok(place) = askers.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = lifecycle.cut() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let desk = desk.clone();
                    tokio::spawn(async move {
                        attend(stream, &*desk).await;
                        drop(place);
                    });
                }
                // Out of descriptors: the asker tries again, and so do we.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn attend<D: Desk>(mut stream: UnixStream, desk: &D) {
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    let mut limited = tokio::io::BufReader::new(read.take(MAX_REQUEST_BYTES));
    let asked = tokio::time::timeout(Duration::from_secs(ASK_SECONDS), limited.read_until(b'\n', &mut line)).await;
    if !matches!(asked, Ok(Ok(1..))) {
        return;
    }
    let answered = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS), async {
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => answer(request, desk).await,
            Err(error) => Reply::Failed(format!("not a question that this server knows: {error}")),
        };
        let mut bytes = serde_json::to_vec(&reply)?;
        bytes.push(b'\n');
        write.write_all(&bytes).await
    });
    match answered.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "control: asker went away"),
        Err(_) => tracing::warn!("control: no answer in time"),
    }
}

async fn answer<D: Desk>(request: Request, desk: &D) -> Reply {
    match request {
        Request::Health => Reply::Health(desk.health().await),
        Request::Sessions => Reply::Sessions(desk.registry().list()),
        Request::Kick { id } => Reply::Kicked(desk.registry().kick(id)),
        Request::Reload => match desk.reload().await {
            Ok(()) => Reply::Done,
            Err(sentence) => Reply::Failed(sentence),
        },
    }
}

/// Why a data directory cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another server has it.
    #[error("{data_dir} is in use by another landfall{}", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), data_dir = .data_dir.display())]
    Taken {
        /// The directory.
        data_dir: PathBuf,
        /// Who.
        pid: Option<u32>,
    },
    /// The file cannot be opened or locked.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The right to use a data directory, until it is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes it.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(LOCK);
        let failed = |source: io::Error| LockError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = file.take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Taken { data_dir: data_dir.to_owned(), pid });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // For people and for the message above; nothing depends on it.
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Fake {
        registry: Registry,
        reloaded: AtomicBool,
    }

    impl Desk for Fake {
        async fn health(&self) -> Health {
            Health { listeners: Vec::new(), database: true, draining: false }
        }
        async fn reload(&self) -> Result<(), String> {
            if self.reloaded.swap(true, Ordering::Relaxed) { Err("once is enough".to_owned()) } else { Ok(()) }
        }
        fn registry(&self) -> &Registry {
            &self.registry
        }
    }

    async fn with_server(data_dir: PathBuf) {
        let lock = DataLock::take(&data_dir).unwrap();
        std::fs::write(data_dir.join(SOCKET), "left by a crash").unwrap();
        let control = Control::bind(&data_dir, &lock).unwrap();
        let mode = std::fs::metadata(data_dir.join(SOCKET)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let lifecycle = Lifecycle::default();
        let task = tokio::spawn(control.run(Arc::new(Fake::default()), lifecycle.clone()));
        tokio::task::spawn_blocking(move || {
            let ask = |request| ask(&data_dir, &request).unwrap();
            assert!(matches!(ask(Request::Health), Reply::Health(health) if health.is_good()));
            assert!(matches!(ask(Request::Sessions), Reply::Sessions(sessions) if sessions.is_empty()));
            assert!(matches!(ask(Request::Kick { id: 7 }), Reply::Kicked(false)));
            assert!(matches!(ask(Request::Reload), Reply::Done));
            assert!(matches!(ask(Request::Reload), Reply::Failed(sentence) if sentence == "once is enough"));

            // Nonsense is answered, an endless line is not read to its end.
            let raw = |bytes: &[u8]| {
                let name = SocketName::of(&data_dir).unwrap();
                let mut stream = BlockingStream::connect(&name.path).unwrap();
                drop(stream.write_all(bytes));
                let mut answer = String::new();
                drop(stream.read_to_string(&mut answer));
                answer
            };
            assert!(raw(b"{\"verb\":\"explode\"}\n").contains("failed"));
            assert!(raw(&vec![b'x'; 1_000_000]).len() < 1_000);
            let mut long = vec![b' '; 5_000];
            long.extend_from_slice(b"{\"verb\":\"health\"}\n");
            assert!(raw(&long).contains("failed"), "read on beyond the limit");
            assert!(matches!(ask(Request::Health), Reply::Health(_)));
        })
        .await
        .unwrap();
        lifecycle.stop();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn asks_and_answers() {
        let directory = tempfile::tempdir().unwrap();
        with_server(directory.path().to_owned()).await;
    }

    #[tokio::test]
    async fn paths_longer_than_a_socket_address() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(200));
        std::fs::create_dir(&long).unwrap();
        with_server(long).await;
    }

    #[test]
    fn nobody_there() {
        let directory = tempfile::tempdir().unwrap();
        let error = ask(directory.path(), &Request::Health).unwrap_err();
        assert!(matches!(error, AskError::NoServer(_)), "{error}");
    }

    #[test]
    fn one_server_per_data_dir() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::take(directory.path()).unwrap();
        let error = DataLock::take(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        drop(DataLock::take(directory.path()).unwrap());
    }
}

//! `Server`: a real `landfall` process with its own directories and ports, killed when dropped.
//! Speaks to it as an operator does: configuration file, commands, signals, log.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::ledger::{self, Row};
use crate::{Outcome, Run, repository, wait_until};

/// What a server is started with.
#[derive(Debug)]
pub struct Builder {
    settings: BTreeMap<String, String>,
    tables: String,
    environment: Vec<(String, String)>,
    listeners: Vec<&'static str>,
    descriptors: Option<u32>,
}

impl Builder {
    /// Sets a key of the configuration, in TOML: `set("ftp.tls", "\"required\"")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds tables to the end of the configuration: `[[users]] …`.
    #[must_use]
    pub fn tables(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the server have so many descriptors and no more.
    #[must_use]
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Writes the configuration and starts the server.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> Server {
        self.start_in(Arc::new(TempDir::new().expect("a temporary directory")))
    }

    /// The same in a directory that another server has used or uses: `data`, `files` and `landfall.toml` stand in it.
    #[track_caller]
    #[must_use]
    pub fn start_in(self, directory: Arc<TempDir>) -> Server {
        let mut server = self.prepare(directory);
        server.spawn();
        server.wait_for_listeners();
        server
    }

    /// Writes the configuration, starts nothing: for commands without a server and for starts that fail.
    #[track_caller]
    #[must_use]
    pub fn prepare(self, directory: Arc<TempDir>) -> Server {
        let (data, files) = (directory.path().join("data"), directory.path().join("files"));
        std::fs::create_dir_all(&files).expect("a directory of our own");
        let mut toml = format!("data_dir = '{}'\nstorage.root = '{}'\n", data.display(), files.display());
        for (key, value) in &self.settings {
            writeln!(toml, "{key} = {value}").expect("a string takes all");
        }
        toml.push_str(&self.tables);
        std::fs::write(directory.path().join("landfall.toml"), toml).expect("a directory of our own");
        Server {
            directory,
            environment: self.environment,
            listeners: self.listeners,
            descriptors: self.descriptors,
            process: None,
            addresses: BTreeMap::new(),
            log: Arc::default(),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    directory: Arc<TempDir>,
    environment: Vec<(String, String)>,
    listeners: Vec<&'static str>,
    descriptors: Option<u32>,
    process: Option<Child>,
    addresses: BTreeMap<String, SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// All listeners on loopback and free ports; everything else as it comes, but for cheap password hashes: their
    /// cost is not what these tests are about.
    #[must_use]
    pub fn builder() -> Builder {
        let builder = Builder {
            settings: BTreeMap::new(),
            tables: String::new(),
            environment: Vec::new(),
            listeners: vec!["ftp", "ftps", "sftp", "http"],
            descriptors: None,
        };
        builder
            .set("ftp.listen", r#"["127.0.0.1:0"]"#)
            .set("ftp.implicit_listen", r#"["127.0.0.1:0"]"#)
            .set("ftp.passive_ports", r#""0-0""#)
            .set("sftp.listen", r#"["127.0.0.1:0"]"#)
            .set("http.listen", r#"["127.0.0.1:0"]"#)
            .set("auth.argon2_memory_kib", "64")
            .set("auth.argon2_iterations", "1")
    }

    /// A server with the user `acme`, password `secret-of-acme`.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        let server = Self::builder().start();
        server.add_user("acme", "secret-of-acme");
        server
    }

    // --- places -------------------------------------------------------------------------------------------------

    /// Address of a listener: `ftp`, `ftps` (implicit), `sftp`, `http`.
    #[track_caller]
    #[must_use]
    pub fn address(&self, protocol: &str) -> SocketAddr {
        *self.addresses.get(protocol).unwrap_or_else(|| panic!("no {protocol} listener among {:?}", self.addresses))
    }

    /// Port of a listener, for command lines.
    #[track_caller]
    #[must_use]
    pub fn port(&self, protocol: &str) -> String {
        self.address(protocol).port().to_string()
    }

    /// The directory that holds all others.
    #[must_use]
    pub fn directory(&self) -> Arc<TempDir> {
        Arc::clone(&self.directory)
    }

    /// The root of the storage.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// A user's home in the storage.
    #[must_use]
    pub fn home(&self, user: &str) -> PathBuf {
        self.files().join(user)
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    // --- commands -----------------------------------------------------------------------------------------------

    /// A command of the real binary, told by the environment which configuration counts.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LANDFALL_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(self.directory.path());
        command.env("LANDFALL_CONFIG", self.directory.path().join("landfall.toml"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Outcome {
        Run::start(&mut self.command(arguments)).outcome()
    }

    /// Runs a command to its end, with `input` on stdin.
    #[track_caller]
    #[must_use]
    pub fn cli_with(&self, arguments: &[&str], input: &str) -> Outcome {
        Run::with_input(&mut self.command(arguments), input.as_bytes()).outcome()
    }

    /// `landfall user add`.
    #[track_caller]
    pub fn add_user(&self, name: &str, password: &str) {
        self.cli_with(&["user", "add", name, "--password-stdin"], password).ok();
    }

    /// Makes a key pair and adds its public half to a user; the private half's path.
    #[track_caller]
    #[must_use]
    pub fn add_key(&self, user: &str) -> PathBuf {
        let key = self.directory.path().join(format!("key-of-{user}"));
        let path = key.to_str().expect("a temporary directory's name");
        crate::tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", user, "-f", path]).ok();
        self.cli(&["key", "add", user, &format!("{path}.pub")]).ok();
        key
    }

    /// The ledger's rows, oldest first.
    #[track_caller]
    #[must_use]
    pub fn ledger(&self) -> Vec<Row> {
        ledger::rows(&self.cli(&["uploads", "--json", "--limit", "10000"]).ok().stdout)
    }

    /// The ledger's rows of landed uploads.
    #[track_caller]
    #[must_use]
    pub fn landed(&self) -> Vec<Row> {
        self.ledger().into_iter().filter(|row| row.status == "landed").collect()
    }

    // --- life ---------------------------------------------------------------------------------------------------

    #[track_caller]
    fn spawn(&mut self) {
        let mut command = self.command(&["serve"]);
        if let Some(most) = self.descriptors {
            command = limited(&command, most);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        for stream in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            let log = Arc::clone(&self.log);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    log.lock().unwrap().push(line);
                }
            });
        }
        self.process = Some(child);
    }

    #[track_caller]
    fn wait_for_listeners(&mut self) {
        let log = Arc::clone(&self.log);
        let wanted = self.listeners.clone();
        let child = self.process.as_mut().expect("it was started");
        self.addresses = wait_until("the listeners", || {
            let lines = log.lock().unwrap().clone();
            let addresses: BTreeMap<String, SocketAddr> = lines.iter().filter_map(|line| listening(line)).collect();
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the server ended with {status}:\n{}", lines.join("\n"));
            }
            wanted.iter().all(|name| addresses.contains_key(*name)).then_some(addresses)
        });
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Its process id.
    #[track_caller]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Resident memory in KiB.
    #[track_caller]
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Descriptors that it has open.
    #[track_caller]
    #[must_use]
    pub fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// Those of them that are sockets: listeners, connections.
    #[track_caller]
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").flatten();
        let names = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        names.filter(|name| name.to_string_lossy().starts_with("socket:")).count()
    }

    /// Lets it have so many descriptors and no more, from now on.
    #[track_caller]
    pub fn limit_descriptors(&self, most: u64) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(pid, Resource::Nofile, limit).expect("the process is there");
    }

    /// Processor time that it has used, in hundredths of a second.
    #[track_caller]
    #[must_use]
    pub fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        // Behind the name, which may hold anything; utime and stime are the 14th and 15th field of all.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.process.take().expect("it runs");
        wait_until("the server to end", || child.try_wait().expect("a child can be waited for"))
    }

    /// True while the process is there.
    #[track_caller]
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|child| child.try_wait().expect("a child can be waited for").is_none())
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.wait().signal(), Some(9), "it ended before it was killed:\n{}", self.log());
    }

    /// SIGTERM, and waits for a clean end.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Starts again in the same directories, on new ports.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        self.log = Arc::default();
        self.spawn();
        self.wait_for_listeners();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

/// The same command under a limit of its own.
fn limited(command: &Command, descriptors: u32) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={descriptors}:{descriptors}")).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        limited.current_dir(directory);
    }
    limited
}

fn boxed(stream: impl std::io::Read + Send + 'static) -> Box<dyn std::io::Read + Send> {
    Box::new(stream)
}

/// The listener that a line of the log speaks of.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = value.get("fields").unwrap_or(&value);
    let text = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
    (text("message")? == "listening").then_some(())?;
    Some((text("protocol")?.to_owned(), text("address")?.parse().ok()?))
}

/// The binary beside this test, which must be as new as the sources.
///
/// # Panics
/// Where there is none, or an older one.
#[track_caller]
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test is a program");
        let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/it");
        // Figures are those of the release build, whatever drives it.
        let binary = match std::env::var("TORTURE_PROFILE") {
            Ok(other) => profile.with_file_name(other).join("landfall"),
            Err(_) => profile.join("landfall"),
        };
        let built =
            modified(&binary).unwrap_or_else(|| panic!("{} is missing: cargo build -p landfall", binary.display()));
        let newest =
            ["storage/src", "auth/src", "server/src"].iter().filter_map(|room| newest(&repository().join(room)));
        let newest = newest.max().expect("there are sources");
        assert!(newest <= built, "{} is older than its sources: cargo build -p landfall", binary.display());
        binary
    })
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    entries
        .filter_map(|entry| if entry.path().is_dir() { newest(&entry.path()) } else { modified(&entry.path()) })
        .max()
}

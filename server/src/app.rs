//! Builds every room in order, opens the doors, and closes them again: the table of contents of a running server.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use landfall_auth::{Login, Throttle, ThrottleLimits, Users};
use landfall_storage::{Durability, LocalStore};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config, Limits, Loaded, Origin};
use crate::control::{Control, DataLock, Desk, Health, ListenerHealth};
use crate::delivery::{Delivery, Ledger, Registry, TemporaryNames};
use crate::lifecycle::{Lifecycle, Signals};
use crate::listen::{self, Gate};
use crate::outbox::Outbox;
use crate::tls::Tls;
use crate::{ftp, hostkeys, http, people, private, sftp, telemetry, tls};

/// How often users changed by a command are looked for; their sessions end when they are disabled.
const WATCH_USERS_EVERY: Duration = Duration::from_secs(1);
/// How often suspended uploads that nobody resumes are looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(5);

/// Descriptors for storage, database, listeners and log.
const DESCRIPTORS_KEPT: u64 = 64;
/// How long sessions that were cut may take to suspend what they held.
const CUT_SECONDS: u64 = 5;

/// Serves until a signal ends it: the whole life of `landfall serve`. `again` loads the configuration for a reload, and
/// `open` is told when all listeners accept.
///
/// # Errors
/// What keeps the server from starting.
pub async fn run<F>(
    loaded: Loaded,
    again: Box<Again>,
    open: impl FnOnce(Arc<App>, Vec<(String, SocketAddr)>) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let signals = Signals::install().context("taking over the signals")?;
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
    let http_is_default = loaded.origin("http.listen") == Origin::Default;
    let data_dir = loaded.config.data_dir.clone();
    private::create_dir(&data_dir).with_context(|| format!("making the data directory {}", data_dir.display()))?;
    let lock = DataLock::take(&data_dir)?;
    open_way_to_files(&loaded.config).context("opening the way to the files in the data directory")?;
    let app = App::build(loaded.config, again).await?;
    let bound = app.bind(http_is_default)?;
    let control = Control::bind(&data_dir, &lock).context("opening the control socket")?;
    let addresses = bound.iter().map(|bound| (bound.protocol.to_owned(), bound.address)).collect();
    app.open(bound);
    app.outbox.start(app.delivery.ledger().news()).await.context("starting the outbox")?;
    tokio::spawn(control.run(app.clone(), app.lifecycle.clone()));
    open(app.clone(), addresses).await?;

    let reloaded = app.clone();
    let signals = signals.obey(app.lifecycle.clone(), move || {
        let app = reloaded.clone();
        tokio::spawn(async move {
            if let Err(error) = Desk::reload(&*app).await {
                tracing::error!(error, "reload failed");
            }
        });
    });
    let signals = tokio::spawn(signals);
    app.drained().await;
    signals.abort();
    tracing::info!("stopped");
    drop(lock);
    Ok(())
}

impl Desk for App {
    async fn health(&self) -> Health {
        let listeners =
            self.serving.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Serving::health).collect();
        let database = match self.delivery.ledger().ping().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the database does not answer");
                false
            }
        };
        Health { listeners, database, draining: self.lifecycle.is_draining() }
    }

    async fn reload(&self) -> Result<(), String> {
        let config = (self.again)()?;
        App::reload(self, config).await.map_err(|error| telemetry::sentence(&error))
    }

    fn registry(&self) -> &Registry {
        self.delivery.registry()
    }
}

impl Serving {
    fn health(&self) -> ListenerHealth {
        let accepting = !self.task.is_finished();
        ListenerHealth { protocol: self.protocol.to_owned(), addr: self.address, accepting }
    }
}

/// The rooms of a running server.
pub struct App {
    config: RwLock<Arc<Config>>,
    /// Who may come in.
    pub users: Users,
    /// What they may do.
    pub delivery: Arc<Delivery>,
    tls: Option<Arc<Tls>>,
    gate: Arc<Gate>,
    outbox: Outbox,
    /// Running, draining, cut.
    pub lifecycle: Lifecycle,
    tasks: TaskTracker,
    ftp: Swap<ftp::Engine>,
    sftp: Swap<sftp::Engine>,
    host_key_fingerprints: Vec<String>,
    serving: Mutex<Vec<Serving>>,
    again: Box<Again>,
}

/// Loads the configuration once more, for a reload.
pub type Again = dyn Fn() -> Result<Config, String> + Send + Sync;

/// A listener that somebody accepts on.
struct Serving {
    protocol: &'static str,
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// An engine that a reload replaces for connections to come; those that are there keep the one they began with.
struct Swap<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Swap<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Swap<T> {
    fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    fn now(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// A listening socket and what is spoken there.
pub struct Bound {
    /// `ftp`, `ftps` (implicit), `sftp`, `http`.
    pub protocol: &'static str,
    /// Its address, with the real port.
    pub address: SocketAddr,
    listener: TcpListener,
}

impl App {
    /// Builds the rooms: users, storage, ledger, reconciliation, keys. Nothing listens yet.
    ///
    /// # Errors
    /// The first room that cannot be built, and why.
    pub async fn build(config: Config, again: Box<Again>) -> anyhow::Result<Arc<Self>> {
        let users = people::open(&config).await?;
        let homes = people::declare(&config, &users).await?;
        let store = open_store(&config)?;
        // Before anything becomes an event, so that a sink which is there for the first time misses none.
        let outbox = Outbox::open(users.database().clone(), &config).await.context("opening the outbox")?;
        let ledger = Ledger::start(users.database().clone());
        let names = TemporaryNames::new(config.storage.temporary_names.clone());
        let delivery = Delivery::new(Arc::new(store), ledger, names);
        delivery.reconcile(homes_of(&users).await?).await.context("bringing ledger and storage to agreement")?;
        prepare(&delivery, homes).await?;

        let tls = if config.ftp.tls == config::TlsPolicy::Off && config.ftp.implicit_listen.is_empty() {
            None
        } else {
            Some(Tls::load(&config.tls, &config.data_dir, &tls::own_names(&config.ftp))?)
        };
        let host_keys = hostkeys::load(&config.data_dir)?;
        let host_key_fingerprints = host_keys.iter().map(hostkeys::fingerprint).collect();
        let login = Login::new(users.clone(), Throttle::new(ThrottleLimits::default()), crate::clock::now);
        let lifecycle = Lifecycle::default();
        let ftp = ftp::Engine {
            config: config.ftp.clone(),
            limits: config.limits.clone(),
            login: login.clone(),
            delivery: delivery.clone(),
            tls: tls.clone(),
            lifecycle: lifecycle.clone(),
            shared: Arc::default(),
        };
        let sftp = sftp::Engine {
            config: config.sftp.clone(),
            limits: config.limits.clone(),
            login,
            delivery: delivery.clone(),
            host_keys,
            lifecycle: lifecycle.clone(),
        };
        Ok(Arc::new(Self {
            users,
            delivery,
            outbox,
            tls,
            gate: Gate::new(affordable(&config.limits)),
            lifecycle,
            tasks: TaskTracker::new(),
            ftp: Swap::new(ftp),
            sftp: Swap::new(sftp),
            host_key_fingerprints,
            serving: Mutex::default(),
            again,
            config: RwLock::new(Arc::new(config)),
        }))
    }

    /// The configuration that holds now.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fingerprints of the SSH host keys.
    #[must_use]
    pub fn host_key_fingerprints(&self) -> &[String] {
        &self.host_key_fingerprints
    }

    /// Fingerprint of the certificate, where there is one.
    #[must_use]
    pub fn certificate_fingerprint(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| tls.fingerprint())
    }

    /// Binds every listener of every protocol, or none. One for HTTP that nobody asked for may be missing.
    ///
    /// # Errors
    /// The address that cannot be had, and why.
    pub fn bind(&self, http_is_default: bool) -> anyhow::Result<Vec<Bound>> {
        let config = self.config();
        let mut bound = Vec::new();
        let wanted = [
            ("ftp", &config.ftp.listen),
            ("ftps", &config.ftp.implicit_listen),
            ("sftp", &config.sftp.listen),
            ("http", &config.http.listen),
        ];
        for (protocol, addresses) in wanted {
            for address in addresses {
                let listener = match listen::bind(*address).with_context(|| cannot_listen(protocol, *address)) {
                    Ok(listener) => listener,
                    Err(error) if protocol == "http" && http_is_default => {
                        tracing::warn!("{}; going on without HTTP", telemetry::sentence(&error));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                bound.push(Bound { protocol, address: listener.local_addr()?, listener });
            }
        }
        Ok(bound)
    }

    /// Begins to accept on bound listeners, and starts what runs beside them.
    pub fn open(self: &Arc<Self>, bound: Vec<Bound>) {
        let mut serving = Vec::new();
        for Bound { protocol, address, listener } in bound {
            tracing::info!(protocol, %address, "listening");
            self.ftp.now().shared.listens_on(address.port());
            let task = self.accept(protocol, listener);
            serving.push(Serving { protocol, address, task });
        }
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = serving;
        tokio::spawn(self.clone().watch_users());
        tokio::spawn(self.clone().sweep());
        if let Some(tls) = &self.tls {
            tokio::spawn(tls.clone().watch(self.lifecycle.clone()));
        }
    }

    fn accept(self: &Arc<Self>, protocol: &str, listener: TcpListener) -> JoinHandle<()> {
        let (gate, lifecycle, tasks) = (self.gate.clone(), self.lifecycle.clone(), self.tasks.clone());
        match protocol {
            "http" => tokio::spawn(http::run(listener, self.clone(), lifecycle)),
            "sftp" => {
                let engine = self.sftp.clone();
                let proxies = engine.clone();
                let is_proxy = move |peer| proxies.now().config.is_proxy(peer);
                let serve = move |connection| engine.now().serve(connection);
                tokio::spawn(listen::run(listener, gate, lifecycle, tasks, is_proxy, serve))
            }
            _ => {
                let (engine, implicit) = (self.ftp.clone(), protocol == "ftps");
                let proxies = engine.clone();
                let is_proxy = move |peer| proxies.now().config.is_proxy(peer);
                let serve = move |connection| engine.now().serve(connection, implicit);
                tokio::spawn(listen::run(listener, gate, lifecycle, tasks, is_proxy, serve))
            }
        }
    }

    /// Waits for the drain to begin and to end: sessions without a transfer go at once, transfers may end until the
    /// signals' patience does; then everything is cut.
    pub async fn drained(&self) {
        self.lifecycle.draining().await;
        self.tasks.close();
        let in_time = tokio::select! {
            () = self.tasks.wait() => true,
            () = self.lifecycle.cut() => false,
        };
        if !in_time {
            tracing::warn!(sessions = self.delivery.registry().count(), "cutting what is left");
        }
        self.delivery.registry().end_all();
        self.lifecycle.stop();
        // Uploads that are cut have to be suspended and noted before the process goes.
        if tokio::time::timeout(Duration::from_secs(CUT_SECONDS), self.tasks.wait()).await.is_err() {
            tracing::warn!("some sessions did not end; what they held is suspended at the next start");
        }
        self.delivery.ledger().flush().await;
        self.outbox.stop().await;
        self.users.database().close().await;
    }

    /// Takes over what may change while running: users, groups, defaults, limits, temporary names, sinks, the certificate, and
    /// the parts of `[ftp]` and `[sftp]` that are not listeners. Sessions stay.
    ///
    /// # Errors
    /// What could not be taken over; it stays as it was.
    pub async fn reload(&self, mut config: Config) -> anyhow::Result<()> {
        let before = self.config();
        self.users.set_defaults(config.defaults.grant());
        let homes = people::declare(&config, &self.users).await?;
        prepare(&self.delivery, homes).await?;
        self.delivery.set_temporary_names(TemporaryNames::new(config.storage.temporary_names.clone()));
        self.gate.set_limits(affordable(&config.limits));
        self.outbox.reload(&config);
        let (ftp, sftp) = (self.ftp.now(), self.sftp.now());
        self.ftp.set(ftp.reconfigured(config.ftp.clone(), config.limits.clone()));
        self.sftp.set(sftp.reconfigured(config.sftp.clone(), config.limits.clone()));
        if listeners(&before) != listeners(&config) || before.storage.root != config.storage.root {
            tracing::warn!("listeners and the storage root change at a restart only");
        }
        keep_until_restart(&before, &mut config);
        let certificate = match &self.tls {
            Some(tls) => tls.reload(&config.tls, &config.data_dir, &tls::own_names(&config.ftp)),
            None => Ok(()),
        };
        if certificate.is_err() {
            config.tls = before.tls.clone();
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        certificate.context("all but the certificate is reloaded; the old one stays in use")?;
        tracing::info!("reloaded");
        Ok(())
    }

    /// Ends the sessions of users that a command of another process disabled or removed.
    async fn watch_users(self: Arc<Self>) {
        let mut watch = match self.users.database().watch().await {
            Ok(watch) => watch,
            Err(error) => return tracing::error!(%error, "changes of users will not end their sessions"),
        };
        let mut every = tokio::time::interval(WATCH_USERS_EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.lifecycle.draining() => return,
            }
            match watch.changed().await {
                Ok(true) => self.end_barred_sessions().await,
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "looking for changed users"),
            }
        }
    }

    async fn end_barred_sessions(&self) {
        for name in self.delivery.registry().users() {
            let barred = match self.users.find(&name).await {
                Ok(user) => user.is_none_or(|user| user.disabled),
                Err(error) => {
                    tracing::error!(%error, "looking a changed user up");
                    false
                }
            };
            if barred {
                let sessions = self.delivery.registry().end_user(&name);
                tracing::info!(user = name, sessions, "user disabled or removed; sessions ended");
            }
        }
    }

    async fn sweep(self: Arc<Self>) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.lifecycle.draining() => return,
            }
            let config = self.config();
            if let Err(refusal) = self.delivery.sweep(config.storage.resume_ttl(), config.ledger.retention()).await {
                tracing::error!(%refusal, "looking for suspended uploads that nobody resumes");
            }
        }
    }
}

/// What holds is what a later reload compares with: that of the start, for what only a restart changes.
fn keep_until_restart(before: &Config, config: &mut Config) {
    config.data_dir.clone_from(&before.data_dir);
    config.storage.root.clone_from(&before.storage.root);
    config.ftp.listen.clone_from(&before.ftp.listen);
    config.ftp.implicit_listen.clone_from(&before.ftp.implicit_listen);
    config.sftp.listen.clone_from(&before.sftp.listen);
    config.http.listen.clone_from(&before.http.listen);
}

fn listeners(config: &Config) -> [&[SocketAddr]; 4] {
    [&config.ftp.listen, &config.ftp.implicit_listen, &config.sftp.listen, &config.http.listen]
}

fn cannot_listen(protocol: &str, address: SocketAddr) -> String {
    let hint = if address.port() < 1_024 && address.port() > 0 {
        "; ports below 1024 need a privilege: listen on a high port and publish the low one"
    } else {
        ""
    };
    let key = match protocol {
        "ftps" => "ftp.implicit_listen".to_owned(),
        protocol => format!("{protocol}.listen"),
    };
    format!("cannot listen on {address} ({key}){hint}")
}

fn open_store(config: &Config) -> anyhow::Result<LocalStore> {
    let root = &config.storage.root;
    let staging = config.storage.staging.clone().unwrap_or_else(|| config.data_dir.join("staging"));
    let durability = match config.storage.durability {
        config::Durability::Full => Durability::Full,
        config::Durability::Process => Durability::Process,
    };
    let store = LocalStore::open(root, &staging, durability)
        .with_context(|| format!("opening the storage at {}", root.display()))?;
    tracing::info!(root = %root.display(), staging = %store.staging_path().display(), ?durability, "storage");
    Ok(store)
}

async fn homes_of(users: &Users) -> anyhow::Result<HashMap<String, String>> {
    Ok(users.list().await?.into_iter().map(|user| (user.name, user.home)).collect())
}

async fn prepare(delivery: &Arc<Delivery>, homes: Vec<people::Home>) -> anyhow::Result<()> {
    for (home, directories) in homes {
        delivery.prepare_home(&home, directories).await.with_context(|| format!("preparing the home {home}"))?;
    }
    Ok(())
}

/// The limits, with no more connections than there are descriptors for: an FTP session with a transfer takes four, and
/// storage and database must never be without.
fn affordable(limits: &Limits) -> Limits {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = u32::try_from(descriptors.saturating_sub(DESCRIPTORS_KEPT) / 4).unwrap_or(u32::MAX).max(1);
    if limits.connections > most {
        tracing::warn!(connections = most, descriptors, "limits.connections is lowered: there are too few descriptors");
    }
    Limits {
        connections: limits.connections.min(most),
        strangers: limits.strangers.min((most / 2).max(1)),
        ..limits.clone()
    }
}

/// Where files land inside the data directory, which is the server's own, others have to get through it to read them; what
/// else is in there is closed to them one by one.
fn open_way_to_files(config: &Config) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if config.storage.root.starts_with(&config.data_dir) {
        std::fs::set_permissions(&config.data_dir, std::fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// Every connection takes descriptors, and the usual soft limit of 1,024 is for programs that use select(2).
///
/// # Errors
/// What the system says; the old limit stays.
pub fn raise_descriptor_limit() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

//! A whole FTP engine for one script: a listener on loopback over a `world.rs`. Knows no script.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use landfall::config::{self, PortRange, TlsPolicy};
use landfall::ftp::Engine;
use landfall::lifecycle::Lifecycle;
use landfall::listen::{self, Gate};
use landfall_auth::{Grant, Login, Throttle, ThrottleLimits, Users};
use tokio_util::task::TaskTracker;

use super::world::{World, ground, runtime};

/// What a script's first byte chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode(pub(super) u8);

impl Mode {
    pub(super) fn implicit(self) -> bool {
        self.0 & 3 == 2
    }

    fn tls(self) -> TlsPolicy {
        if self.0 & 3 == 3 { TlsPolicy::Required } else { TlsPolicy::Optional }
    }

    fn active(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// May a FIN without close_notify be the end of a file?
    pub(super) fn lax(self) -> bool {
        self.0 & 0x20 != 0
    }

    fn grant(self) -> usize {
        usize::from(self.0 >> 2 & 3)
    }
}

/// An engine at work.
pub(super) struct Listening {
    pub(super) world: World,
    pub(super) address: SocketAddr,
    engine: Arc<Engine>,
    tasks: TaskTracker,
}

impl Listening {
    pub(super) fn new(mode: Mode) -> Self {
        let world = World::new(mode.grant());
        let (hasher, tls) = ground();
        let config = config::Ftp {
            passive_ports: PortRange { first: 0, last: 0 },
            tls: mode.tls(),
            active: mode.active(),
            tls_close_notify_required: !mode.lax(),
            ..config::Ftp::default()
        };
        let limits = config::Limits { data_connect_seconds: 1, ..config::Limits::default() };
        let tasks = TaskTracker::new();
        let (engine, address) = runtime().block_on(async {
            let users = Users::open(world.database.clone(), Grant::default(), hasher);
            let engine = Arc::new(Engine {
                config,
                limits: limits.clone(),
                login: Login::new(users, Throttle::new(ThrottleLimits::default()), SystemTime::now),
                delivery: world.delivery.clone(),
                tls: Some(tls),
                lifecycle: Lifecycle::default(),
                shared: Arc::default(),
            });
            let listener = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let address = listener.local_addr().unwrap();
            let (serving, implicit) = (engine.clone(), mode.implicit());
            let serve = move |connection| serving.clone().serve(connection, implicit);
            let lifecycle = engine.lifecycle.clone();
            tokio::spawn(listen::run(listener, Gate::new(limits), lifecycle, tasks.clone(), |_| false, serve));
            (engine, address)
        });
        Self { world, address, engine, tasks }
    }

    /// Stops it; true when every session and every transfer ended by itself before that.
    pub(super) fn ended(&self, mut patience: impl FnMut() -> bool) -> bool {
        while !self.tasks.is_empty() || self.engine.delivery.registry().count() > 0 {
            if !patience() {
                return false;
            }
        }
        self.engine.lifecycle.stop();
        // The transfers' threads and the accept loop let go of it.
        while Arc::strong_count(&self.engine) > 1 {
            if !patience() {
                return false;
            }
        }
        true
    }
}

//! What the tests share: a database in a directory of its own, cheap hashing, and a door.

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use landfall_auth::{
    Attempt, Cost, Credential, Database, Grant, Hasher, Login, NewUser, Protocol, Secret, Sync, Throttle,
    ThrottleLimits, Users, WorkLimits,
};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// Cheap enough for hundreds of logins in a test.
pub(crate) const COST: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYqez8RfdVHLExPKqR17ixxIJjrETdYdQgmbaS1kMRI ann@example";
pub(crate) const OTHER_KEY: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBOwI3WM421Kw9zAfJZNc8CLch5wO8T9PFYZ7Sd6I5ECJOw0qSFq2X+wGGWiDJj3q7ERCbWMmXNABcTnsS0H7t6Y= bob";
pub(crate) const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// The tests' day: accounts expire before or after it.
pub(crate) fn today() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

pub(crate) struct World {
    pub(crate) users: Users,
    pub(crate) login: Login,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Result<Self, Box<dyn Error>> {
        Self::with_limits(ThrottleLimits::default()).await
    }

    pub(crate) async fn with_limits(limits: ThrottleLimits) -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let db = Database::open(&directory.path().join("landfall.db"), Sync::Normal).await?;
        let users = Users::open(db, Grant::default(), Hasher::new(COST, WorkLimits::default())?);
        let login = Login::new(users.clone(), Throttle::new(limits), today);
        Ok(Self { users, login, directory })
    }

    pub(crate) async fn add(&self, name: &str, password: &str) -> Outcome {
        self.users.add(NewUser { password: Some(Secret::from(password)), ..named(name) }).await?;
        Ok(())
    }
}

pub(crate) fn named(name: &str) -> NewUser {
    NewUser { name: name.to_owned(), ..NewUser::default() }
}

pub(crate) fn password<'a>(user: &'a str, password: &'a str) -> Attempt<'a> {
    Attempt { user, credential: Credential::Password(password), peer: HOME, protocol: Protocol::Sftp }
}

pub(crate) fn key<'a>(user: &'a str, key: &'a str) -> Attempt<'a> {
    Attempt { user, credential: Credential::PublicKey(key), peer: HOME, protocol: Protocol::Sftp }
}

/// Polls once: what it says, if it has anything to say yet.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

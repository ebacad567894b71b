//! The one door: every protocol's login is a `Login::attempt`. Knows no protocol's replies.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::error::Error;
use crate::hasher::{Rank, Turn};
use crate::key::PublicKey;
use crate::name::{is_name, to_seconds};
use crate::rows::{self, Record};
use crate::secret::Secret;
use crate::throttle::{Admission, Guess, Throttle};
use crate::user::{Network, Protocol, Source, User};
use crate::users::Users;
use crate::waiting::WaitingRoom;

/// What somebody shows to be let in.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// A password, as sent.
    Password(&'a str),
    /// A public key in OpenSSH's one-line form (`ssh-ed25519 AAAA…`), whose ownership the caller has verified.
    PublicKey(&'a str),
}

/// One try.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Login name, as sent.
    pub user: &'a str,
    /// What is shown.
    pub credential: Credential<'a>,
    /// Where from.
    pub peer: IpAddr,
    /// Over what.
    pub protocol: Protocol,
}

/// Why somebody is not let in. What a peer may be told is the same sentence for all but `Throttled` and `Unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Wrong or unknown user, wrong password, unknown key.
    #[error("login incorrect")]
    Credentials,
    /// Right credentials, but disabled, expired, or not from there or that way. For the log only: peers hear `Credentials`' sentence.
    #[error("login not permitted: {0}")]
    NotPermitted(&'static str),
    /// Too many failures from that network or on that account.
    #[error("too many failed logins; try again in {} s", .retry_after.as_secs().max(1))]
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The user store cannot answer, or too many verifications wait.
    #[error("login is not possible right now; try again")]
    Unavailable,
}

/// Tries that wait because their network's guesses are all under way. Who comes on top is sent away.
/// Each is a connection already, and those are fewer by default: this is for who allows many more.
const WAITING_MAX: usize = 4096;
/// Those of them that are one network's, so that a few networks cannot take them all.
const WAITING_PER_NETWORK_MAX: usize = WAITING_MAX / 8;
/// How long such a try waits.
const WAIT_MAX_SECONDS: u64 = 20;
/// A user's last login is written down at most that often.
const NOTE_EVERY_SECONDS: i64 = 60;
/// Of a name that cannot be a user's, no more than that many characters are logged.
const LOGGED_NAME_MAX_CHARACTERS: usize = 64;

/// The door. Cheap to clone; clones share the throttle.
#[derive(Clone)]
pub struct Login {
    inner: Arc<Inner>,
}

struct Inner {
    users: Users,
    throttle: Throttle,
    waiting: WaitingRoom,
    clock: fn() -> SystemTime,
}

impl Login {
    /// A door for these users. `clock` tells whether somebody's account has expired.
    #[must_use]
    pub fn new(users: Users, throttle: Throttle, clock: fn() -> SystemTime) -> Self {
        let waiting = WaitingRoom::new(WAITING_MAX, WAITING_PER_NETWORK_MAX);
        Self { inner: Arc::new(Inner { users, throttle, waiting, clock }) }
    }

    /// Decides one try. Takes equally long for unknown users as for wrong passwords, if the user's hash is of today's kind
    /// and cost: a declared bcrypt hash, which nobody upgrades, takes its own time.
    ///
    /// May be dropped at any time. While a password still waits for its turn, that takes it out of the queue and counts
    /// as nothing; once its verification has begun, that goes on, and the true outcome is counted and logged.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn attempt(&self, attempt: Attempt<'_>) -> Result<User, Denied> {
        let outcome = match attempt.credential {
            Credential::Password(password) => match self.prepare(attempt, password).await {
                // Not one `await` between the turn and this: nobody can go in between.
                Ok(verification) => return verification.detach().await,
                Err(denied) => Err(denied),
            },
            Credential::PublicKey(line) => self.by_key(attempt, line).await,
        };
        log(attempt, &outcome);
        outcome
    }

    /// Would this key open the door for this user, if its ownership were proved? Never counts as a failure.
    pub async fn key_is_known(&self, attempt: Attempt<'_>) -> bool {
        let Credential::PublicKey(line) = attempt.credential else { return false };
        self.owner_of(attempt, line).await.is_ok()
    }

    /// All that comes before a password is looked at. Dropped, or failed, it gives its guess back.
    async fn prepare(&self, attempt: Attempt<'_>, password: &str) -> Result<Verification, Denied> {
        let password = Secret::from(password);
        let guess = self.admit(attempt).await?;
        let users = &self.inner.users;
        let record = users.record(lookup_name(attempt.user), None).await.map_err(|error| unavailable(&error))?;
        let rank = if guess.is_known() { Rank::Known } else { Rank::Stranger };
        let turn = users.hasher.turn(rank).await.map_err(|error| unavailable(&error))?;
        let Attempt { user, peer, protocol, .. } = attempt;
        Ok(Verification { login: self.clone(), user: user.to_owned(), password, peer, protocol, guess, record, turn })
    }

    async fn decide(
        &self,
        attempt: Attempt<'_>,
        password: &Secret,
        guess: Guess,
        record: Option<Record>,
        turn: Turn,
    ) -> Result<User, Denied> {
        let hash = record.as_ref().and_then(|record| record.password_hash.as_deref());
        // Also without a user or a hash: the work must look the same from outside.
        let fits = turn.fits(password, hash).await.map_err(|error| unavailable(&error))?;
        let record = record.filter(|_| fits).ok_or(Denied::Credentials);
        match record.and_then(|record| self.permitted(attempt, record)) {
            Ok(record) => {
                guess.right(Instant::now());
                self.upgrade(&record, password).await;
                self.note(attempt, &record);
                Ok(record.user)
            }
            Err(denied) => {
                // Also when the password fitted: a different count would give away that it did.
                guess.wrong(Instant::now());
                Err(denied)
            }
        }
    }

    async fn by_key(&self, attempt: Attempt<'_>, line: &str) -> Result<User, Denied> {
        let record = self.owner_of(attempt, line).await?;
        self.inner.throttle.remember(attempt.user, Network::of_peer(attempt.peer), Instant::now());
        self.note(attempt, &record);
        Ok(record.user)
    }

    async fn owner_of(&self, attempt: Attempt<'_>, line: &str) -> Result<Record, Denied> {
        let key = PublicKey::parse(line).ok();
        let normal = key.as_ref().map(PublicKey::normal);
        let record = self.inner.users.record(lookup_name(attempt.user), normal).await;
        let record = record.map_err(|error| unavailable(&error))?;
        let owner = record.filter(|record| record.has_key).ok_or(Denied::Credentials)?;
        self.permitted(attempt, owner)
    }

    /// Waits for a guess, then sleeps the delay that an account under attack asks for.
    async fn admit(&self, attempt: Attempt<'_>) -> Result<Guess, Denied> {
        let network = Network::of_peer(attempt.peer);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(WAIT_MAX_SECONDS);
        // Kept from one waiting to the next: who has waited is not sent away for those who came later.
        let mut place = None;
        loop {
            match self.inner.throttle.begin(attempt.user, network, Instant::now()) {
                Admission::Go { guess, delay } => {
                    drop(place);
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    return Ok(guess);
                }
                Admission::Refused { retry_after } => return Err(Denied::Throttled { retry_after }),
                Admission::Wait(ended) => {
                    if place.is_none() {
                        place = Some(self.inner.waiting.enter(network).ok_or(Denied::Unavailable)?);
                    }
                    tokio::time::timeout_at(deadline, ended).await.map_err(|_| Denied::Unavailable)?;
                }
            }
        }
    }

    /// What else must hold once the credentials are right.
    fn permitted(&self, attempt: Attempt<'_>, record: Record) -> Result<Record, Denied> {
        let user = &record.user;
        let allows = |list: &Option<Vec<Protocol>>| match list.as_deref() {
            None | Some([]) => true,
            Some(list) => list.contains(&attempt.protocol),
        };
        let reaches = |list: &Option<Vec<Network>>| match list.as_deref() {
            None | Some([]) => true,
            Some(list) => list.iter().any(|network| network.contains(attempt.peer)),
        };
        if user.disabled {
            Err(Denied::NotPermitted("the user is disabled"))
        } else if user.expires.is_some_and(|end| end <= (self.inner.clock)()) {
            Err(Denied::NotPermitted("the user's time is over"))
        } else if !allows(&user.effective.protocols) {
            Err(Denied::NotPermitted("not over this protocol"))
        } else if !reaches(&user.effective.networks) {
            Err(Denied::NotPermitted("not from this network"))
        } else {
            Ok(record)
        }
    }

    /// Stores a hash of today's kind and cost in the place of an older one. If that fails, the next login tries again.
    async fn upgrade(&self, record: &Record, password: &Secret) {
        let users = &self.inner.users;
        let Some(old) = record.password_hash.as_deref() else { return };
        if record.user.source != Source::Database || !users.hasher.needs_upgrade(old) {
            return;
        }
        let upgraded = async {
            let new = users.hasher.make(password, Rank::Known).await?;
            let mut write = users.db.write().await?;
            rows::replace_hash(&mut write, record.user.id, old, &new).await?;
            write.commit().await
        };
        if let Err(error) = upgraded.await {
            tracing::warn!(user = ?record.user.name, %error, "the password's hash could not be renewed");
        }
    }

    /// Writes the login down, without letting anybody wait for it.
    fn note(&self, attempt: Attempt<'_>, record: &Record) {
        let at = to_seconds((self.inner.clock)());
        if record.last_login_seconds.is_some_and(|last| (last..last.saturating_add(NOTE_EVERY_SECONDS)).contains(&at)) {
            return;
        }
        let (db, id) = (self.inner.users.db.clone(), record.user.id);
        let (protocol, peer) = (protocol_name(attempt.protocol), attempt.peer.to_canonical().to_string());
        tokio::spawn(async move {
            let noted = async {
                let mut write = db.write().await?;
                rows::note_login(&mut write, id, at, protocol, &peer).await?;
                write.commit().await
            };
            if let Err(error) = noted.await {
                tracing::warn!(%error, "a login could not be written down");
            }
        });
    }
}

/// A password whose turn has come, with all that is needed to decide about it without its caller: a login deadline or a
/// lost connection ends the caller, and must turn neither a right password into a wrong guess nor a wrong one into none.
/// There are no more of them at a time than verifications run, but for writing down those that were right.
struct Verification {
    login: Login,
    user: String,
    password: Secret,
    peer: IpAddr,
    protocol: Protocol,
    guess: Guess,
    record: Option<Record>,
    turn: Turn,
}

impl Verification {
    /// From now on it counts, and goes on whether or not somebody waits for the answer.
    async fn detach(mut self) -> Result<User, Denied> {
        self.guess.looked_at(Instant::now());
        tokio::spawn(self.run()).await.unwrap_or(Err(Denied::Unavailable))
    }

    async fn run(self) -> Result<User, Denied> {
        let Self { login, user, password, peer, protocol, guess, record, turn } = self;
        let attempt = Attempt { user: &user, credential: Credential::Password(password.expose()), peer, protocol };
        let outcome = login.decide(attempt, &password, guess, record, turn).await;
        log(attempt, &outcome);
        outcome
    }
}

/// Names that nobody can have are looked up too, as the empty one, so that they take the same time.
fn lookup_name(name: &str) -> &str {
    if is_name(name) { name } else { "" }
}

fn unavailable(error: &Error) -> Denied {
    if !matches!(error, Error::Busy) {
        tracing::error!(%error, "users cannot be read");
    }
    Denied::Unavailable
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Ftp => "ftp",
        Protocol::Ftps => "ftps",
        Protocol::Sftp => "sftp",
    }
}

/// One line a decision. Names are written escaped: what a stranger sends must not look like a line of its own.
fn log(attempt: Attempt<'_>, outcome: &Result<User, Denied>) {
    // A name that could be a user's is safe as it stands; any other is quoted, and its control characters escaped.
    let user = if is_name(attempt.user) {
        attempt.user.to_owned()
    } else {
        format!("{:?}", attempt.user.chars().take(LOGGED_NAME_MAX_CHARACTERS).collect::<String>())
    };
    let (peer, protocol) = (attempt.peer.to_canonical(), protocol_name(attempt.protocol));
    let method = match attempt.credential {
        Credential::Password(_) => "password",
        Credential::PublicKey(_) => "key",
    };
    match outcome {
        // In clear, the password could be read on its way.
        Ok(_) if attempt.protocol == Protocol::Ftp => {
            tracing::warn!(user, %peer, protocol, method, outcome = "let in", "login without TLS");
        }
        Ok(_) => tracing::info!(user, %peer, protocol, method, outcome = "let in", "login"),
        Err(denied) => tracing::warn!(user, %peer, protocol, method, outcome = %denied, "login"),
    }
}

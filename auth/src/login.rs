//! The one door: every protocol's login is a `Login::attempt`, or a `Login::step` where several things are shown in a row.
//! Knows no protocol's replies.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::error::Error;
use crate::factors::{Factor, Passed, Standing, standing};
use crate::hasher::Rank;
use crate::key::PublicKey;
use crate::name::{is_name, to_seconds};
use crate::rows::{self, Record};
use crate::secret::Secret;
use crate::throttle::{Admission, Guess, Throttle};
use crate::totp::{self, Totp};
use crate::user::{Network, Protocol, Source, User};
use crate::users::Users;
use crate::waiting::WaitingRoom;

mod log;
mod password;

use log::log;
pub use password::Unanswered;

/// What somebody shows to be let in.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// A password, as sent; of a user who has verification codes, with the code right behind it.
    Password(&'a str),
    /// A verification code by itself, where it is demanded after something else.
    Code(&'a str),
    /// A public key in OpenSSH's one-line form (`ssh-ed25519 AAAA…`), whose ownership the caller has verified.
    PublicKey(&'a str),
    /// A certificate of which the caller has verified everything but whom it is for.
    Certificate(&'a Certificate),
}

/// An OpenSSH user certificate: that it is good (signature, authority, time, options), and that its holder has the key,
/// is verified before it comes here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What its authority calls it.
    pub key_id: String,
    /// Its number among that authority's.
    pub serial: u64,
    /// The authority's fingerprint.
    pub authority: String,
    /// Whom it is for: names of users.
    pub principals: Vec<String>,
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

/// What came of something that was right.
#[derive(Debug)]
pub enum Step {
    /// The user is let in.
    In(Box<User>),
    /// More is demanded.
    More(Passed),
    /// The verification code has to be asked for, which tells nothing: it is asked for after every wrong password too.
    Ask(Unanswered),
}

/// The right thing was shown at its time: by whom, and whether that is enough.
struct Proof {
    record: Record,
    /// What is still demanded then.
    more: Option<Passed>,
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
    /// A door for these users. `clock` tells whether somebody's account has expired, and what codes are current.
    #[must_use]
    pub fn new(users: Users, throttle: Throttle, clock: fn() -> SystemTime) -> Self {
        let waiting = WaitingRoom::new(WAITING_MAX, WAITING_PER_NETWORK_MAX);
        Self { inner: Arc::new(Inner { users, throttle, waiting, clock }) }
    }

    /// Decides one try, where no second can follow. Takes equally long for unknown users as for wrong passwords, if the
    /// user's hash is of today's kind and cost: a declared bcrypt hash, which nobody upgrades, takes its own time.
    ///
    /// May be dropped at any time. While a password still waits for its turn, that takes it out of the queue and counts
    /// as nothing; once its verification has begun, that goes on, and the true outcome is counted and logged.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn attempt(&self, attempt: Attempt<'_>) -> Result<User, Denied> {
        match self.step(attempt, None).await? {
            Step::In(user) => Ok(*user),
            Step::More(_) | Step::Ask(_) => Err(Denied::Credentials),
        }
    }

    /// Decides one try of several: `passed` is what came of those before it.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn step(&self, attempt: Attempt<'_>, passed: Option<&Passed>) -> Result<Step, Denied> {
        let outcome = match attempt.credential {
            Credential::Password(password) => match self.prepare(attempt, password, passed).await {
                // Not one `await` between the turn and this: nobody can go in between.
                Ok(verification) => return verification.detach(Code::BehindIt).await,
                Err(denied) => Err(denied),
            },
            Credential::Code(code) => self.by_code(attempt, code, passed).await,
            Credential::PublicKey(line) => self.by_key(attempt, self.owner_of(attempt, line, passed).await),
            Credential::Certificate(certificate) => {
                self.by_key(attempt, self.named_in(attempt, certificate, passed).await)
            }
        };
        log(attempt, outcome.as_ref().map_err(|denied| denied as &dyn Display));
        outcome
    }

    /// Decides a password after which the verification code can be asked for. Where anybody here has one, it is, unless
    /// the password opens the door by itself: whoever is not let in learns neither whether the password was right, nor
    /// whether there is such a user, nor whether that one has codes.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn step_and_ask(&self, attempt: Attempt<'_>, passed: Option<&Passed>) -> Result<Step, Denied> {
        let Credential::Password(password) = attempt.credential else { return self.step(attempt, passed).await };
        match self.prepare(attempt, password, passed).await {
            Ok(verification) => verification.detach(Code::IsAskedFor).await,
            Err(denied) => {
                log(attempt, Err(&denied));
                Err(denied)
            }
        }
    }

    /// Would this key take this user a step further, if its ownership were proved? Never counts as a failure.
    pub async fn key_is_known(&self, attempt: Attempt<'_>, passed: Option<&Passed>) -> bool {
        let Credential::PublicKey(line) = attempt.credential else { return false };
        self.owner_of(attempt, line, passed).await.is_ok()
    }

    /// Writes down that somebody shut out by the caller was: what is shown is not worth a look at the users.
    pub fn turned_away(&self, attempt: Attempt<'_>, why: &dyn Display) {
        log(attempt, Err(why));
    }

    fn by_key(&self, attempt: Attempt<'_>, proof: Result<Proof, Denied>) -> Result<Step, Denied> {
        let Proof { record, more } = proof?;
        if let Some(passed) = more {
            return Ok(Step::More(passed));
        }
        self.inner.throttle.remember(attempt.user, Network::of_peer(attempt.peer), Instant::now());
        self.note(attempt, &record);
        Ok(Step::In(Box::new(record.user)))
    }

    async fn owner_of(&self, attempt: Attempt<'_>, line: &str, passed: Option<&Passed>) -> Result<Proof, Denied> {
        let key = PublicKey::parse(line).ok();
        let normal = key.as_ref().map(PublicKey::normal);
        let record = self.record(attempt, normal).await?;
        let owner = record.filter(|record| record.has_key).ok_or(Denied::Credentials)?;
        let mut proof = self.permitted(attempt, owner, passed, Factor::PublicKey)?;
        if let Some(more) = &mut proof.more {
            more.key = normal.map(ToOwned::to_owned);
        }
        Ok(proof)
    }

    async fn named_in(
        &self,
        attempt: Attempt<'_>,
        certificate: &Certificate,
        passed: Option<&Passed>,
    ) -> Result<Proof, Denied> {
        let named = |record: &Record| certificate.principals.contains(&record.user.name);
        let record = self.record(attempt, None).await?.filter(named).ok_or(Denied::Credentials)?;
        self.permitted(attempt, record, passed, Factor::PublicKey)
    }

    async fn by_code(&self, attempt: Attempt<'_>, code: &str, passed: Option<&Passed>) -> Result<Step, Denied> {
        let mut guess = self.admit(attempt).await?;
        let record = self.record(attempt, passed.and_then(|passed| passed.key.as_deref())).await?;
        guess.looked_at(Instant::now());
        let proof = record.ok_or(Denied::Credentials);
        let proof = proof.and_then(|record| self.permitted(attempt, record, passed, Factor::Totp));
        let proof = self.with_code(attempt, proof, code, &guess).await;
        self.conclude(attempt, guess, proof)
    }

    async fn record(&self, attempt: Attempt<'_>, key: Option<&str>) -> Result<Option<Record>, Denied> {
        let record = self.inner.users.record(lookup_name(attempt.user), key).await;
        record.map_err(|error| unavailable(&error))
    }

    /// What is right so far, if the code is right as well, and used for the first time.
    async fn with_code(
        &self,
        attempt: Attempt<'_>,
        proof: Result<Proof, Denied>,
        code: &str,
        guess: &Guess,
    ) -> Result<Proof, Denied> {
        let proof = proof?;
        let throttle = &self.inner.throttle;
        if !throttle.may_try_code(attempt.user, guess.is_known(), Instant::now()) {
            return Err(Denied::NotPermitted("too many wrong verification codes from networks it never came from"));
        }
        let Some(secret) = &proof.record.totp_secret else {
            return Err(Denied::NotPermitted("a verification code is demanded, and the user has none set up"));
        };
        let seconds = u64::try_from(to_seconds((self.inner.clock)())).unwrap_or(0);
        let totp = Totp::parse(secret.expose()).map_err(|error| unavailable(&error))?;
        let Some(step) = totp.step_of(code, seconds) else {
            throttle.wrong_code(attempt.user, Instant::now());
            return Err(Denied::NotPermitted("the verification code is wrong or missing"));
        };
        let spent = async {
            let mut write = self.inner.users.db.write().await?;
            let User { id, name, .. } = &proof.record.user;
            // Somebody may have stood before the question for long: what was right then has to be so still.
            let now = rows::find(&mut *write, name, None).await?;
            if !now.is_some_and(|now| now.admits_like(&proof.record)) {
                return Ok(Err(Denied::NotPermitted("the user was changed meanwhile")));
            }
            if !rows::spend_step(&mut write, *id, step).await? {
                return Ok(Err(Denied::NotPermitted("the verification code was used before")));
            }
            write.commit().await?;
            Ok(Ok(()))
        };
        spent.await.unwrap_or_else(|error| Err(unavailable(&error)))?;
        Ok(proof)
    }

    /// Counts what was guessed.
    fn conclude(&self, attempt: Attempt<'_>, guess: Guess, proof: Result<Proof, Denied>) -> Result<Step, Denied> {
        match proof {
            Ok(Proof { record: _, more: Some(passed) }) => {
                guess.give_back();
                Ok(Step::More(passed))
            }
            Ok(Proof { record, more: None }) => {
                guess.right(Instant::now());
                self.note(attempt, &record);
                Ok(Step::In(Box::new(record.user)))
            }
            Err(denied) => {
                // Also when the password fitted: a different count would give away that it did.
                guess.wrong(Instant::now());
                Err(denied)
            }
        }
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

    /// What else must hold once the credentials are right; `shown` is what they are.
    fn permitted(
        &self,
        attempt: Attempt<'_>,
        record: Record,
        passed: Option<&Passed>,
        shown: Factor,
    ) -> Result<Proof, Denied> {
        let user = &record.user;
        let allows = |list: &Option<Vec<Protocol>>| match list.as_deref() {
            None | Some([]) => true,
            Some(list) => list.contains(&attempt.protocol),
        };
        let reaches = |list: &Option<Vec<Network>>| match list.as_deref() {
            None | Some([]) => true,
            Some(list) => list.iter().any(|network| network.contains(attempt.peer)),
        };
        let demanded = user.effective.factors.as_deref().unwrap_or_default();
        if user.disabled {
            return Err(Denied::NotPermitted("the user is disabled"));
        } else if user.expires.is_some_and(|end| end <= (self.inner.clock)()) {
            return Err(Denied::NotPermitted("the user's time is over"));
        } else if !allows(&user.effective.protocols) {
            return Err(Denied::NotPermitted("not over this protocol"));
        } else if !reaches(&user.effective.networks) {
            return Err(Denied::NotPermitted("not from this network"));
        } else if attempt.protocol != Protocol::Sftp && !matches!(demanded, [] | [Factor::Password]) {
            return Err(Denied::NotPermitted("FTP cannot carry the factors that are demanded"));
        }
        // Somebody may have been half-way in for long: what was right then has to be so still.
        if passed.is_some_and(|passed| passed.user() == attempt.user && !passed.holds(&record)) {
            return Err(Denied::NotPermitted("what was shown first was replaced meanwhile"));
        }
        match standing(attempt.user, demanded, passed, shown) {
            Standing::Enough => Ok(Proof { record, more: None }),
            Standing::More(mut passed) => {
                if shown == Factor::Password {
                    passed.password_hash = record.password_hash.as_deref().map(Secret::from);
                }
                Ok(Proof { record, more: Some(passed) })
            }
            Standing::OutOfTurn => Err(Denied::NotPermitted("other factors are demanded, or in another order")),
        }
    }

    /// Stores a hash of today's kind and cost in the place of an older one, and says which. If that fails, the next login
    /// tries again.
    async fn upgrade(&self, record: &Record, password: &Secret) -> Option<String> {
        let users = &self.inner.users;
        let old = record.password_hash.as_deref()?;
        if record.user.source != Source::Database || !users.hasher.needs_upgrade(old) {
            return None;
        }
        let upgraded = async {
            let new = users.hasher.make(password, Rank::Known).await?;
            let mut write = users.db.write().await?;
            rows::replace_hash(&mut write, record.user.id, old, &new).await?;
            write.commit().await?;
            Ok::<_, Error>(new)
        };
        let failed = |error: &Error| {
            tracing::warn!(user = ?record.user.name, %error, "the password's hash could not be renewed");
        };
        upgraded.await.inspect_err(failed).ok()
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

/// How the verification code comes to a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    /// In the same text.
    BehindIt,
    /// By itself, when it is asked for.
    IsAskedFor,
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

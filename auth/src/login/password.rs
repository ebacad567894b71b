//! Passwords, and the verification codes that belong to them: verified away from their caller, counted once.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Instant;

use super::log::log;
use super::{Attempt, Code, Credential, Denied, Login, Proof, Step, totp, unavailable};
use crate::factors::{Factor, Passed};
use crate::hash::PASSWORD_MAX_BYTES;
use crate::hasher::{Rank, Turn};
use crate::rows::Record;
use crate::secret::Secret;
use crate::throttle::Guess;
use crate::user::Protocol;

/// Whose try it is, apart from what is shown: outlives the caller.
struct Whose {
    login: Login,
    user: String,
    peer: IpAddr,
    protocol: Protocol,
}

impl Whose {
    fn attempt<'a>(&'a self, password: &'a Secret) -> Attempt<'a> {
        let credential = Credential::Password(password.expose());
        Attempt { user: &self.user, credential, peer: self.peer, protocol: self.protocol }
    }
}

/// A password whose turn has come, with all that is needed to decide about it without its caller: a login deadline or a
/// lost connection ends the caller, and must turn neither a right password into a wrong guess nor a wrong one into none.
/// There are no more of them at a time than verifications run, but for writing down those that were right.
pub(super) struct Verification {
    whose: Whose,
    password: Secret,
    passed: Option<Passed>,
    guess: Guess,
    record: Option<Record>,
    turn: Turn,
}

impl Login {
    /// All that comes before a password is looked at. Dropped, or failed, it gives its guess back.
    pub(super) async fn prepare(
        &self,
        attempt: Attempt<'_>,
        password: &str,
        passed: Option<&Passed>,
    ) -> Result<Verification, Denied> {
        let password = Secret::from(password);
        let guess = self.admit(attempt).await?;
        let record = self.record(attempt, passed.and_then(|passed| passed.key.as_deref())).await?;
        let rank = if guess.is_known() { Rank::Known } else { Rank::Stranger };
        let turn = self.inner.users.hasher.turn(rank).await.map_err(|error| unavailable(&error))?;
        let Attempt { user, peer, protocol, .. } = attempt;
        let whose = Whose { login: self.clone(), user: user.to_owned(), peer, protocol };
        Ok(Verification { whose, password, passed: passed.cloned(), guess, record, turn })
    }
}

impl Verification {
    /// From now on it counts, and goes on whether or not somebody waits for the answer.
    pub(super) async fn detach(mut self, code: Code) -> Result<Step, Denied> {
        self.guess.looked_at(Instant::now());
        tokio::spawn(self.run(code)).await.unwrap_or(Err(Denied::Unavailable))
    }

    async fn run(self, code: Code) -> Result<Step, Denied> {
        let Self { whose, password, passed, guess, record, turn } = self;
        let has_totp = record.as_ref().is_some_and(|record| record.totp_secret.is_some());
        let (secret, behind) = match code {
            Code::BehindIt if has_totp => split(&password),
            Code::BehindIt | Code::IsAskedFor => (password, Secret::default()),
        };
        let attempt = whose.attempt(&secret);
        let proof = verify(&whose.login, attempt, &secret, record, passed.as_ref(), turn).await;
        let outcome = match code {
            Code::IsAskedFor => match asks(&whose.login, &proof).await {
                Ok(true) => {
                    let open = Open { whose, password: secret, guess, proof };
                    return Ok(Step::Ask(Unanswered(Some(Box::new(open)))));
                }
                Ok(false) => settle(&whose.login, attempt, &secret, guess, proof).await,
                Err(denied) => Err(denied),
            },
            Code::BehindIt if has_totp => {
                let proof = whose.login.with_code(attempt, proof, behind.expose(), &guess).await;
                settle(&whose.login, attempt, &secret, guess, proof).await
            }
            Code::BehindIt => settle(&whose.login, attempt, &secret, guess, proof).await,
        };
        log(attempt, outcome.as_ref().map_err(|denied| denied as &dyn Display));
        outcome
    }
}

/// The code is what the last six characters are; without enough of them there is none, and the rest is no password.
/// What is too long to be a password stays so: without its code it might be hashed, which takes time, and only of those
/// who have codes.
fn split(password: &Secret) -> (Secret, Secret) {
    let text = password.expose();
    if text.len() > PASSWORD_MAX_BYTES {
        return (password.clone(), Secret::default());
    }
    match text.len().checked_sub(totp::DIGITS).and_then(|at| text.split_at_checked(at)) {
        Some((password, code)) => (Secret::from(password), Secret::from(code)),
        None => (password.clone(), Secret::default()),
    }
}

/// Is the password right, and may its owner come in with it? A database or a queue that cannot answer leaves the guess
/// what it is by now: wrong.
async fn verify(
    login: &Login,
    attempt: Attempt<'_>,
    password: &Secret,
    record: Option<Record>,
    passed: Option<&Passed>,
    turn: Turn,
) -> Result<Proof, Denied> {
    let hash = record.as_ref().and_then(|record| record.password_hash.as_deref());
    // Also without a user or a hash: the work must look the same from outside.
    let fits = turn.fits(password, hash).await.map_err(|error| unavailable(&error))?;
    let record = record.filter(|_| fits).ok_or(Denied::Credentials)?;
    login.permitted(attempt, record, passed, Factor::Password)
}

/// Has the code to be asked for? Of everybody but those who are through without one, where anybody has one. Takes equally
/// long for all.
async fn asks(login: &Login, proof: &Result<Proof, Denied>) -> Result<bool, Denied> {
    let any = login.inner.users.any_totp().await.map_err(|error| unavailable(&error))?;
    Ok(match proof {
        Ok(proof) => proof.record.totp_secret.is_some(),
        Err(_) => any,
    })
}

async fn settle(
    login: &Login,
    attempt: Attempt<'_>,
    password: &Secret,
    guess: Guess,
    mut proof: Result<Proof, Denied>,
) -> Result<Step, Denied> {
    if let Ok(proof) = &mut proof
        && let Some(hash) = login.upgrade(&proof.record, password).await
        && let Some(more) = &mut proof.more
    {
        more.password_hash = Some(Secret::from(hash));
    }
    login.conclude(attempt, guess, proof)
}

/// A password that was looked at, right or wrong, and whose code has yet to come. Its guess is under way meanwhile, and
/// counts as wrong when it is dropped: hanging up must not tell one from the other.
#[must_use]
pub struct Unanswered(Option<Box<Open>>);

struct Open {
    whose: Whose,
    password: Secret,
    guess: Guess,
    proof: Result<Proof, Denied>,
}

impl std::fmt::Debug for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unanswered")
    }
}

impl Unanswered {
    /// Decides about password and code together. Once begun it goes on, as a password does.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn answer(mut self, code: &str) -> Result<Step, Denied> {
        let Some(open) = self.0.take() else { return Err(Denied::Credentials) };
        let code = Secret::from(code);
        tokio::spawn(open.decide(code)).await.unwrap_or(Err(Denied::Unavailable))
    }
}

impl Open {
    async fn decide(self, code: Secret) -> Result<Step, Denied> {
        let Self { whose, password, guess, proof } = self;
        let attempt = whose.attempt(&password);
        let proof = whose.login.with_code(attempt, proof, code.expose(), &guess).await;
        let outcome = settle(&whose.login, attempt, &password, guess, proof).await;
        log(attempt, outcome.as_ref().map_err(|denied| denied as &dyn Display));
        outcome
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let why = match &open.proof {
                Ok(_) => &"no verification code came" as &dyn Display,
                Err(denied) => denied,
            };
            log(open.whose.attempt(&open.password), Err(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_split_off_from_what_is_too_long() {
        let split_at = |length: usize| {
            let (password, code) = split(&Secret::new("x".repeat(length)));
            (password.len_bytes(), code.len_bytes())
        };
        assert_eq!(split_at(PASSWORD_MAX_BYTES), (PASSWORD_MAX_BYTES - totp::DIGITS, totp::DIGITS));
        for length in PASSWORD_MAX_BYTES + 1..=PASSWORD_MAX_BYTES + totp::DIGITS + 1 {
            assert_eq!(split_at(length), (length, 0));
        }
    }
}

//! Brings the database's declared users to what the configuration says, all or nothing. Reads no configuration.

use std::collections::{HashMap, HashSet};

use tokio::task::JoinSet;

use crate::db::Write;
use crate::declared::DeclaredUser;
use crate::error::{Error, Result};
use crate::hasher::{Hasher, Rank};
use crate::key::PublicKey;
use crate::name::{check_name, from_seconds, to_seconds};
use crate::rows::{self, Columns, Record};
use crate::secret::Secret;
use crate::totp::Totp;
use crate::user::Source;
use crate::users::{Users, check_columns, parse_keys};

/// What was done to bring users to what is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Synced {
    /// Newly declared.
    pub added: usize,
    /// Declared otherwise than before.
    pub changed: usize,
    /// No longer declared.
    pub removed: usize,
}

/// A declared user, checked, as it is to be stored.
struct Wanted {
    name: String,
    columns: Columns,
    groups: Vec<String>,
    keys: Vec<PublicKey>,
}

impl Users {
    /// Makes the declared users those that `declared` names; the others are left alone. Repeated without a change it
    /// writes nothing.
    ///
    /// # Errors
    /// [`Error::DeclaredUser`] for an entry that is not acceptable; [`Error::DeclaredAndStored`] when the database has a
    /// user of the same name. Nothing is changed then.
    pub async fn declare(&self, declared: Vec<DeclaredUser>) -> Result<Synced> {
        let mut wanted = Vec::with_capacity(declared.len());
        let mut passwords = Vec::new();
        let mut seen = HashSet::new();
        for mut user in declared {
            let name = user.name.clone();
            let of_user = |source| Error::DeclaredUser { name: name.clone(), source: Box::new(source) };
            if !seen.insert(user.name.to_ascii_lowercase()) {
                return Err(of_user(Error::Invalid {
                    field: "name",
                    reason: "it is declared twice (case is ignored)",
                }));
            }
            if let Some(password) = user.password.take() {
                passwords.push((wanted.len(), password));
                if user.password_hash.is_some() {
                    return Err(of_user(Error::InvalidPassword("both a password and a hash are given")));
                }
            }
            wanted.push(check(user).map_err(of_user)?);
        }
        self.hash_passwords(&mut wanted, passwords).await?;

        let mut write = self.db.write().await?;
        let mut stored: HashMap<String, Record> =
            rows::all(&mut *write).await?.into_iter().map(|record| (record.user.name.clone(), record)).collect();
        let names: HashSet<&str> = wanted.iter().map(|user| user.name.as_str()).collect();
        let mut synced = Synced::default();
        // First, so that a name may come back in another case.
        for record in stored.values().filter(|record| record.user.source == Source::Config) {
            if !names.contains(record.user.name.as_str()) {
                rows::delete(&mut write, record.user.id).await?;
                synced.removed += 1;
            }
        }
        for user in &wanted {
            match stored.remove(&user.name) {
                Some(record) if record.user.source == Source::Config => {
                    synced.changed += usize::from(update(&mut write, user, record).await?);
                }
                _ => {
                    add(&mut write, user).await?;
                    synced.added += 1;
                }
            }
        }
        write.commit().await?;
        Ok(synced)
    }

    /// Hashes the passwords that the stored hashes do not fit already: a fresh salt each time would be a change each time.
    async fn hash_passwords(&self, wanted: &mut [Wanted], passwords: Vec<(usize, Secret)>) -> Result<()> {
        let mut stored: HashMap<String, String> = rows::all(self.db.pool())
            .await?
            .into_iter()
            .filter_map(|record| Some((record.user.name, record.password_hash?)))
            .collect();
        let mut work = JoinSet::new();
        for (index, password) in passwords {
            let stored = wanted.get(index).and_then(|user| stored.remove(&user.name));
            let hasher = self.hasher.clone();
            work.spawn(async move { (index, hash_unless_fitting(&hasher, &password, stored).await) });
        }
        while let Some(done) = work.join_next().await {
            let Ok((index, hash)) = done else { return Err(Error::Busy) };
            if let Some(user) = wanted.get_mut(index) {
                let of_user = |source| Error::DeclaredUser { name: user.name.clone(), source: Box::new(source) };
                user.columns.password_hash = Some(hash.map_err(of_user)?);
            }
        }
        Ok(())
    }
}

async fn hash_unless_fitting(hasher: &Hasher, password: &Secret, stored: Option<String>) -> Result<String> {
    if let Some(stored) = stored
        && !hasher.needs_upgrade(&stored)
        && hasher.fits(password, Some(&stored), Rank::Operator).await?
    {
        return Ok(stored);
    }
    hasher.hash(password).await
}

/// Is a declared user acceptable by itself? Neither its groups nor other users are looked at.
///
/// # Errors
/// The error of the field that is not.
pub fn check_declared(user: DeclaredUser) -> Result<()> {
    check(user).map(drop)
}

fn check(user: DeclaredUser) -> Result<Wanted> {
    check_name(&user.name)?;
    let columns = Columns {
        home: user.home.unwrap_or_else(|| format!("/{}", user.name)),
        email: user.email,
        disabled: user.disabled,
        // As it comes back from the database, so that the two can be compared.
        expires: user.expires.map(|end| from_seconds(to_seconds(end))),
        password_hash: user.password_hash,
        totp_secret: user.totp_secret.map(|text| Totp::parse(text.expose())).transpose()?.as_ref().map(Totp::base32),
        grant: user.grant,
    };
    check_columns(&columns, &user.groups)?;
    let mut keys: Vec<PublicKey> = Vec::new();
    for key in parse_keys(&user.public_keys)? {
        if keys.iter().all(|other| other.fingerprint() != key.fingerprint()) {
            keys.push(key);
        }
    }
    Ok(Wanted { name: user.name, columns, groups: user.groups, keys })
}

async fn add(write: &mut Write<'_>, user: &Wanted) -> Result<()> {
    if let Some(stored) = rows::find_caseless(write, &user.name).await? {
        return Err(Error::DeclaredAndStored { name: user.name.clone(), stored });
    }
    let id = rows::insert(write, &user.name, Source::Config, &user.columns).await?;
    set_rest(write, id, user).await
}

/// True when something had to be changed.
async fn update(write: &mut Write<'_>, user: &Wanted, record: Record) -> Result<bool> {
    let id = record.user.id;
    let same_groups = record.user.groups == user.groups;
    let same_keys = rows::keys(&mut **write, id).await? == user.keys;
    if Columns::from(record) == user.columns && same_groups && same_keys {
        return Ok(false);
    }
    rows::update(write, id, &user.columns).await?;
    rows::delete_keys(write, id).await?;
    set_rest(write, id, user).await?;
    Ok(true)
}

async fn set_rest(write: &mut Write<'_>, id: i64, user: &Wanted) -> Result<()> {
    let of_user = |source| Error::DeclaredUser { name: user.name.clone(), source: Box::new(source) };
    rows::set_groups(write, id, &user.groups).await.map_err(of_user)?;
    for key in &user.keys {
        rows::insert_key(write, id, key).await?;
    }
    Ok(())
}

//! Users and their keys: adding, changing, looking up. What groups grant and how declared users are kept is next door;
//! who may log in is decided in `login`.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::db::{Database, Write};
use crate::error::{Error, Kind, Result};
use crate::factors::check_factors;
use crate::hasher::Hasher;
use crate::key::PublicKey;
use crate::name::{check_email, check_home, check_name, from_seconds};
use crate::rows::{self, Columns, Record};
use crate::rules::Pixels;
use crate::secret::Secret;
use crate::totp::Totp;
use crate::user::{Grant, Group, Source, User};

/// Keys of one user.
pub const KEYS_MAX: usize = 100;
/// Groups of one user.
pub const GROUPS_MAX: usize = 32;

/// The users. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pub(crate) db: Database,
    pub(crate) hasher: Hasher,
    defaults: Arc<RwLock<Arc<Grant>>>,
}

/// A user to be added.
#[derive(Debug, Clone, Default)]
pub struct NewUser {
    /// Login name.
    pub name: String,
    /// Absolute path of the user's root on the storage; `None` means `/NAME`.
    pub home: Option<String>,
    /// Address for people.
    pub email: Option<String>,
    /// Password, to be hashed.
    pub password: Option<Secret>,
    /// Or a password's hash, in one of the forms that `hash` names.
    pub password_hash: Option<String>,
    /// What the user's authenticator app shares, if the password needs a verification code beside it.
    pub totp: Option<Totp>,
    /// Public keys, one line each.
    pub keys: Vec<String>,
    /// Own grant.
    pub grant: Grant,
    /// Groups, first wins.
    pub groups: Vec<String>,
    /// May not log in from then on.
    pub expires: Option<SystemTime>,
    /// May not log in.
    pub disabled: bool,
}

impl NewUser {
    /// Are name, home and address acceptable? For callers that have to know before they open a database.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Invalid`].
    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        self.home.as_deref().map_or(Ok(()), check_home)?;
        self.email.as_deref().map_or(Ok(()), check_email)
    }
}

/// What to change of a user; `None` leaves a value alone.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Root on the storage.
    pub home: Option<String>,
    /// Address; `Some(None)` takes it away.
    pub email: Option<Option<String>>,
    /// Own grant, as a whole.
    pub grant: Option<Grant>,
    /// Groups, as a whole.
    pub groups: Option<Vec<String>>,
    /// End; `Some(None)` takes it away.
    pub expires: Option<Option<SystemTime>>,
    /// May not log in.
    pub disabled: Option<bool>,
}

/// When and how somebody came in last. Exact to a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLogin {
    /// When.
    pub at: SystemTime,
    /// Over what: `ftp`, `ftps` or `sftp`.
    pub protocol: String,
    /// Address.
    pub peer: String,
}

impl Users {
    /// Users in that database; `defaults` hold where neither a user nor its groups have a value.
    #[must_use]
    pub fn open(db: Database, defaults: Grant, hasher: Hasher) -> Self {
        Self { db, hasher, defaults: Arc::new(RwLock::new(Arc::new(defaults))) }
    }

    /// Other defaults, from the next look-up on.
    pub fn set_defaults(&self, defaults: Grant) {
        *self.defaults.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(defaults);
    }

    /// The database they are kept in.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// What hashes their passwords.
    #[must_use]
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The user of that name, if there is one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find(&self, name: &str) -> Result<Option<User>> {
        Ok(self.record(name, None).await?.map(|record| record.user))
    }

    /// The user of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Database`].
    pub async fn get(&self, name: &str) -> Result<User> {
        self.find(name).await?.ok_or_else(|| Error::not_found(Kind::User, name))
    }

    /// Everybody, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list(&self) -> Result<Vec<User>> {
        let records = rows::all(self.db.pool()).await?;
        Ok(records.into_iter().map(|record| self.fill(record).user).collect())
    }

    /// When the user came in last, if ever.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn last_login(&self, name: &str) -> Result<Option<LastLogin>> {
        let row: Option<(i64, String, String)> = sqlx::query_as(
            "SELECT l.at, l.protocol, l.peer FROM user_logins l JOIN users u ON u.id = l.user_id WHERE u.name = ?",
        )
        .bind(name)
        .fetch_optional(self.db.pool())
        .await?;
        Ok(row.map(|(at, protocol, peer)| LastLogin { at: from_seconds(at), protocol, peer }))
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], also when a name differs only in case; the error of the field that is not acceptable.
    pub async fn add(&self, new: NewUser) -> Result<User> {
        new.check()?;
        let home = new.home.unwrap_or_else(|| format!("/{}", new.name));
        let keys = parse_keys(&new.keys)?;
        let password_hash = match (new.password, new.password_hash) {
            (Some(_), Some(_)) => return Err(Error::InvalidPassword("both a password and a hash are given")),
            (Some(password), None) => Some(self.hasher.hash(&password).await?),
            (None, hash) => hash,
        };
        let columns = Columns {
            home,
            email: new.email,
            disabled: new.disabled,
            expires: new.expires,
            password_hash,
            totp_secret: new.totp.as_ref().map(Totp::base32),
            grant: new.grant,
        };
        check_columns(&columns, &new.groups)?;
        let mut write = self.db.write().await?;
        if let Some(name) = rows::find_caseless(&mut write, &new.name).await? {
            return Err(Error::AlreadyExists { kind: Kind::User, name });
        }
        let id = rows::insert(&mut write, &new.name, Source::Database, &columns).await?;
        rows::set_groups(&mut write, id, &new.groups).await?;
        for key in &keys {
            rows::insert_key(&mut write, id, key).await?;
        }
        write.commit().await?;
        self.get(&new.name).await
    }

    /// Changes a user.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ReadOnly`], the error of the field that is not acceptable.
    pub async fn update(&self, name: &str, change: Change) -> Result<User> {
        let mut write = self.db.write().await?;
        let record = writable(&mut write, name).await?;
        let id = record.user.id;
        let mut columns = Columns::from(record);
        columns.home = change.home.unwrap_or(columns.home);
        columns.email = change.email.unwrap_or(columns.email);
        columns.grant = change.grant.unwrap_or(columns.grant);
        columns.expires = change.expires.unwrap_or(columns.expires);
        columns.disabled = change.disabled.unwrap_or(columns.disabled);
        check_columns(&columns, change.groups.as_deref().unwrap_or_default())?;
        rows::update(&mut write, id, &columns).await?;
        if let Some(groups) = change.groups {
            rows::set_groups(&mut write, id, &groups).await?;
        }
        write.commit().await?;
        self.get(name).await
    }

    /// Sets a password; `None` takes it away, so that only keys open the door.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ReadOnly`], [`Error::InvalidPassword`], [`Error::Busy`].
    pub async fn set_password(&self, name: &str, password: Option<&Secret>) -> Result<()> {
        let hash = match password {
            Some(password) => Some(self.hasher.hash(password).await?),
            None => None,
        };
        let mut write = self.db.write().await?;
        let record = writable(&mut write, name).await?;
        let id = record.user.id;
        rows::update(&mut write, id, &Columns { password_hash: hash, ..Columns::from(record) }).await?;
        write.commit().await
    }

    /// Makes the password need a verification code beside it; `None`: not any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ReadOnly`].
    pub async fn set_totp(&self, name: &str, totp: Option<&Totp>) -> Result<()> {
        let mut write = self.db.write().await?;
        let record = writable(&mut write, name).await?;
        let id = record.user.id;
        let totp_secret = totp.map(Totp::base32);
        rows::update(&mut write, id, &Columns { totp_secret, ..Columns::from(record) }).await?;
        write.commit().await
    }

    /// Shuts a user out.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ReadOnly`].
    pub async fn disable(&self, name: &str) -> Result<User> {
        self.update(name, Change { disabled: Some(true), ..Change::default() }).await
    }

    /// Lets a user in again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ReadOnly`].
    pub async fn enable(&self, name: &str) -> Result<User> {
        self.update(name, Change { disabled: Some(false), ..Change::default() }).await
    }

    /// Removes a user with its keys. Its files stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ReadOnly`].
    pub async fn remove(&self, name: &str) -> Result<()> {
        let mut write = self.db.write().await?;
        let record = writable(&mut write, name).await?;
        rows::delete(&mut write, record.user.id).await?;
        write.commit().await
    }

    /// A user's keys, in the order they were added.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Database`].
    pub async fn list_keys(&self, name: &str) -> Result<Vec<PublicKey>> {
        let user = self.get(name).await?;
        rows::keys(self.db.pool(), user.id).await
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::AlreadyExists`], [`Error::NotFound`], [`Error::ReadOnly`].
    pub async fn add_key(&self, name: &str, line: &str) -> Result<PublicKey> {
        let key = PublicKey::parse(line)?;
        let mut write = self.db.write().await?;
        let user = writable(&mut write, name).await?.user;
        if usize::try_from(user.key_count).unwrap_or(usize::MAX) >= KEYS_MAX {
            return Err(Error::Invalid { field: "key", reason: "a user has at most 100 keys" });
        }
        if !rows::insert_key(&mut write, user.id, &key).await? {
            return Err(Error::AlreadyExists { kind: Kind::Key, name: key.fingerprint().to_owned() });
        }
        write.commit().await?;
        Ok(key)
    }

    /// Removes the key that has this fingerprint or, if only one has it, this comment.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::ReadOnly`].
    pub async fn remove_key(&self, name: &str, which: &str) -> Result<PublicKey> {
        let mut write = self.db.write().await?;
        let user = writable(&mut write, name).await?.user;
        let mut keys = rows::keys(&mut *write, user.id).await?;
        keys.retain(|key| key.fingerprint() == which || (!which.is_empty() && key.comment() == which));
        if keys.len() > 1 {
            return Err(Error::Ambiguous { name: which.to_owned() });
        }
        let key = keys.pop().ok_or_else(|| Error::not_found(Kind::Key, which))?;
        rows::delete_key(&mut write, user.id, key.fingerprint()).await?;
        write.commit().await?;
        Ok(key)
    }

    /// All that a login needs, in one statement. `key`: a key in normal form, whose ownership is to be told.
    pub(crate) async fn record(&self, name: &str, key: Option<&str>) -> Result<Option<Record>> {
        Ok(rows::find(self.db.pool(), name, key).await?.map(|record| self.fill(record)))
    }

    /// Has anybody a verification code?
    pub(crate) async fn any_totp(&self) -> Result<bool> {
        rows::any_totp(self.db.pool()).await
    }

    /// Works out what holds for the user.
    fn fill(&self, mut record: Record) -> Record {
        let defaults = Arc::clone(&self.defaults.read().unwrap_or_else(PoisonError::into_inner));
        record.user.effective = effective(&record.user.grant, &record.groups, &defaults);
        record
    }
}

/// A user that may be changed here.
async fn writable(write: &mut Write<'_>, name: &str) -> Result<Record> {
    let record = rows::find(&mut **write, name, None).await?.ok_or_else(|| Error::not_found(Kind::User, name))?;
    match record.user.source {
        Source::Database => Ok(record),
        Source::Config => Err(Error::ReadOnly { name: name.to_owned() }),
    }
}

impl From<Record> for Columns {
    fn from(record: Record) -> Self {
        let Record { user, password_hash, totp_secret, .. } = record;
        let User { home, email, disabled, expires, grant, .. } = user;
        Self { home, email, disabled, expires, password_hash, totp_secret, grant }
    }
}

pub(crate) fn check_columns(columns: &Columns, groups: &[String]) -> Result<()> {
    check_home(&columns.home)?;
    columns.email.as_deref().map_or(Ok(()), check_email)?;
    columns.password_hash.as_deref().map_or(Ok(()), Hasher::check_hash)?;
    check_factors(columns.grant.factors.as_deref().unwrap_or_default())?;
    if groups.len() > GROUPS_MAX {
        return Err(Error::Invalid { field: "groups", reason: "a user is in at most 32 groups" });
    }
    let twice =
        groups.iter().enumerate().any(|(index, group)| groups.iter().take(index).any(|earlier| earlier == group));
    if twice {
        return Err(Error::Invalid { field: "groups", reason: "a group is named twice" });
    }
    Ok(())
}

pub(crate) fn parse_keys(lines: &[String]) -> Result<Vec<PublicKey>> {
    if lines.len() > KEYS_MAX {
        return Err(Error::Invalid { field: "key", reason: "a user has at most 100 keys" });
    }
    lines.iter().map(|line| PublicKey::parse(line)).collect()
}

/// The user's own value, else the first group's that has one, else the default.
fn effective(own: &Grant, groups: &[Group], defaults: &Grant) -> Grant {
    let limited = |most: &u64| *most != Grant::UNLIMITED;
    let layers = || std::iter::once(own).chain(groups.iter().map(|group| &group.grant)).chain([defaults]);
    Grant {
        permissions: layers().find_map(|grant| grant.permissions),
        path_permissions: layers().find_map(|grant| grant.path_permissions.clone()),
        overwrite: layers().find_map(|grant| grant.overwrite),
        allowed_types: layers().find_map(|grant| grant.allowed_types.clone()).filter(|types| !types.is_empty()),
        content_check: layers().find_map(|grant| grant.content_check),
        min_pixels: layers().find_map(|grant| grant.min_pixels).filter(|least| *least != Pixels::LEAST),
        max_pixels: layers().find_map(|grant| grant.max_pixels).filter(|most| *most != Pixels::MOST),
        file_name_pattern: layers().find_map(|grant| grant.file_name_pattern.clone()).filter(|rule| !rule.is_any()),
        max_uploads_per_day: layers().find_map(|grant| grant.max_uploads_per_day).filter(limited),
        max_bytes_per_second: layers().find_map(|grant| grant.max_bytes_per_second).filter(limited),
        max_session_bytes_per_second: layers().find_map(|grant| grant.max_session_bytes_per_second).filter(limited),
        quota_bytes: layers().find_map(|grant| grant.quota_bytes).filter(limited),
        quota_files: layers().find_map(|grant| grant.quota_files).filter(limited),
        max_file_bytes: layers().find_map(|grant| grant.max_file_bytes).filter(limited),
        max_sessions: layers().find_map(|grant| grant.max_sessions).filter(|most| *most != Grant::UNLIMITED_SESSIONS),
        protocols: layers().find_map(|grant| grant.protocols.clone()),
        networks: layers().find_map(|grant| grant.networks.clone()),
        factors: layers().find_map(|grant| grant.factors.clone()),
    }
}

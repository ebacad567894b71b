//! The SQL of users, keys and groups: one function a statement. Decides nothing, checks nothing.

use std::time::SystemTime;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::error::{Error, Kind, Result};
use crate::key::PublicKey;
use crate::name::{from_seconds, to_seconds};
use crate::secret::Secret;
use crate::user::{Grant, Group, Source, User};

/// A user's row and what hangs on it.
pub(crate) struct Record {
    /// `effective` is not filled in yet.
    pub user: User,
    pub password_hash: Option<String>,
    /// In base32.
    pub totp_secret: Option<Secret>,
    /// In the user's order.
    pub groups: Vec<Group>,
    /// True when the key asked for is one of the user's.
    pub has_key: bool,
    pub last_login_seconds: Option<i64>,
}

impl Record {
    /// Would all that a login is decided on be found as it is here?
    pub(crate) fn admits_like(&self, other: &Self) -> bool {
        let (user, of_other) = (&self.user, &other.user);
        (user.id, user.disabled, user.expires, &user.grant)
            == (of_other.id, of_other.disabled, of_other.expires, &of_other.grant)
            && self.password_hash == other.password_hash
            && self.totp_secret == other.totp_secret
            && self.groups == other.groups
    }
}

/// The columns of a user that a caller decides on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns {
    pub home: String,
    pub email: Option<String>,
    pub disabled: bool,
    pub expires: Option<SystemTime>,
    pub password_hash: Option<String>,
    pub totp_secret: Option<Secret>,
    pub grant: Grant,
}

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT u.id, u.name, u.home, u.email, u.disabled, u.expires_at, u.password_hash, u.totp_secret, u.granted, ",
            "u.source, ",
            "(SELECT count(*) FROM user_keys k WHERE k.user_id = u.id) AS key_count, ",
            "EXISTS (SELECT 1 FROM user_keys k WHERE k.user_id = u.id AND k.public_key = ?1) AS has_key, ",
            "(SELECT at FROM user_logins l WHERE l.user_id = u.id) AS last_login, ",
            "(SELECT json_group_array(json_object('name', g.name, 'grant', json(g.granted)) ORDER BY m.position) ",
            "FROM group_members m JOIN user_groups g ON g.id = m.group_id WHERE m.user_id = u.id) AS member_of ",
            "FROM users u ",
            $rest
        )
    };
}

/// `key`: a key in normal form, whose ownership is to be told.
pub(crate) async fn find<'c>(
    executor: impl sqlx::SqliteExecutor<'c>,
    name: &str,
    key: Option<&str>,
) -> Result<Option<Record>> {
    let row = sqlx::query(select_users!("WHERE u.name = ?2")).bind(key).bind(name).fetch_optional(executor).await?;
    row.as_ref().map(record).transpose()
}

pub(crate) async fn all<'c>(executor: impl sqlx::SqliteExecutor<'c>) -> Result<Vec<Record>> {
    let rows = sqlx::query(select_users!("ORDER BY u.name")).bind(None::<&str>).fetch_all(executor).await?;
    rows.iter().map(record).collect()
}

fn record(row: &SqliteRow) -> Result<Record> {
    let groups: Vec<Group> = serde_json::from_str(row.try_get("member_of")?)?;
    let password_hash: Option<String> = row.try_get("password_hash")?;
    let totp_secret = row.try_get::<Option<String>, _>("totp_secret")?.map(Secret::new);
    let source = if row.try_get::<&str, _>("source")? == "config" { Source::Config } else { Source::Database };
    let user = User {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        home: row.try_get("home")?,
        email: row.try_get("email")?,
        disabled: row.try_get("disabled")?,
        expires: row.try_get::<Option<i64>, _>("expires_at")?.map(from_seconds),
        groups: groups.iter().map(|group| group.name.clone()).collect(),
        grant: serde_json::from_str(row.try_get("granted")?)?,
        effective: Grant::default(),
        source,
        has_password: password_hash.is_some(),
        has_totp: totp_secret.is_some(),
        key_count: row.try_get("key_count")?,
    };
    Ok(Record {
        user,
        password_hash,
        totp_secret,
        groups,
        has_key: row.try_get("has_key")?,
        last_login_seconds: row.try_get("last_login")?,
    })
}

/// The name as stored and the source of a user of that name, whatever its case.
pub(crate) async fn find_caseless(connection: &mut SqliteConnection, name: &str) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT name FROM users WHERE name = ? COLLATE NOCASE")
        .bind(name)
        .fetch_optional(connection)
        .await?)
}

pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    name: &str,
    source: Source,
    columns: &Columns,
) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "INSERT INTO users (name, source, home, email, disabled, expires_at, password_hash, totp_secret, granted) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(name)
    .bind(match source {
        Source::Database => "database",
        Source::Config => "config",
    })
    .bind(&columns.home)
    .bind(&columns.email)
    .bind(columns.disabled)
    .bind(columns.expires.map(to_seconds))
    .bind(&columns.password_hash)
    .bind(columns.totp_secret.as_ref().map(Secret::expose))
    .bind(serde_json::to_string(&columns.grant)?)
    .fetch_one(connection)
    .await?)
}

pub(crate) async fn update(connection: &mut SqliteConnection, id: i64, columns: &Columns) -> Result<()> {
    sqlx::query(
        "UPDATE users SET home = ?, email = ?, disabled = ?, expires_at = ?, password_hash = ?, totp_secret = ?, \
         granted = ? WHERE id = ?",
    )
    .bind(&columns.home)
    .bind(&columns.email)
    .bind(columns.disabled)
    .bind(columns.expires.map(to_seconds))
    .bind(&columns.password_hash)
    .bind(columns.totp_secret.as_ref().map(Secret::expose))
    .bind(serde_json::to_string(&columns.grant)?)
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts a hash in the place of another, unless that one is gone by now. True when it was there.
pub(crate) async fn replace_hash(connection: &mut SqliteConnection, id: i64, old: &str, new: &str) -> Result<bool> {
    let done = sqlx::query("UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?")
        .bind(new)
        .bind(id)
        .bind(old)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Has anybody a verification code?
pub(crate) async fn any_totp<'c>(executor: impl sqlx::SqliteExecutor<'c>) -> Result<bool> {
    let any = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM users WHERE totp_secret IS NOT NULL)");
    Ok(any.fetch_one(executor).await?)
}

/// Uses up the code of a step. False when that one, or a later one, was used before.
pub(crate) async fn spend_step(connection: &mut SqliteConnection, user: i64, step: u64) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO user_totp_steps (user_id, step) SELECT id, ?2 FROM users WHERE id = ?1 \
         ON CONFLICT (user_id) DO UPDATE SET step = excluded.step WHERE excluded.step > step",
    )
    .bind(user)
    .bind(i64::try_from(step).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn delete(connection: &mut SqliteConnection, id: i64) -> Result<()> {
    sqlx::query("DELETE FROM users WHERE id = ?").bind(id).execute(connection).await?;
    Ok(())
}

pub(crate) async fn keys<'c>(executor: impl sqlx::SqliteExecutor<'c>, user: i64) -> Result<Vec<PublicKey>> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT public_key, fingerprint, comment FROM user_keys WHERE user_id = ? ORDER BY id")
            .bind(user)
            .fetch_all(executor)
            .await?;
    Ok(rows.into_iter().map(|(normal, fingerprint, comment)| PublicKey::stored(normal, fingerprint, comment)).collect())
}

/// False when the user has that key already.
pub(crate) async fn insert_key(connection: &mut SqliteConnection, user: i64, key: &PublicKey) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO user_keys (user_id, public_key, fingerprint, comment) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(user)
    .bind(key.normal())
    .bind(key.fingerprint())
    .bind(key.comment())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn delete_key(connection: &mut SqliteConnection, user: i64, fingerprint: &str) -> Result<()> {
    sqlx::query("DELETE FROM user_keys WHERE user_id = ? AND fingerprint = ?")
        .bind(user)
        .bind(fingerprint)
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn delete_keys(connection: &mut SqliteConnection, user: i64) -> Result<()> {
    sqlx::query("DELETE FROM user_keys WHERE user_id = ?").bind(user).execute(connection).await?;
    Ok(())
}

pub(crate) async fn set_groups(connection: &mut SqliteConnection, user: i64, groups: &[String]) -> Result<()> {
    sqlx::query("DELETE FROM group_members WHERE user_id = ?").bind(user).execute(&mut *connection).await?;
    for (position, name) in groups.iter().enumerate() {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let done = sqlx::query(
            "INSERT INTO group_members (user_id, position, group_id) SELECT ?, ?, id FROM user_groups WHERE name = ?",
        )
        .bind(user)
        .bind(position)
        .bind(name)
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Err(Error::not_found(Kind::Group, name));
        }
    }
    Ok(())
}

/// Overwrites the last login unless it is less than a minute old, so that a busy user costs one write a minute.
pub(crate) async fn note_login(
    connection: &mut SqliteConnection,
    user: i64,
    at_seconds: i64,
    protocol: &str,
    peer: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO user_logins (user_id, at, protocol, peer) SELECT id, ?2, ?3, ?4 FROM users WHERE id = ?1 \
         ON CONFLICT (user_id) DO UPDATE SET at = excluded.at, protocol = excluded.protocol, peer = excluded.peer",
    )
    .bind(user)
    .bind(at_seconds)
    .bind(protocol)
    .bind(peer)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Database, Sync};

    #[tokio::test]
    async fn a_hash_is_replaced_only_if_it_is_still_there() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let db = Database::open(&directory.path().join("x.db"), Sync::Normal).await?;
        let columns = Columns {
            home: "/".to_owned(),
            email: None,
            disabled: false,
            expires: None,
            password_hash: Some("old".to_owned()),
            totp_secret: None,
            grant: Grant::default(),
        };
        let mut write = db.write().await?;
        let id = insert(&mut write, "acme", Source::Database, &columns).await?;
        assert!(!replace_hash(&mut write, id, "other", "new").await?, "somebody has set another password meanwhile");
        assert!(replace_hash(&mut write, id, "old", "new").await?);
        assert!(!replace_hash(&mut write, id, "old", "newer").await?);
        let found = find(&mut *write, "acme", None).await?;
        assert_eq!(found.and_then(|record| record.password_hash).as_deref(), Some("new"));
        Ok(())
    }
}

//! The user store as the configuration describes it: database, cost of passwords, declared users and groups.
//! The one place that knows both `config` and `auth`.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use landfall_auth::{
    Cost, Database, DeclaredUser, Error, Group, Hasher, PublicKey, Secret, Sync, Users, WorkLimits, add_keys,
    key_owner, parse_users,
};

use crate::config::{self, Config};
use crate::delivery::ledger;
use crate::private;

/// Largest file of public keys that is read.
const KEY_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// What keeps the user store from being opened or filled.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The data directory cannot be made.
    #[error("data directory {path}: {source}")]
    DataDir {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The directory of public keys, or a file in it, cannot be read.
    #[error("public keys in {path}: {source}")]
    Keys {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A declared user is not acceptable.
    #[error("declared user {name:?}: {source}")]
    Declared {
        /// Who.
        name: String,
        /// Why not.
        source: Error,
    },
    /// What the store says.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Opens the database (making it if it is missing) with all tables of all rooms, and the users in it.
///
/// # Errors
/// [`PeopleError`].
pub async fn open(config: &Config) -> Result<Users, PeopleError> {
    let data_dir = &config.data_dir;
    private::create_dir(data_dir)
        .map_err(|source| PeopleError::DataDir { path: data_dir.display().to_string(), source })?;
    let sync = match config.storage.durability {
        config::Durability::Full => Sync::Full,
        config::Durability::Process => Sync::Normal,
    };
    let database = Database::open(&config.database(), sync).await?;
    database.migrate(&ledger::MIGRATIONS).await?;
    let auth = &config.auth;
    let cost = Cost { memory_kib: auth.argon2_memory_kib, passes: auth.argon2_iterations, lanes: auth.argon2_lanes };
    let limits = WorkLimits {
        running: auth.verifications.and_then(|running| NonZeroUsize::new(running as usize)),
        waiting: auth.verifications_waiting as usize,
    };
    Ok(Users::open(database, config.defaults.grant(), Hasher::new(cost, limits)?))
}

/// A user's home and the directories to be made in it.
pub type Home = (String, Vec<String>);

/// Brings the store's declared users and groups to what the configuration says, and returns the homes to prepare.
///
/// # Errors
/// [`PeopleError`]; nothing is changed then.
pub async fn declare(config: &Config, users: &Users) -> Result<Vec<Home>, PeopleError> {
    let known = users.list_groups().await?;
    for group in &config.groups {
        if known.iter().any(|known| known.name == group.name) {
            users.set_group(&group.name, &group.grant()).await?;
        } else {
            users.add_group(&Group { name: group.name.clone(), grant: group.grant() }).await?;
        }
    }
    let (declared, remarks) = declared(config)?;
    for remark in remarks {
        tracing::warn!("{remark}");
    }
    let homes = declared
        .iter()
        .map(|user| (user.home.clone().unwrap_or_else(|| format!("/{}", user.name)), user.directories.clone()))
        .collect();
    let synced = users.declare(declared).await?;
    if synced.added + synced.changed + synced.removed > 0 {
        tracing::info!(
            added = synced.added,
            changed = synced.changed,
            removed = synced.removed,
            "users declared in the configuration"
        );
    }
    Ok(homes)
}

/// Are the declared users acceptable? Reads the files that the configuration names, changes nothing; gives back what was
/// accepted but has no effect.
///
/// # Errors
/// [`PeopleError`].
pub fn check(config: &Config) -> Result<Vec<String>, PeopleError> {
    let (declared, remarks) = declared(config)?;
    let mut seen = HashSet::new();
    for user in declared {
        let name = user.name;
        let wrong = |source| PeopleError::Declared { name: name.clone(), source };
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(wrong(Error::Invalid { field: "name", reason: "it is declared twice (case is ignored)" }));
        }
        user.password_hash.as_deref().map_or(Ok(()), Hasher::check_hash).map_err(wrong)?;
        for line in &user.public_keys {
            PublicKey::parse(line).map_err(wrong)?;
        }
    }
    Ok(remarks)
}

/// Names of the declared users.
///
/// # Errors
/// [`PeopleError`].
pub fn declared_names(config: &Config) -> Result<Vec<String>, PeopleError> {
    Ok(declared(config)?.0.into_iter().map(|user| user.name).collect())
}

/// The declared users, and what was accepted but has no effect.
fn declared(config: &Config) -> Result<(Vec<DeclaredUser>, Vec<String>), PeopleError> {
    let mut declared: Vec<DeclaredUser> = config.users.iter().map(from_section).collect();
    let (listed, mut remarks) = parse_users(config.user_list.expose())?;
    declared.extend(listed);
    if let Some(directory) = &config.auth.public_keys_dir {
        let files = key_files(directory)
            .map_err(|source| PeopleError::Keys { path: directory.display().to_string(), source })?;
        for (path, text) in files {
            if let Some(owner) = key_owner(&path) {
                add_keys(&mut declared, owner, &path, &text)?;
            } else {
                remarks.push(format!(
                    "auth.public_keys_dir: {path:?} is no file of public keys; expected NAME.pub or NAME/authorized_keys"
                ));
            }
        }
    }
    Ok((declared, remarks))
}

fn from_section(user: &config::DeclaredUser) -> DeclaredUser {
    DeclaredUser {
        name: user.name.clone(),
        password: user.password.as_ref().map(|password| Secret::from(password.expose())),
        password_hash: user.password_hash.as_ref().map(|hash| hash.expose().to_owned()),
        public_keys: user.public_keys.clone(),
        home: user.home.clone(),
        email: user.email.clone(),
        grant: user.grant(),
        groups: user.groups.clone(),
        expires: user.expires.map(|moment| moment.0),
        disabled: user.disabled,
        directories: Vec::new(),
    }
}

/// Relative path and text of every file in the directory, one level of folders deep, in the order of their names.
fn key_files(directory: &Path) -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for (name, path) in entries(directory)? {
        if path.is_dir() {
            for (inner, path) in entries(&path)? {
                files.push((format!("{name}/{inner}"), path));
            }
        } else {
            files.push((name, path));
        }
    }
    files.sort();
    files
        .into_iter()
        .filter(|(_, path)| path.is_file())
        .map(|(name, path)| {
            let bytes = private::read(&path, KEY_FILE_MAX_BYTES)?;
            let text = String::from_utf8(bytes).map_err(|_| io::Error::other(format!("{name} is not text")))?;
            Ok((name, text))
        })
        .collect()
}

/// Names and paths in a directory; hidden ones are left out, as mounted secrets have them.
fn entries(directory: &Path) -> io::Result<Vec<(String, std::path::PathBuf)>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
        {
            entries.push((name, entry.path()));
        }
    }
    Ok(entries)
}

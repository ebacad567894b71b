//! The user store as the configuration describes it: database, cost of passwords, declared users and groups.
//! The one place that knows both `config` and `auth`.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use landfall_auth::{
    Cost, Database, DeclaredUser, Error, Group, Hasher, Names, Secret, Sync, Users, WorkLimits, add_keys,
    check_declared, key_owner, parse_users,
};

use crate::config::{self, Config, Loaded, Problem};
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
    /// An entry of the user list is not acceptable.
    #[error("{from}: {source}")]
    UserList {
        /// The variable, or the file that it names.
        from: String,
        /// Why not.
        source: Error,
    },
    /// A file of public keys is not acceptable.
    #[error("{path}: {source}")]
    KeyFile {
        /// The directory.
        path: String,
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
    let Declared { users: declared, remarks, .. } = declared(config)?;
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

/// What is to be said about the declared users.
#[derive(Debug, Default)]
pub struct Checked {
    /// What would keep the server from starting.
    pub problems: Vec<Problem>,
    /// What was accepted but has no effect.
    pub remarks: Vec<String>,
}

/// Would the declared users be taken over at a start? Reads the files that the configuration names and the names in the
/// database, if there is one; changes nothing.
pub async fn check(loaded: &Loaded) -> Checked {
    let config = &loaded.config;
    let alone = |error: &dyn std::error::Error| Problem { place: None, key: None, message: error.to_string() };
    let mut checked = Checked::default();
    let mut stored = Names::default();
    if config.database().exists() {
        match Database::names_in(&config.database()).await {
            Ok(names) => stored = names,
            Err(error) => checked.problems.push(alone(&error)),
        }
    }
    let declared = match declared(config) {
        Ok(declared) => declared,
        Err(error) => {
            checked.problems.push(alone(&error));
            return checked;
        }
    };
    let groups: HashSet<&str> =
        stored.groups.iter().chain(config.groups.iter().map(|group| &group.name)).map(String::as_str).collect();
    let mut seen = HashSet::new();
    for (index, user) in declared.users.into_iter().enumerate() {
        let (name, listed) = (user.name.clone(), index < config.users.len() + declared.listed);
        let mut wrong = |field: &str, why: &dyn std::fmt::Display| {
            let message = format!("user {name:?}: {why}");
            let place = if listed { &config.user_list_from } else { "auth.public_keys_dir" };
            checked.problems.push(if index < config.users.len() {
                loaded.problem(&format!("users.{index}.{field}"), message)
            } else {
                Problem { place: Some(place.to_owned()), key: None, message }
            });
        };
        if !seen.insert(name.to_ascii_lowercase()) {
            wrong("name", &"it is declared twice (case is ignored)");
        }
        if stored.users.iter().any(|stored| stored.eq_ignore_ascii_case(&name)) {
            wrong("name", &"the database has a user of that name too; remove one of them");
        }
        for group in user.groups.iter().filter(|group| !groups.contains(group.as_str())) {
            wrong("groups", &format_args!("there is no group {group:?}, neither in [[groups]] nor in the database"));
        }
        if let Err(error) = check_declared(user) {
            wrong(field(&error), &error);
        }
    }
    checked.remarks = declared.remarks;
    checked
}

/// The key of `[[users]]` that an error is about.
fn field(error: &Error) -> &'static str {
    match error {
        Error::InvalidHash(_) => "password_hash",
        Error::InvalidKey(_) => "public_keys",
        Error::Invalid { field, .. } => field,
        _ => "name",
    }
}

/// Names of the declared users.
///
/// # Errors
/// [`PeopleError`].
pub fn declared_names(config: &Config) -> Result<Vec<String>, PeopleError> {
    Ok(declared(config)?.users.into_iter().map(|user| user.name).collect())
}

/// The declared users: first those of `[[users]]`, then those of the user list, then those who have a file of keys only.
struct Declared {
    users: Vec<DeclaredUser>,
    /// How many of them are in the user list.
    listed: usize,
    /// What was accepted but has no effect.
    remarks: Vec<String>,
}

fn declared(config: &Config) -> Result<Declared, PeopleError> {
    let mut declared: Vec<DeclaredUser> = config.users.iter().map(from_section).collect();
    let in_list = |source| PeopleError::UserList { from: config.user_list_from.clone(), source };
    let (list, mut remarks) = parse_users(config.user_list.expose()).map_err(in_list)?;
    let listed = list.len();
    declared.extend(list);
    if let Some(directory) = &config.auth.public_keys_dir {
        let files = key_files(directory)
            .map_err(|source| PeopleError::Keys { path: directory.display().to_string(), source })?;
        for (path, text) in files {
            if let Some(owner) = key_owner(&path) {
                let in_file = |source| PeopleError::KeyFile { path: directory.display().to_string(), source };
                add_keys(&mut declared, owner, &path, &text).map_err(in_file)?;
            } else {
                remarks.push(format!(
                    "auth.public_keys_dir: {path:?} is no file of public keys; expected NAME.pub or NAME/authorized_keys"
                ));
            }
        }
    }
    Ok(Declared { users: declared, listed, remarks })
}

fn from_section(user: &config::DeclaredUser) -> DeclaredUser {
    DeclaredUser {
        name: user.name.clone(),
        password: user.password.as_ref().map(|password| Secret::from(password.expose())),
        password_hash: user.password_hash.as_ref().map(|hash| hash.expose().to_owned()),
        totp_secret: user.totp_secret.as_ref().map(|secret| Secret::from(secret.expose())),
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

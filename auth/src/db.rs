//! The SQLite file that users and the rest of the server share: opening, migrations, copies, noticing others' changes.
//! Knows no tables but the one that counts changes.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Sqlite, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use crate::error::{Error, Result};

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT_SECONDS: u64 = 10;
/// How long to wait before asking again where SQLite does not wait by itself.
const BUSY_RETRY: Duration = Duration::from_millis(10);
/// Connections at a time. SQLite has one writer; the others read.
const CONNECTIONS_MAX: u32 = 8;
/// Prepared statements that the writer's connection keeps.
const WRITER_STATEMENTS: usize = 64;
/// Versions per room: this crate's migrations are 1..=999, the server's 1001..=1999.
const VERSIONS_PER_ROOM: i64 = 1000;
const PRIVATE_MODE: u32 = 0o600;

/// Does a commit wait until the device has it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Each commit is on the device before it is acknowledged.
    Full,
    /// A power cut may take the last commits; the file stays sound.
    Normal,
}

/// The shared database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: SqlitePool,
    options: SqliteConnectOptions,
    path: Arc<PathBuf>,
    sync: Sync,
    /// Whose turn it is to write, and the connection that [`Database::writer`] keeps between turns.
    writer: Arc<Mutex<Option<rusqlite::Connection>>>,
}

impl Database {
    /// Opens the file, makes it if it is missing, and brings this crate's tables up to date.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Database`], [`Error::NewerSchema`], [`Error::Migrate`].
    pub async fn open(path: &Path, sync: Sync) -> Result<Self> {
        make_private(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match sync {
                Sync::Full => SqliteSynchronous::Full,
                Sync::Normal => SqliteSynchronous::Normal,
            })
            .busy_timeout(Duration::from_secs(BUSY_TIMEOUT_SECONDS))
            .foreign_keys(true)
            // The container's root file system is read-only: there may be no directory for temporary files.
            .pragma("temp_store", "MEMORY");
        let pool = connect(&options).await?;
        let database = Self { pool, options, path: Arc::new(path.to_owned()), sync, writer: Arc::default() };
        database.migrate(&sqlx::migrate!("./migrations")).await?;
        Ok(database)
    }

    /// The connections, for reading. Write through [`Database::write`].
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins a transaction that will write. Tasks of this process take turns in the order they ask; without that,
    /// SQLite lets them poll for the lock, and an unlucky one waits long.
    ///
    /// # Errors
    /// [`Error::Database`], also when another process holds the write lock for too long.
    pub async fn write(&self) -> Result<Write<'_>> {
        let turn = self.writer.lock().await;
        // IMMEDIATE: a transaction that begins by reading and then finds that somebody else has written cannot go on.
        let transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Write { transaction, _turn: turn })
    }

    /// The same for somebody who writes all day, on a thread that may block, or one of a runtime that has several: a
    /// connection that is kept, and that works on the caller's thread. The pool's connections have threads of their own, and each statement costs two task switches.
    ///
    /// # Errors
    /// [`Error::Writer`]; [`Error::Database`] when the database is closed.
    pub fn writer(&self) -> Result<Writer<'_>> {
        let mut slot = match self.writer.try_lock() {
            Ok(slot) => slot,
            // Whoever has it may be a task: where this is one of the runtime's threads, another one runs it meanwhile.
            Err(_) => tokio::task::block_in_place(|| self.writer.blocking_lock()),
        };
        if self.pool.is_closed() {
            return Err(sqlx::Error::PoolClosed.into());
        }
        let connection = match slot.take() {
            Some(connection) => connection,
            None => open_writer(&self.path, self.sync)?,
        };
        Ok(Writer { connection, slot })
    }

    /// Does a commit wait until the device has it?
    #[must_use]
    pub fn sync(&self) -> Sync {
        self.sync
    }

    /// Applies those of `migrations` that are missing, all or none of them. Other rooms' migrations are left alone.
    ///
    /// # Errors
    /// [`Error::NewerSchema`] when the database has newer ones of the same room; [`Error::Migrate`].
    pub async fn migrate(&self, migrations: &Migrator) -> Result<()> {
        // `ignore_missing`: rooms share one table of applied migrations. Locking: SQLite's is this transaction.
        let migrations =
            Migrator { migrations: migrations.migrations.clone(), ignore_missing: true, ..Migrator::DEFAULT };
        let Some(known) = migrations.iter().map(|migration| migration.version).max() else { return Ok(()) };
        let mut write = self.write().await?;
        let there: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'")
                .fetch_optional(&mut *write)
                .await?;
        if there.is_some() {
            let room = known / VERSIONS_PER_ROOM;
            let found: Option<i64> =
                sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE version / ? = ?")
                    .bind(VERSIONS_PER_ROOM)
                    .bind(room)
                    .fetch_one(&mut *write)
                    .await?;
            if let Some(found) = found.filter(|found| *found > known) {
                return Err(Error::NewerSchema { found, known });
            }
        }
        migrations.run_direct(None, &mut *write, false).await?;
        write.commit().await
    }

    /// Writes a consistent copy to a new file while others go on reading and writing.
    ///
    /// # Errors
    /// [`Error::File`] when there is such a file already or it cannot be made; [`Error::Database`].
    pub async fn backup_to(&self, path: &Path) -> Result<()> {
        let file_error = |source| Error::File { path: path.to_owned(), source };
        let text = path.to_str().ok_or_else(|| file_error(std::io::ErrorKind::InvalidFilename.into()))?;
        let file = private_options().create_new(true).open(path).map_err(file_error)?;
        drop(file);
        let mut connection = self.pool.acquire().await?;
        sqlx::query("VACUUM INTO ?").bind(text).execute(&mut *connection).await?;
        // SQLite does not sync the copy.
        fs::File::open(path).and_then(|file| file.sync_all()).map_err(file_error)
    }

    /// Looks through the whole database for damage.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the first finding.
    pub async fn check(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await?;
        check(&mut connection, &self.path).await
    }

    /// Looks through a file that nobody has open, such as a backup before it is restored.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is damaged, or no database of this program.
    pub async fn check_file(path: &Path) -> Result<()> {
        let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
        let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
        let mut connection =
            SqliteConnection::connect_with(&options).await.map_err(|error| damaged(error.to_string()))?;
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('users', '_sqlx_migrations')",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(|error| damaged(error.to_string()))?;
        if tables != 2 {
            return Err(damaged("it has no table of users".to_owned()));
        }
        let outcome = check(&mut connection, path).await;
        connection.close().await?;
        outcome
    }

    /// The names in a file, without changing it: what a configuration is checked against.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it cannot be read.
    pub async fn names_in(path: &Path) -> Result<Names> {
        let damaged = |error: sqlx::Error| Error::Damaged { path: path.to_owned(), reason: error.to_string() };
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(damaged)?;
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('users', 'user_groups')",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(damaged)?;
        let mut names = Names::default();
        // A file that was just made has no tables yet.
        if tables == 2 {
            let users = "SELECT name FROM users WHERE source = 'database'";
            names.users = sqlx::query_scalar(users).fetch_all(&mut connection).await.map_err(damaged)?;
            let groups = "SELECT name FROM user_groups";
            names.groups = sqlx::query_scalar(groups).fetch_all(&mut connection).await.map_err(damaged)?;
        }
        connection.close().await?;
        Ok(names)
    }

    /// Begins to watch for changes of users, groups and keys, by this process or another.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn watch(&self) -> Result<Watch> {
        let mut connection = SqliteConnection::connect_with(&self.options).await?;
        let data_version = data_version(&mut connection).await?;
        let generation = generation(&mut connection).await?;
        Ok(Watch { connection, data_version, generation })
    }

    /// Lets go of the file. What is under way ends first.
    pub async fn close(&self) {
        self.pool.close().await;
        drop(self.writer.lock().await.take());
    }
}

/// Who and what a database knows by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Users that commands keep; declared ones are not among them.
    pub users: Vec<String>,
    /// All groups.
    pub groups: Vec<String>,
}

/// A transaction that writes; dropped without [`Write::commit`], it leaves no trace.
#[derive(Debug)]
pub struct Write<'a> {
    transaction: Transaction<'static, Sqlite>,
    // After the transaction: fields drop in order, and the next writer's turn comes when this one is through.
    _turn: MutexGuard<'a, Option<rusqlite::Connection>>,
}

impl Write<'_> {
    /// Makes the changes count.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn commit(self) -> Result<()> {
        Ok(self.transaction.commit().await?)
    }
}

impl Deref for Write<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Write<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

/// A turn to write on the connection kept for it. What ends without [`Writer::keep`] takes the connection along, and with
/// it a transaction that was left half-way.
#[derive(Debug)]
pub struct Writer<'a> {
    // Before the slot: it is closed before the next turn begins.
    connection: rusqlite::Connection,
    slot: MutexGuard<'a, Option<rusqlite::Connection>>,
}

impl Writer<'_> {
    /// All went well: the connection is there for the next turn.
    pub fn keep(mut self) {
        *self.slot = Some(self.connection);
    }
}

impl Deref for Writer<'_> {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        &self.connection
    }
}

/// Tells whether users, groups or keys have changed since it was asked last.
#[derive(Debug)]
pub struct Watch {
    connection: SqliteConnection,
    data_version: i64,
    generation: i64,
}

impl Watch {
    /// True once for any number of changes. Cheap enough for every second: without a commit by anybody, one look at
    /// shared memory; else one row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn changed(&mut self) -> Result<bool> {
        let data_version = data_version(&mut self.connection).await?;
        if data_version == self.data_version {
            return Ok(false);
        }
        let generation = generation(&mut self.connection).await?;
        let changed = generation != self.generation;
        (self.data_version, self.generation) = (data_version, generation);
        Ok(changed)
    }
}

/// Opens the pool. When several programs meet at a new file, one makes it a write-ahead-log file, and SQLite tells the
/// others at once that it is locked, without waiting the time that it was told to.
fn open_writer(path: &Path, sync: Sync) -> Result<rusqlite::Connection> {
    use rusqlite::OpenFlags;
    // It is never used by two threads at once: SQLite's own lock around each call is left out.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(BUSY_TIMEOUT_SECONDS))?;
    connection.set_prepared_statement_cache_capacity(WRITER_STATEMENTS);
    let synchronous = match sync {
        Sync::Full => "FULL",
        Sync::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

async fn connect(options: &SqliteConnectOptions) -> Result<SqlitePool> {
    let patience = Duration::from_secs(BUSY_TIMEOUT_SECONDS);
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(patience);
        match pool.connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(BUSY_RETRY).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// SQLITE_BUSY in any of its forms: the low byte of SQLite's code is 5.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

/// Changes whenever another connection, of any process, commits. Says so to each connection for itself.
async fn data_version(connection: &mut SqliteConnection) -> Result<i64> {
    Ok(sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await?)
}

async fn generation(connection: &mut SqliteConnection) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT generation FROM users_changed").fetch_one(connection).await?)
}

async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
    let finding: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(connection)
        .await
        .map_err(|error| damaged(error.to_string()))?;
    if finding == "ok" { Ok(()) } else { Err(damaged(finding)) }
}

/// Makes the file, empty, if it is missing, and takes others' access away. SQLite gives its `-wal` and `-shm` files the
/// same mode. An existing file is never opened here: closing it would drop the locks that this process holds on it.
fn make_private(path: &Path) -> std::io::Result<()> {
    match private_options().create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let metadata = fs::metadata(path)?;
            if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
                fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE_MODE))?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn private_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(PRIVATE_MODE);
    options
}

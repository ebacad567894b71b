//! What every command needs: the configuration, the user store, a runtime.

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use landfall_auth::{Error, Kind, Users};

use super::Global;
use crate::config::{self, Flags, Loaded};
use crate::people;
use crate::telemetry::sentence;

/// The surroundings of a command.
pub(super) struct Context {
    pub(super) flags: Flags,
}

impl Context {
    pub(super) fn new(global: Global) -> Self {
        Self { flags: Flags { config: global.config, data_dir: global.data_dir } }
    }

    /// The configuration of this moment.
    pub(super) fn load(&self) -> anyhow::Result<Loaded> {
        Ok(config::load(&self.flags, config::process_environment())?)
    }

    /// Does something with the user store, which is made if it is missing.
    pub(super) fn with_users<T, F>(&self, work: impl FnOnce(Loaded, Users) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let loaded = self.load()?;
        block_on(async {
            let users = people::open(&loaded.config).await?;
            let database = users.database().clone();
            let outcome = work(loaded, users).await;
            // Without this the last statement's pages stay in the write-ahead log until the next opening.
            database.close().await;
            outcome
        })
    }

    /// Does something with the user store if there is one; `None` when nothing was ever stored, which is said on stderr:
    /// a mistyped directory must not look like an empty one.
    pub(super) fn with_users_if_any<T, F>(&self, work: impl FnOnce(Loaded, Users) -> F) -> anyhow::Result<Option<T>>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let config = self.load()?.config;
        let there = config.database().try_exists();
        if there.with_context(|| format!("looking into the data directory {}", config.data_dir.display()))? {
            return self.with_users(work).map(Some);
        }
        let what = if config.data_dir.exists() { "database" } else { "data directory" };
        // A stderr that is gone changes nothing about the answer.
        drop(writeln!(std::io::stderr(), "landfall: there is no {what} at {}", config.data_dir.display()));
        Ok(None)
    }

    /// The same for a command on something that must be there already.
    pub(super) fn with_existing<T, F>(
        &self,
        kind: Kind,
        name: &str,
        work: impl FnOnce(Loaded, Users) -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let done = self.with_users_if_any(work)?;
        Ok(done.ok_or_else(|| Error::NotFound { kind, name: name.to_owned() })?)
    }

    /// The data directory, which is all that it takes to speak to a running server: a fault in the configuration that was
    /// made since its start must not make it seem unwell.
    pub(super) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        let error = match self.load() {
            Ok(loaded) => return Ok(loaded.config.data_dir),
            Err(error) => error,
        };
        let Some(data_dir) = config::data_dir(&self.flags, config::process_environment()) else { return Err(error) };
        for line in sentence(&error).lines() {
            drop(writeln!(std::io::stderr(), "landfall: warning: {line}"));
        }
        Ok(data_dir)
    }
}

/// Runs a future to its end on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(work)
}

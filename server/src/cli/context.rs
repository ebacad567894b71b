//! What every command needs: the configuration, the user store, a runtime. Prints nothing.

use std::future::Future;

use anyhow::Context as _;
use landfall_auth::Users;

use super::Global;
use crate::config::{self, Flags, Loaded};
use crate::people;

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

    /// Does something with the user store if there is one; `None` when nothing was ever stored.
    pub(super) fn with_users_if_any<T, F>(&self, work: impl FnOnce(Loaded, Users) -> F) -> anyhow::Result<Option<T>>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        if self.load()?.config.database().exists() { self.with_users(work).map(Some) } else { Ok(None) }
    }
}

/// Runs a future to its end on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(work)
}

//! `landfall serve`: all listeners, in the foreground.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;

use super::context::Context;
use super::output;
use crate::app::{self, App};
use crate::config::{self, Config, Loaded, TlsPolicy};
use crate::first_start::{self, Doors};
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  landfall serve
  landfall serve --config /etc/landfall/landfall.toml
  LANDFALL_FTP__LISTEN=0.0.0.0:21 LANDFALL_LOG=debug landfall serve

Signals:
  SIGTERM, SIGINT  let transfers end (limits.drain_seconds); a second one cuts
  SIGHUP           reads users, certificate and limits again

Log:
  LANDFALL_LOG         filter, such as debug or landfall::ftp=debug,info
  LANDFALL_LOG_FORMAT  auto, human or json";

/// Threads for calls that wait for a disk or a password's verification, besides one per transfer.
const THREADS_FOR_SHORT_CALLS: usize = 512;

/// Of the runtime: half of them may be inside short calls of the storage (`delivery/at_once.rs`), so that there is one for
/// each core, and as many are left for everything else.
const THREADS_PER_CORE: usize = 2;

/// Run the server: all listeners, in the foreground.
///
/// Works without any configuration: state in ./landfall-data, ports 2121 (FTP), 2022 (SFTP) and 8080 (health).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {}

pub(super) fn run(context: Context) -> anyhow::Result<()> {
    // The variables alone say how to log: who reads the log as JSON finds there what is wrong with all the rest.
    let log = config::log_settings(config::process_environment())?;
    telemetry::start(&log).context("LANDFALL_LOG")?;
    let Err(error) = serve(context) else { return Ok(()) };
    if telemetry::is_human(&log) || !tracing::enabled!(tracing::Level::ERROR) {
        return Err(error);
    }
    for line in telemetry::sentence(&error).lines() {
        tracing::error!("{line}");
    }
    Err(super::Silent.into())
}

fn serve(context: Context) -> anyhow::Result<()> {
    let loaded = context.load()?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        file = loaded.file.as_ref().map(|file| tracing::field::display(file.display())),
        "landfall"
    );
    warn(&loaded);
    let again = Box::new(move || {
        let loaded = context.load().map_err(|error| telemetry::sentence(&error))?;
        warn(&loaded);
        Ok(loaded.config)
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(cores.saturating_mul(THREADS_PER_CORE))
        // Every transfer may hold one for as long as it takes; what is short must not wait behind them.
        .max_blocking_threads((loaded.config.limits.transfers as usize).saturating_add(THREADS_FOR_SHORT_CALLS))
        .build()
        .context("starting the runtime")?;
    runtime.block_on(app::run(loaded, again, welcome))
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}

/// On the very first start, prints the first supplier's password and how to use it.
async fn welcome(app: std::sync::Arc<App>, bound: Vec<(String, SocketAddr)>) -> anyhow::Result<()> {
    let mut doors = doors(&app.config(), &bound);
    doors.certificate_fingerprint = app.certificate_fingerprint();
    doors.host_key_fingerprints = app.host_key_fingerprints().to_vec();
    let Some(text) = first_start::welcome(&app.users, &doors).await? else { return Ok(()) };
    if let Err(error) = output::text(&text) {
        tracing::warn!(%error, "the first password could not be printed: landfall user passwd supplier --generate-password");
    }
    Ok(())
}

fn doors(config: &Config, bound: &[(String, SocketAddr)]) -> Doors {
    let first = |protocol: &str| bound.iter().find(|(name, _)| name == protocol).map(|(_, address)| *address);
    Doors {
        ftp: first("ftp"),
        plain_ftp: config.ftp.tls != TlsPolicy::Required,
        tls_ftp: config.ftp.tls != TlsPolicy::Off,
        ftps: first("ftps"),
        sftp: first("sftp"),
        own_certificate: config.tls.files().is_none().then(|| config.data_dir.join("tls/cert.pem")),
        ..Doors::default()
    }
}

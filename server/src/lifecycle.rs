//! Drain and hard stop: one value that every room watches, and the signals that change it. Knows no protocol.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The process's course: running, then draining, then cut.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Lifecycle {
    /// Resolves when the drain begins: no new connection, no new login; sessions without a transfer end politely;
    /// transfers under way go on.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// True from the beginning of the drain on.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Resolves when everything must stop at once.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Begins the drain.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Stops everything at once; a drain is part of it.
    pub fn stop(&self) {
        self.draining.cancel();
        self.cut.cancel();
    }
}

/// The signals of this process. From [`Signals::install`] on none of them ends it by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals over. Rust's runtime ignores SIGPIPE already: a closed pipe is an error of the write.
    ///
    /// # Errors
    /// What the system says.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Obeys them until everything must stop: the first SIGTERM or SIGINT drains, the second cuts; SIGHUP calls `reload`.
    pub async fn obey(mut self, lifecycle: Lifecycle, reload: impl Fn()) {
        loop {
            let signal = tokio::select! {
                () = lifecycle.cut() => return,
                _ = self.hang_up.recv() => {
                    reload();
                    continue;
                }
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            };
            if lifecycle.is_draining() {
                tracing::warn!(signal, "second signal: cutting transfers");
                lifecycle.stop();
                return;
            }
            tracing::info!(signal, "draining: transfers under way may end; a second signal cuts them");
            lifecycle.drain();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// One test, because signals go to the whole process.
    #[tokio::test]
    async fn first_drains_second_cuts_and_hang_up_reloads() {
        let lifecycle = Lifecycle::default();
        let signals = Signals::install().unwrap();
        let reloads = Arc::new(AtomicU32::new(0));
        let counter = reloads.clone();
        let task = tokio::spawn(signals.obey(lifecycle.clone(), move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        kill_process(getpid(), Signal::HUP).unwrap();
        while reloads.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!lifecycle.is_draining());
        kill_process(getpid(), Signal::TERM).unwrap();
        lifecycle.draining().await;
        assert!(!lifecycle.cut.is_cancelled());
        kill_process(getpid(), Signal::INT).unwrap();
        lifecycle.cut().await;
        task.await.unwrap();
    }
}

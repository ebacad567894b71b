//! Drain and hard stop: one value that every room watches. Knows no signal numbers' meaning to a protocol.

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

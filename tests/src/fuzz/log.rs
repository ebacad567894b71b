//! The server's log of this process, as it writes it for people, kept for a look; and how many threads have panicked.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use landfall::telemetry::Escaped;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static PANICS: AtomicUsize = AtomicUsize::new(0);

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From here on the log is kept and panics are counted, in all threads.
pub(super) fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            hook(info);
        }));
        let builder = tracing_subscriber::fmt().with_ansi(false).with_target(false).fmt_fields(Escaped);
        let filter = tracing_subscriber::EnvFilter::new("warn,landfall=debug");
        builder.with_env_filter(filter).with_writer(|| Sink).init();
    });
}

/// What was logged since the last time it was taken.
pub(super) fn take() -> String {
    let bytes = std::mem::take(&mut *LOG.lock().unwrap_or_else(PoisonError::into_inner));
    String::from_utf8(bytes).expect("the log is UTF-8")
}

/// Panics since the last time they were asked for.
pub(super) fn panics() -> usize {
    PANICS.swap(0, Ordering::Relaxed)
}

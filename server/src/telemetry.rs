//! The log: for people on a terminal, as JSON elsewhere, always on stderr. Knows no event in particular.
//! What a peer chose (names, paths) comes through here: control characters never reach a terminal or split a line.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::{RecordFields, VisitFmt, VisitOutput};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format::{FormatFields, Writer};

use crate::config::{LogFormat, LogSettings};

/// What is logged when nobody says otherwise; sqlx's `info` speaks of slow statements, which are an operator's business.
const DEFAULT_FILTER: &str = "info";

fn filter(settings: &LogSettings) -> Result<EnvFilter, ParseError> {
    let filter = settings.filter.as_deref().filter(|filter| !filter.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    EnvFilter::builder().parse(filter)
}

/// Is the log for people? By default it is where somebody looks at a terminal.
#[must_use]
pub fn is_human(settings: &LogSettings) -> bool {
    match settings.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    }
}

/// Can the filter be read? Starts nothing.
///
/// # Errors
/// A filter that cannot be read.
pub fn check(settings: &LogSettings) -> Result<(), ParseError> {
    filter(settings).map(drop)
}

/// An error with its causes, each said once: many errors name their cause themselves.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Starts the log of this process. Once per process: a second call changes nothing.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(settings: &LogSettings) -> Result<(), ParseError> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(settings)?).with_writer(std::io::stderr);
    let started = if is_human(settings) {
        builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).fmt_fields(Escaped).try_init()
    } else {
        builder.json().flatten_event(true).with_target(true).with_current_span(false).try_init()
    };
    drop(started);
    Ok(())
}

/// Fields as `name=value`, with control characters written as `\n`, `\u{1b}` and so on.
pub struct Escaped;

impl<'writer> FormatFields<'writer> for Escaped {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = EscapedVisitor { writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.finish()
    }
}

struct EscapedVisitor<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl EscapedVisitor<'_> {
    fn pair(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.result.is_err() {
            return;
        }
        let space = if std::mem::take(&mut self.first) { "" } else { " " };
        let named = field.name() != "message";
        self.result = self
            .writer
            .write_str(space)
            .and_then(|()| if named { write!(self.writer, "{}=", field.name()) } else { Ok(()) })
            .and_then(|()| escape_into(&mut self.writer, value));
    }
}

impl Visit for EscapedVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.pair(field, format_args!("{value:?}"));
    }
}

impl VisitOutput<fmt::Result> for EscapedVisitor<'_> {
    fn finish(self) -> fmt::Result {
        self.result
    }
}

impl VisitFmt for EscapedVisitor<'_> {
    fn writer(&mut self) -> &mut dyn fmt::Write {
        &mut self.writer
    }
}

fn escape_into(writer: &mut dyn fmt::Write, value: fmt::Arguments<'_>) -> fmt::Result {
    struct Escaping<'a>(&'a mut dyn fmt::Write);
    impl fmt::Write for Escaping<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars().try_for_each(|c| {
                if must_hide(c) { write!(self.0, "{}", c.escape_default()) } else { self.0.write_char(c) }
            })
        }
    }
    Escaping(writer).write_fmt(value)
}

/// Control characters, and those that turn the direction of text around.
fn must_hide(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text as it may be shown on a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // Writing to a String cannot fail.
    let _infallible = escape_into(&mut shown, format_args!("{text}"));
    shown
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn names_cannot_forge_lines_or_drive_a_terminal() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber =
            tracing_subscriber::fmt().fmt_fields(Escaped).with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let name = "a\n2030-01-01 INFO forged\r\u{1b}[2J\u{202e}";
            tracing::info!(name, shown = %name, debugged = ?name, "{name}");
        });
        let text = String::from_utf8_lossy(&sink.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.trim_end().chars().all(|c| !must_hide(c)), "{text:?}");
        assert!(text.contains("name=a\\n2030-01-01 INFO forged\\r\\u{1b}[2J\\u{202e}"), "{text:?}");
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        let settings = LogSettings { filter: Some("landfall=loud".to_owned()), format: LogFormat::Auto };
        assert!(start(&settings).is_err());
    }
}

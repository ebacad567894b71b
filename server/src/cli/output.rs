//! Printing: tables for people, JSON for programs. A reader that goes away (`| head`) is no failure.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use crate::telemetry::printable;

/// Writes a text to stdout.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to stdout.
pub(super) fn line(line: &str) -> io::Result<()> {
    text(&format!("{line}\n"))
}

/// Writes a value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(&serde_json::to_string_pretty(value)?)?)
}

/// Writes a value as one line of JSON.
pub(super) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(&serde_json::to_string(value)?)?)
}

/// Rows under a headline, in columns as wide as their widest value; the last column is not padded. Control characters
/// are written as escapes.
pub(super) fn table<const N: usize>(headline: [&str; N], rows: &[[String; N]]) -> String {
    let shown: Vec<[String; N]> = rows.iter().map(|row| std::array::from_fn(|at| cell(row, at))).collect();
    let headline: [String; N] = headline.map(str::to_owned);
    let width = |at: usize| {
        std::iter::once(&headline)
            .chain(&shown)
            .filter_map(|row| row.get(at))
            .map(|value| value.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in std::iter::once(&headline).chain(&shown) {
        let mut line = String::new();
        for (value, width) in row.iter().zip(widths) {
            line.push_str(value);
            line.extend(std::iter::repeat_n(' ', width - value.chars().count().min(width) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cell<const N: usize>(row: &[String; N], at: usize) -> String {
    match row.get(at).map(|value| printable(value)) {
        Some(value) if !value.is_empty() => value,
        _ => "-".to_owned(),
    }
}

/// Names and values below one another.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in facts {
        let value = if value.is_empty() { "-".to_owned() } else { printable(value) };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name:width$}  {value}");
    }
    text
}

/// Did the reader of stdout go away?
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_escapes() {
        let rows = [["acme".to_owned(), "/a\u{1b}[2J".to_owned()], ["b".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "HOME"], &rows), "NAME  HOME\nacme  /a\\u{1b}[2J\nb     -\n");
        assert_eq!(facts(&[("a", "1".to_owned()), ("long", String::new())]), "a     1\nlong  -\n");
    }
}

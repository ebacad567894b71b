//! The TOML file as a layer, and the line on which each key stands.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Tag, Value};
use toml_edit::{ImDocument, Item, Table, TableLike};

use super::error::ConfigError;

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1_048_576;

/// A parsed file.
pub(super) struct File {
    pub(super) path: PathBuf,
    document: ImDocument<String>,
}

impl File {
    /// Reads and parses it.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path, MAX_FILE_BYTES)?;
        let document = ImDocument::parse(text.clone()).map_err(|error| {
            // The parser's own rendering quotes the line, which may hold a secret: the place and the reason suffice.
            let place = match error.span() {
                Some(span) => format!("{} line {}", path.display(), line_at(&text, span.start)),
                None => path.display().to_string(),
            };
            ConfigError::one(Some(place), None, one_line(error.message()))
        })?;
        Ok(Self { path: path.to_owned(), document })
    }

    /// Its content.
    pub(super) fn values(&self) -> Dict {
        self.document.iter().map(|(key, item)| (key.to_owned(), item_value(item))).collect()
    }

    /// `landfall.toml line 12`: where the key of that path stands, or the nearest table around it.
    pub(super) fn place(&self, path: &[String]) -> String {
        match self.line(path) {
            Some(line) => format!("{} line {line}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }

    fn line(&self, path: &[String]) -> Option<usize> {
        let mut here: &dyn TableLike = self.document.as_table();
        let mut at = None;
        let mut steps = path.iter();
        while let Some(step) = steps.next() {
            let Some((key, item)) = here.get_key_value(step) else { break };
            at = key.span().or_else(|| item.span()).or(at);
            let below = match item {
                Item::ArrayOfTables(tables) => {
                    let table = steps.next().and_then(|index| tables.get(index.parse().ok()?));
                    at = table.and_then(Table::span).or(at);
                    table.map(|table| table as &dyn TableLike)
                }
                Item::Value(toml_edit::Value::Array(items)) => {
                    let value = steps.next().and_then(|index| items.get(index.parse().ok()?));
                    at = value.and_then(toml_edit::Value::span).or(at);
                    value.and_then(toml_edit::Value::as_inline_table).map(|table| table as &dyn TableLike)
                }
                _ => item.as_table_like(),
            };
            let Some(below) = below else { break };
            here = below;
        }
        at.map(|span| line_at(self.document.raw(), span.start))
    }
}

/// `data_dir` of a file that may be broken: the line at the top, before any table, that sets it.
pub(super) fn data_dir(path: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let text = read_text(path, MAX_FILE_BYTES)?;
    let top = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let mut parsed = top.filter_map(|line| ImDocument::parse(line).ok());
    Ok(parsed.find_map(|line| Some(PathBuf::from(line.get("data_dir")?.as_str()?))))
}

/// Reads a text file of bounded size.
pub(super) fn read_text(path: &Path, most_bytes: u64) -> Result<String, ConfigError> {
    use std::io::Read;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(most_bytes + 1).read_to_string(&mut text)?;
        if text.len() as u64 > most_bytes {
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "the file is too large"));
        }
        Ok(text)
    };
    read().map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(", ")
}

/// A value of TOML's as one of figment's; dates become strings, which is what the sections read them from.
fn item_value(item: &Item) -> Value {
    match item {
        Item::None => Value::Empty(Tag::Default, figment::value::Empty::None),
        Item::Value(value) => toml_value(value),
        Item::Table(table) => dict(table.iter().map(|(key, item)| (key.to_owned(), item_value(item)))),
        Item::ArrayOfTables(tables) => Value::Array(
            Tag::Default,
            tables
                .iter()
                .map(|table| dict(table.iter().map(|(key, item)| (key.to_owned(), item_value(item)))))
                .collect(),
        ),
    }
}

/// The same for a value that stands alone.
pub(super) fn toml_value(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::from(text.value().as_str()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(flag) => Value::from(*flag.value()),
        toml_edit::Value::Datetime(moment) => Value::from(moment.value().to_string()),
        toml_edit::Value::Array(items) => Value::Array(Tag::Default, items.iter().map(toml_value).collect()),
        toml_edit::Value::InlineTable(table) => {
            dict(table.iter().map(|(key, value)| (key.to_owned(), toml_value(value))))
        }
    }
}

fn dict(pairs: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Dict(Tag::Default, pairs.collect())
}

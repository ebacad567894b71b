//! `LANDFALL_…` variables as a layer. The only file that touches the process's environment.

use std::ffi::OsString;
use std::path::Path;

use figment::value::{Dict, Value};

use super::error::ConfigError;
use super::file::{read_text, toml_value};
use super::unknown::{self, Leaf};

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "LANDFALL_";
/// Path of the configuration file.
pub(super) const CONFIG: &str = "LANDFALL_CONFIG";
/// Filter of the log.
pub(super) const LOG: &str = "LANDFALL_LOG";
/// Form of the log.
pub(super) const LOG_FORMAT: &str = "LANDFALL_LOG_FORMAT";
/// Users in the one-line form.
pub(super) const USERS: &str = "LANDFALL_USERS";
/// File that holds the same.
pub(super) const USERS_FILE: &str = "LANDFALL_USERS_FILE";

/// Variables that are no key of the configuration.
pub(super) const SPECIAL: [&str; 5] = [CONFIG, LOG, LOG_FORMAT, USERS, USERS_FILE];

/// Largest user list that is read from a file, in bytes.
const MAX_USER_LIST_BYTES: u64 = 4 * 1_048_576;

/// The environment of this process.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Where programs are looked for by their names: all that a program which this one starts is told of the environment.
#[expect(clippy::disallowed_methods, reason = "the one file that reads the environment")]
#[must_use]
pub fn search_path() -> Option<OsString> {
    std::env::var_os("PATH")
}

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) config: Option<String>,
    pub(super) log: Option<String>,
    pub(super) log_format: Option<String>,
    pub(super) users: Option<String>,
    /// Where that came from.
    pub(super) users_from: String,
    /// One layer per variable, so that each value knows which one it came from.
    pub(super) layers: Vec<(String, Dict)>,
}

impl Environment {
    /// Sorts out what concerns us. Every variable under our prefix must be one that we know.
    pub(super) fn parse(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut ours = Vec::new();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            if !name.starts_with(PREFIX) || is_service_link(&name) {
                continue;
            }
            let value = value
                .into_string()
                .map_err(|_| ConfigError::one(Some(name.clone()), None, "the value is not valid UTF-8"))?;
            ours.push((name, value));
        }
        ours.sort_unstable();
        let leaves = unknown::leaves();
        let mut environment = Self::default();
        let mut users_file = None;
        for (name, value) in ours {
            match name.as_str() {
                CONFIG => environment.config = Some(value),
                LOG => environment.log = Some(value),
                LOG_FORMAT => environment.log_format = Some(value),
                USERS => {
                    environment.users = Some(value);
                    environment.users_from = name;
                }
                USERS_FILE => users_file = Some(value),
                _ => {
                    let layer = layer(&name, &value, &leaves)?;
                    environment.layers.push((name, layer));
                }
            }
        }
        if let Some(file) = users_file {
            if environment.users.is_some() {
                return Err(ConfigError::one(
                    Some(USERS_FILE.to_owned()),
                    None,
                    format!("{USERS} is set too; set one"),
                ));
            }
            let text = read_text(Path::new(&file), MAX_USER_LIST_BYTES)
                .map_err(|error| ConfigError::one(Some(USERS_FILE.to_owned()), None, error.to_string()))?;
            environment.users = Some(text);
            environment.users_from = format!("{USERS_FILE} ({file})");
        }
        Ok(environment)
    }
}

/// The variable of a key: `ftp.listen` is `LANDFALL_FTP__LISTEN`.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"))
}

/// The other way round.
fn key(variable: &str) -> String {
    variable.strip_prefix(PREFIX).unwrap_or(variable).to_ascii_lowercase().replace("__", ".")
}

fn layer(name: &str, text: &str, leaves: &[Leaf]) -> Result<Dict, ConfigError> {
    let Some(leaf) = leaves.iter().find(|leaf| variable(&leaf.path) == name) else {
        let known = leaves.iter().map(|leaf| variable(&leaf.path)).chain(SPECIAL.map(str::to_owned));
        let message = match unknown::planned(&key(name)) {
            Some(sentence) => sentence.to_owned(),
            None => format!("no such variable{}", unknown::suggestion(name, known)),
        };
        return Err(ConfigError::one(Some("environment".to_owned()), Some(name.to_owned()), message));
    };
    let wrong = |message: &str| ConfigError::one(Some(name.to_owned()), Some(leaf.path.clone()), message);
    let value = match &leaf.default {
        Value::Bool(..) => Value::from(match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => return Err(wrong("true or false is expected")),
        }),
        Value::Num(..) => Value::from(text.trim().parse::<u64>().map_err(|_| wrong("a number is expected"))?),
        Value::Array(..) if text.trim_start().starts_with('[') => toml_array(text).map_err(|error| wrong(&error))?,
        // A key without a default: a number where it looks like one; the section says whether it wants one.
        Value::Empty(..) if text.trim().is_empty() => return Ok(Dict::new()),
        Value::Empty(..) if text.trim_start().starts_with('[') => toml_array(text).map_err(|error| wrong(&error))?,
        Value::Empty(..) => text.trim().parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
        _ => Value::from(text),
    };
    Ok(nest(&leaf.path, value))
}

fn toml_array(text: &str) -> Result<Value, String> {
    match text.trim().parse::<toml_edit::Value>() {
        Ok(value) => Ok(toml_value(&value)),
        Err(_) => Err("not an array in TOML's form, such as [\"0.0.0.0:2121\"]".to_owned()),
    }
}

/// `a.b.c` and a value as nested dictionaries.
fn nest(path: &str, value: Value) -> Dict {
    figment::util::nest(path, value).into_dict().unwrap_or_default()
}

/// Variables that Docker's links and Kubernetes set for a service named `landfall`: not meant for us, and nobody
/// could unset them.
fn is_service_link(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest == "PORT"
        || rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_")
        || rest.strip_prefix("PORT_").is_some_and(|port| {
            let (number, kind) = port.split_once('_').unwrap_or((port, ""));
            number.bytes().all(|b| b.is_ascii_digit()) && (kind.starts_with("TCP") || kind.starts_with("UDP"))
        })
}

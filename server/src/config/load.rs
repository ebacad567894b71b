//! The layers: defaults, file, environment, flags. Later ones win, value by value; a list is one value.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;

use super::env::{self, Environment};
use super::error::{ConfigError, Problem};
use super::file::{self, File};
use super::units::Secret;
use super::{Config, check, plain, unknown};

/// Where a file is looked for when none is named.
const USUAL_PLACES: [&str; 2] = ["./landfall.toml", "/etc/landfall/landfall.toml"];

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase", tag = "from", content = "at")]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// `landfall.toml line 3`.
    File(String),
    /// The variable.
    Environment(String),
    /// The flag.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => write!(f, "file: {place}"),
            Self::Environment(name) => write!(f, "environment: {name}"),
            Self::Flag(name) => write!(f, "flag: {name}"),
        }
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}

/// `LANDFALL_LOG` and `LANDFALL_LOG_FORMAT`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Filter such as `info` or `landfall::ftp=debug,info`.
    pub filter: Option<String>,
    /// Form.
    pub format: LogFormat,
}

/// A configuration that is fit for use, and what is known about it.
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// How to log.
    pub log: LogSettings,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
    layers: Layers,
}

impl Loaded {
    /// Where the value of a key such as `ftp.listen` came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.layers.origin(key)
    }

    /// A fault of the value of that key, with the place where it stands.
    #[must_use]
    pub fn problem(&self, key: &str, message: String) -> Problem {
        self.layers.problem(key, message)
    }
}

/// Loads the configuration: reads the file, takes what concerns us from `environment`, refuses what it does not know.
///
/// # Errors
/// [`ConfigError`], which names the file and line, the variable or the flag.
pub fn load(flags: &Flags, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Loaded, ConfigError> {
    let environment = Environment::parse(environment)?;
    let file = find_file(flags, &environment).as_deref().map(File::read).transpose()?;
    let layers = Layers::new(flags, file, &environment)?;
    let mut config: Config = layers.figment.extract().map_err(|error| layers.explain(error))?;
    if config.storage.root.as_os_str().is_empty() {
        config.storage.root = config.data_dir.join("files");
    }
    // What is empty was left out by somebody who keeps the key in the file.
    for path in [&mut config.storage.staging, &mut config.auth.public_keys_dir] {
        path.take_if(|path| path.as_os_str().is_empty());
    }
    for (index, sink) in config.sinks.iter_mut().enumerate() {
        sink.read_secret(&format!("sinks.{index}"))?;
    }
    config.user_list = Secret::new(environment.users.unwrap_or_default());
    config.user_list_from = environment.users_from;
    let findings = check::check(&config);
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| finding.fatal);
    let mut problems = errors.into_iter().map(|finding| layers.problem(&finding.key, finding.message)).peekable();
    if problems.peek().is_some() {
        return Err(ConfigError::Wrong(problems.collect()));
    }
    let warnings = warnings.into_iter().map(|finding| layers.problem(&finding.key, finding.message)).collect();
    let log = LogSettings { filter: environment.log, format: log_format(environment.log_format.as_deref())? };
    Ok(Loaded { config, log, file: layers.file.as_ref().map(|file| file.path.clone()), warnings, layers })
}

/// How to log, whatever is wrong with the rest.
///
/// # Errors
/// A form that does not exist.
pub fn log_settings(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<LogSettings, ConfigError> {
    let mut settings = LogSettings::default();
    for (name, value) in environment {
        match (name.to_str(), value.into_string()) {
            (Some(env::LOG), Ok(filter)) => settings.filter = Some(filter),
            (Some(env::LOG_FORMAT), Ok(format)) => settings.format = log_format(Some(&format))?,
            _ => {}
        }
    }
    Ok(settings)
}

/// The data directory alone, by the same order of layers, however broken the rest is. `None` when a file is there that
/// cannot be read, so that nobody can tell.
#[must_use]
pub fn data_dir(flags: &Flags, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Option<PathBuf> {
    if let Some(data_dir) = &flags.data_dir {
        return Some(data_dir.clone());
    }
    let mut named = None;
    for (name, value) in environment {
        if name == "LANDFALL_DATA_DIR" {
            return Some(value.into());
        }
        if name == env::CONFIG {
            named = value.into_string().ok();
        }
    }
    let environment = Environment { config: named, ..Environment::default() };
    match find_file(flags, &environment) {
        Some(file) => file::data_dir(&file).ok().map(|found| found.unwrap_or_else(|| Config::default().data_dir)),
        None => Some(Config::default().data_dir),
    }
}

fn find_file(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    let named =
        flags.config.clone().or_else(|| environment.config.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from));
    // One that cannot be looked at is there as far as anybody knows: reading it will say what is wrong. To go on with
    // the defaults instead would open ports that its owner closed.
    named.or_else(|| USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.try_exists().unwrap_or(true)))
}

fn log_format(text: Option<&str>) -> Result<LogFormat, ConfigError> {
    match text {
        None | Some("" | "auto") => Ok(LogFormat::Auto),
        Some("human") => Ok(LogFormat::Human),
        Some("json") => Ok(LogFormat::Json),
        Some(_) => {
            Err(ConfigError::one(Some(env::LOG_FORMAT.to_owned()), None, "one of auto, human, json is expected"))
        }
    }
}

/// The merged values, each with its origin.
struct Layers {
    figment: Figment,
    file: Option<File>,
}

const DEFAULT: &str = "default";
const FILE: &str = "file";
const FLAG_PREFIX: &str = "--";

impl Layers {
    fn new(flags: &Flags, file: Option<File>, environment: &Environment) -> Result<Self, ConfigError> {
        let defaults = Value::serialize(Config::default()).ok().and_then(Value::into_dict).unwrap_or_default();
        let mut figment = Figment::new().merge(Layer(DEFAULT.to_owned(), defaults));
        if let Some(file) = &file {
            let values = file.values();
            refuse_unknown(file, &values)?;
            figment = figment.merge(Layer(FILE.to_owned(), values));
        }
        for (name, dict) in &environment.layers {
            figment = figment.merge(Layer(name.clone(), dict.clone()));
        }
        if let Some(data_dir) = &flags.data_dir {
            let text = utf8(data_dir)?;
            let dict = Dict::from([("data_dir".to_owned(), Value::from(text))]);
            figment = figment.merge(Layer("--data-dir".to_owned(), dict));
        }
        Ok(Self { figment, file })
    }

    fn origin(&self, key: &str) -> Origin {
        // A list is one value: what stands inside it came from where the list came from.
        let list = key.split('.').take_while(|step| step.parse::<usize>().is_err()).collect::<Vec<_>>().join(".");
        let name = self.figment.find_metadata(&list).map_or(DEFAULT, |metadata| metadata.name.as_ref());
        self.origin_of(name, key)
    }

    fn origin_of(&self, layer: &str, key: &str) -> Origin {
        match (layer, &self.file) {
            (FILE, Some(file)) => {
                let path: Vec<String> = key.split('.').map(str::to_owned).collect();
                Origin::File(file.place(&path))
            }
            (name, _) if name.starts_with(FLAG_PREFIX) => Origin::Flag(name.to_owned()),
            (name, _) if name.starts_with(env::PREFIX) => Origin::Environment(name.to_owned()),
            _ => Origin::Default,
        }
    }

    fn problem(&self, key: &str, message: String) -> Problem {
        let place = match self.origin(key) {
            Origin::Default => None,
            Origin::File(place) | Origin::Environment(place) | Origin::Flag(place) => Some(place),
        };
        Problem { place, key: Some(key.to_owned()).filter(|key| !key.is_empty()), message }
    }

    /// What serde found, in an admin's words.
    fn explain(&self, error: figment::Error) -> ConfigError {
        let problems = error.into_iter().map(|error| {
            let key = error.path.join(".");
            let layer = error.metadata.as_ref().map_or(DEFAULT, |metadata| metadata.name.as_ref());
            let place = match self.origin_of(layer, &key) {
                Origin::Default => None,
                Origin::File(place) | Origin::Environment(place) | Origin::Flag(place) => Some(place),
            };
            let secret = matches!(
                error.path.last().map(String::as_str),
                Some("password" | "password_hash" | "totp_secret" | "secret")
            );
            let message = match error.kind {
                _ if secret => "a string is expected".to_owned(),
                Kind::UnknownField(field, known) => {
                    let known = known.iter().map(|name| (*name).to_owned());
                    format!("unknown key {field}{}", unknown::suggestion(&field, known))
                }
                Kind::UnknownVariant(wrong, known) => format!("\"{wrong}\" is not one of {}", known.join(", ")),
                Kind::Message(message) => message,
                Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
                    format!("{} is expected, not {}", plain::wanted(&wanted), plain::found(&found))
                }
                other => other.to_string(),
            };
            Problem { place, key: Some(key).filter(|key| !key.is_empty()), message }
        });
        ConfigError::Wrong(problems.collect())
    }
}

fn refuse_unknown(file: &File, values: &Dict) -> Result<(), ConfigError> {
    let problems: Vec<Problem> = unknown::unknown(values)
        .into_iter()
        .map(|unknown| Problem {
            place: Some(file.place(&unknown.path)),
            key: Some(unknown.path.join(".")),
            message: unknown.message,
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(ConfigError::Wrong(problems)) }
}

fn utf8(path: &Path) -> Result<&str, ConfigError> {
    path.to_str().ok_or_else(|| ConfigError::one(Some("--data-dir".to_owned()), None, "the path is not valid UTF-8"))
}

/// One layer: its name and its values.
struct Layer(String, Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.1.clone())]))
    }
}

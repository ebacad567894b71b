//! Keys that do not exist, and the nearest that does. What exists is read off the defaults, so that no list can
//! fall behind the sections.

use figment::value::{Dict, Value};

use super::{Config, DeclaredGroup, DeclaredUser, Sink, TlsHost};

/// A key that holds a value.
pub(super) struct Leaf {
    /// `ftp.listen`.
    pub(super) path: String,
    /// Its default; [`Value::Empty`] where it has none.
    pub(super) default: Value,
}

/// A key that does not exist.
pub(super) struct Unknown {
    /// Its path.
    pub(super) path: Vec<String>,
    /// What is wrong with it, and the nearest that exists.
    pub(super) message: String,
}

fn schema<T: serde::Serialize>(of: T) -> Dict {
    Value::serialize(of).ok().and_then(Value::into_dict).unwrap_or_default()
}

/// All keys that hold a value, lists of tables included.
pub(super) fn leaves() -> Vec<Leaf> {
    fn walk(prefix: &str, dict: Dict, leaves: &mut Vec<Leaf>) {
        for (key, value) in dict {
            let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            match value {
                Value::Dict(_, dict) => walk(&path, dict, leaves),
                default => leaves.push(Leaf { path, default }),
            }
        }
    }
    let mut leaves = Vec::new();
    walk("", schema(Config::default()), &mut leaves);
    leaves
}

/// The keys of a file that do not exist.
pub(super) fn unknown(file: &Dict) -> Vec<Unknown> {
    let mut found = Vec::new();
    let all: Vec<String> = leaves().into_iter().map(|leaf| leaf.path).collect();
    walk(&mut Vec::new(), file, &schema(Config::default()), &all, &mut found);
    found
}

fn walk(at: &mut Vec<String>, file: &Dict, schema_here: &Dict, all: &[String], found: &mut Vec<Unknown>) {
    for (key, value) in file {
        at.push(key.clone());
        match (schema_here.get(key), value) {
            (None, _) => {
                let section = section(at);
                let mut suggestion = suggestion_below(&section, key, schema_here.keys().cloned());
                if suggestion.is_empty() {
                    // The right key under the wrong table: `listen_ftp`, or `passive_ports` at the top.
                    let written = at.join(".");
                    let same = all.iter().find(|path| path.rsplit('.').next() == Some(key));
                    suggestion = match same {
                        Some(path) => format!("; did you mean {path}?"),
                        None => self::suggestion(&written, all.iter().cloned()),
                    };
                }
                let message = match planned(&at.join(".")) {
                    Some(sentence) => sentence.to_owned(),
                    None => format!("unknown key{suggestion}"),
                };
                found.push(Unknown { path: at.clone(), message });
            }
            (Some(Value::Dict(_, inner)), Value::Dict(_, dict)) => walk(at, dict, inner, all, found),
            (Some(Value::Array(..)), Value::Array(_, items)) => {
                let entry = match key.as_str() {
                    "users" => schema(DeclaredUser::default()),
                    "groups" => schema(DeclaredGroup::default()),
                    "hosts" => schema(TlsHost::default()),
                    "sinks" => schema(Sink::default()),
                    _ => Dict::new(),
                };
                for (index, item) in items.iter().enumerate() {
                    if let (Value::Dict(_, dict), false) = (item, entry.is_empty()) {
                        at.push(index.to_string());
                        walk(at, dict, &entry, all, found);
                        at.pop();
                    }
                }
            }
            _ => {}
        }
        at.pop();
    }
}

/// What people may know from the plan of this program, and what to do without it.
pub(super) fn planned(path: &str) -> Option<&'static str> {
    match path {
        "storage.url" => Some("this version does not have object storage; set storage.root to a directory"),
        _ => None,
    }
}

/// The table that a key stands in, with a dot behind it: `ftp.`; the number of an entry is left out.
fn section(at: &[String]) -> String {
    let tables = at.iter().take(at.len().saturating_sub(1)).filter(|step| step.parse::<usize>().is_err());
    tables.fold(String::new(), |section, table| section + table + ".")
}

/// The nearest key of a table, with the table's name.
fn suggestion_below(section: &str, wrong: &str, known: impl IntoIterator<Item = String>) -> String {
    match nearest(wrong, known) {
        Some(name) => format!("; did you mean {section}{name}?"),
        None => String::new(),
    }
}

/// `; did you mean X?` for the nearest of `known`, or nothing when none is near.
pub(super) fn suggestion(wrong: &str, known: impl IntoIterator<Item = String>) -> String {
    suggestion_below("", wrong, known)
}

fn nearest(wrong: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    const NEAR: f64 = 0.8;
    let near = known.into_iter().map(|name| (strsim::jaro_winkler(wrong, &name), name));
    near.filter(|(near, _)| *near >= NEAR).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

//! Effective values with where each came from. Secrets never get here: their `Serialize` writes a placeholder.

use landfall_auth::{ContentCheck, Overwrite, Permissions};
use serde_json::{Map, Value as Json};
use toml_edit::{DocumentMut, Item, Table};

use super::{Config, Loaded, REDACTED, Verbs};

/// The configuration as TOML; each value's origin stands behind it as a comment. `None` when a value has no form in TOML.
pub fn as_toml(loaded: &Loaded) -> Option<String> {
    let mut document: DocumentMut = toml_edit::ser::to_document(&spoken(&loaded.config)).ok()?;
    sections(&mut document);
    annotate(document.as_table_mut(), "", loaded);
    let mut text = with_unset(&document.to_string(), loaded);
    if !loaded.config.user_list.is_empty() {
        text.push_str("\n# LANDFALL_USERS: ");
        text.push_str(REDACTED);
        text.push('\n');
    }
    Some(text)
}

/// The same for programs: `values`, and `sources` by key.
pub fn as_json(loaded: &Loaded) -> serde_json::Result<Json> {
    fn walk(prefix: &str, value: &Json, loaded: &Loaded, sources: &mut Map<String, Json>) -> serde_json::Result<()> {
        match value {
            Json::Object(object) => {
                for (key, value) in object {
                    let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    walk(&path, value, loaded, sources)?;
                }
            }
            _ => {
                sources.insert(prefix.to_owned(), serde_json::to_value(loaded.origin(prefix).to_string())?);
            }
        }
        Ok(())
    }
    let mut values = serde_json::to_value(spoken(&loaded.config))?;
    for (section, key, value) in unset(&loaded.config) {
        if let Some(section) = values.get_mut(section).and_then(Json::as_object_mut) {
            section.insert(key.to_owned(), value);
        }
    }
    if !loaded.config.user_list.is_empty()
        && let Some(object) = values.as_object_mut()
    {
        object.insert("user_list".to_owned(), Json::from(REDACTED));
    }
    let mut sources = Map::new();
    walk("", &values, loaded, &mut sources)?;
    Ok(serde_json::json!({ "values": values, "sources": sources }))
}

/// The configuration with those defaults that are values like others, where nobody set one.
fn spoken(config: &Config) -> Config {
    let mut config = config.clone();
    config.defaults.permissions.get_or_insert(Verbs(Permissions::default()));
    config.defaults.overwrite.get_or_insert(Overwrite::default());
    config.defaults.content_check.get_or_insert(ContentCheck::default());
    config
}

/// Keys that nobody set and that are not in [`spoken`] either: section, key, and what holds instead.
fn unset(config: &Config) -> Vec<(&'static str, &'static str, Json)> {
    let (defaults, auth) = (&config.defaults, &config.auth);
    let running = landfall_auth::usual_running(auth.argon2_memory_kib as usize);
    let staging = config.data_dir.join("staging");
    let unlimited = || Json::from("unlimited");
    [
        ("storage", "staging", config.storage.staging.is_none(), Json::from(staging.to_string_lossy())),
        ("auth", "verifications", auth.verifications.is_none(), Json::from(running)),
        ("auth", "public_keys_dir", auth.public_keys_dir.is_none(), Json::from("")),
        ("defaults", "quota_bytes", defaults.quota_bytes.is_none(), unlimited()),
        ("defaults", "quota_files", defaults.quota_files.is_none(), unlimited()),
        ("defaults", "max_file_bytes", defaults.max_file_bytes.is_none(), unlimited()),
        ("defaults", "max_sessions", defaults.max_sessions.is_none(), unlimited()),
        ("defaults", "path_permissions", defaults.path_permissions.is_none(), serde_json::json!({})),
        ("defaults", "allowed_types", defaults.allowed_types.is_none(), serde_json::json!([])),
        ("defaults", "min_pixels", defaults.min_pixels.is_none(), unlimited()),
        ("defaults", "max_pixels", defaults.max_pixels.is_none(), unlimited()),
        ("defaults", "file_name_pattern", defaults.file_name_pattern.is_none(), Json::from("")),
        ("defaults", "max_uploads_per_day", defaults.max_uploads_per_day.is_none(), unlimited()),
        ("defaults", "max_bytes_per_second", defaults.max_bytes_per_second.is_none(), unlimited()),
        ("defaults", "max_session_bytes_per_second", defaults.max_session_bytes_per_second.is_none(), unlimited()),
        ("defaults", "protocols", defaults.protocols.is_none(), serde_json::json!(["ftp", "ftps", "sftp"])),
        ("defaults", "networks", defaults.networks.is_none(), serde_json::json!([])),
        ("defaults", "factors", defaults.factors.is_none(), serde_json::json!([])),
    ]
    .into_iter()
    .filter_map(|(section, key, unset, value)| unset.then_some((section, key, value)))
    .collect()
}

/// Adds what nobody set, as comments behind the headlines of their sections: the same text read again sets it no more.
fn with_unset(text: &str, loaded: &Loaded) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        lines.push(line.to_owned());
        for (section, key, value) in unset(&loaded.config) {
            if line == format!("[{section}]") {
                lines.push(format!("# {key} = {value}  # {}", loaded.origin(&format!("{section}.{key}"))));
            }
        }
    }
    lines.join("\n") + "\n"
}

/// Inline tables at the top become `[sections]`, lists of tables become `[[sections]]`.
fn sections(document: &mut DocumentMut) {
    let keys: Vec<String> = document.iter().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        let Some(item) = document.get_mut(&key) else { continue };
        if item.is_inline_table() {
            if let Ok(mut table) = std::mem::take(item).into_table() {
                table.decor_mut().set_prefix("\n");
                *item = Item::Table(table);
            }
        } else if item
            .as_array()
            .is_some_and(|array| !array.is_empty() && array.iter().all(toml_edit::Value::is_inline_table))
            && let Ok(tables) = std::mem::take(item).into_array_of_tables()
        {
            *item = Item::ArrayOfTables(tables);
        }
    }
}

fn annotate(table: &mut Table, prefix: &str, loaded: &Loaded) {
    for (key, item) in table.iter_mut() {
        let path = if prefix.is_empty() { key.get().to_owned() } else { format!("{prefix}.{}", key.get()) };
        match item {
            Item::Value(value) => {
                value.decor_mut().set_suffix(format!("  # {}", loaded.origin(&path)));
            }
            Item::Table(inner) => annotate(inner, &path, loaded),
            Item::ArrayOfTables(tables) => {
                for (index, inner) in tables.iter_mut().enumerate() {
                    inner.decor_mut().set_prefix(format!("\n# {}\n", loaded.origin(&format!("{path}.{index}"))));
                }
            }
            Item::None => {}
        }
    }
}

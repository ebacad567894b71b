//! Effective values with where each came from. Secrets never get here: their `Serialize` writes a placeholder.

use serde_json::{Map, Value as Json};
use toml_edit::{DocumentMut, Item, Table};

use super::{Loaded, REDACTED};

/// The configuration as TOML; each value's origin stands behind it as a comment. `None` when a value has no form in TOML.
pub fn as_toml(loaded: &Loaded) -> Option<String> {
    let mut document: DocumentMut = toml_edit::ser::to_document(&loaded.config).ok()?;
    sections(&mut document);
    annotate(document.as_table_mut(), "", loaded);
    let mut text = document.to_string();
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
    let mut values = serde_json::to_value(&loaded.config)?;
    if !loaded.config.user_list.is_empty()
        && let Some(object) = values.as_object_mut()
    {
        object.insert("user_list".to_owned(), Json::from(REDACTED));
    }
    let mut sources = Map::new();
    walk("", &values, loaded, &mut sources)?;
    Ok(serde_json::json!({ "values": values, "sources": sources }))
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

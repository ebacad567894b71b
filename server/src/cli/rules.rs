//! `landfall rules`: what would happen to a file, without sending it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use landfall_storage::VirtualPath;
use serde::Serialize;

use super::context::Context;
use super::limits::{describe, in_full};
use super::{Silent, Usage, output};
use crate::config::ByteSize;
use crate::delivery::trial::{Trial, try_file};

const EXAMPLES: &str = "\
Examples:
  landfall rules try acme photo.jpg
  landfall rules try acme ./export.bin --as /in/12345678_1.jpg --json";

/// Try the rules that a supplier's files have to keep.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rules {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Try(Try),
}

/// Say what would happen to a file that a supplier sends, and why.
///
/// Asks each rule by itself: permissions, name, size, type, structure, pixels. Quota and what has landed already are not
/// looked at. Ends with 0 if it would land, with 1 if not.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct Try {
    /// The supplier.
    #[arg(value_name = "USER")]
    user: String,
    /// The file, here on this machine.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name that it would be sent as [default: its own].
    #[arg(long = "as", value_name = "PATH")]
    name: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// One rule as it is shown.
#[derive(Serialize)]
struct Shown {
    rule: &'static str,
    value: String,
    refusal: Option<String>,
}

impl Rules {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Try(command) => command.run(context),
        }
    }
}

impl Try {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let own = self.file.file_name().and_then(|name| name.to_str());
        let name = match self.name.as_deref().or(own) {
            Some(name) => name.to_owned(),
            None => return Err(Usage("say by --as what it would be sent as".to_owned()).into()),
        };
        let path = VirtualPath::parse(&name).map_err(|error| Usage(format!("{name}: {error}")))?;
        let opened = || -> io::Result<(File, u64)> {
            let file = File::open(&self.file)?;
            let meta = file.metadata()?;
            if !meta.is_file() {
                return Err(io::Error::other("not a file"));
            }
            Ok((file, meta.len()))
        };
        let (file, size) = opened().with_context(|| format!("opening {}", self.file.display()))?;
        let user = context.with_users(async |_, users| {
            let found = users.find(&self.user).await?;
            found.with_context(|| format!("there is no user {}", self.user))
        })?;
        let trial =
            try_file(&user.effective, &path, &file).with_context(|| format!("reading {}", self.file.display()))?;
        let values = describe(&in_full(&user.effective));
        let value = |rule: &str| {
            let named = values.iter().find(|(flag, _)| flag.replace('-', "_") == rule);
            named.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let shown = trial.checks.iter().map(|check| Shown {
            rule: check.rule,
            value: value(check.rule),
            refusal: check.refusal.as_ref().map(ToString::to_string),
        });
        let shown: Vec<Shown> = shown.collect();
        if self.json {
            output::json(&as_json(&trial, &path, size, &shown))?;
        } else {
            show(&trial, &path, size, &shown, &value("overwrite"))?;
        }
        if trial.refusal().is_some() { Err(Silent.into()) } else { Ok(()) }
    }
}

fn as_json(trial: &Trial, path: &VirtualPath, size: u64, rules: &[Shown]) -> serde_json::Value {
    let pixels = trial.content.pixels;
    serde_json::json!({
        "path": path.to_string(),
        "verdict": if trial.refusal().is_some() { "refused" } else { "landed" },
        "reason": trial.refusal().map(ToString::to_string),
        "size": size,
        "type": trial.content.kind,
        "width": pixels.map(|(width, _)| width),
        "height": pixels.map(|(_, height)| height),
        "rules": rules,
    })
}

fn show(trial: &Trial, path: &VirtualPath, size: u64, rules: &[Shown], overwrite: &str) -> anyhow::Result<()> {
    let kind = trial.content.kind.map_or("of no known type", |kind| kind.title());
    let pixels = trial.content.pixels.map(|(width, height)| format!(", {width}x{height} pixels")).unwrap_or_default();
    output::line(&format!("{path}: {kind}{pixels}, {}", ByteSize(size)))?;
    let rows: Vec<[String; 3]> = rules
        .iter()
        .map(|rule| {
            let verdict = rule.refusal.as_ref().map_or("ok", |_| "refused");
            [rule.rule.to_owned(), rule.value.clone(), verdict.to_owned()]
        })
        .collect();
    output::text(&output::table(["RULE", "VALUE", "VERDICT"], &rows))?;
    match trial.refusal() {
        Some(refusal) => output::line(&format!("would not land: {refusal}"))?,
        None => output::line(&format!("would land (where a file of that name has landed: {overwrite})"))?,
    }
    Ok(())
}

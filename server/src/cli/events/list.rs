//! `landfall events list`: events as rows and as a stream.

use std::time::Duration;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::uploads::Since;
use crate::outbox::rows::{self, Filter};
use crate::outbox::{Event, EventType};

/// How often `--follow` looks for new events.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Events that are shown when nobody says how many.
const USUAL_ROWS: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  landfall events list --since 24h --user acme
  landfall events list --type landed --follow --json";

/// Show events, oldest first.
///
/// As JSON they are what sinks are sent: CloudEvents 1.0, one to a line.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct List {
    /// About this supplier only.
    #[arg(long, value_name = "U")]
    user: Option<String>,
    /// That happened since then: 2h, 7d, 2027-01-31, or 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "T")]
    since: Option<Since>,
    /// Of this type only: landed, refused, suspended, quiet, or the name in full.
    #[arg(long, value_name = "TYPE")]
    r#type: Option<EventType>,
    /// The newest so many [default: 1000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(rows::QUERY_ROWS)))]
    limit: Option<u32>,
    /// Go on with events as they come.
    #[arg(long)]
    follow: bool,
    /// As JSON, one event per line.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut filter = Filter {
            user: self.user.clone(),
            kind: self.r#type,
            since: self.since.map(Since::time),
            after: None,
            limit: Some(self.limit.unwrap_or(USUAL_ROWS)),
        };
        if self.follow {
            return context.with_users(async |loaded, users| {
                let pool = users.database().pool();
                let mut events = rows::query(pool, &filter).await?;
                let mut first = true;
                loop {
                    if !events.is_empty() {
                        self.print(&events, &loaded.config.events.source, std::mem::take(&mut first))?;
                    }
                    filter.after = events.last().map(|event| event.seq).or(filter.after);
                    filter.limit = None;
                    tokio::time::sleep(LOOK_EVERY).await;
                    events = rows::query(pool, &filter).await?;
                }
            });
        }
        let found = context.with_users_if_any(async |loaded, users| {
            Ok((rows::query(users.database().pool(), &filter).await?, loaded.config.events.source))
        })?;
        let (events, source) = found.unwrap_or_default();
        self.print(&events, &source, true)
    }

    fn print(&self, events: &[Event], source: &str, first: bool) -> anyhow::Result<()> {
        if self.json {
            return events.iter().try_for_each(|event| output::json_line(&event.envelope(source)));
        }
        if events.is_empty() {
            return Ok(output::line("no events")?);
        }
        let rows: Vec<[String; 5]> = events
            .iter()
            .map(|event| {
                let time = event.time.get(..19).unwrap_or_default().to_owned() + "Z";
                let subject = event.subject.clone().unwrap_or_default();
                [time, event.kind.clone(), event.user.clone(), event.id.clone(), subject]
            })
            .collect();
        let text = output::table(["TIME", "TYPE", "USER", "ID", "PATH"], &rows);
        let text = if first { &*text } else { text.split_once('\n').map_or("", |(_, rows)| rows) };
        Ok(output::text(text)?)
    }
}

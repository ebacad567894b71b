//! `landfall events list`: events as rows and as a stream.

use std::time::Duration;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::uploads::Since;
use crate::outbox::rows::{self, Filter, Parked};
use crate::outbox::{Event, EventType};

/// How often `--follow` looks for new events.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Events that are shown when nobody says how many.
const USUAL_ROWS: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  landfall events list --since 24h --user acme
  landfall events list --type landed --follow --json
  landfall events list --parked --sink shop";

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
    /// What sinks did not take for as long as their park_after, with the last error.
    #[arg(long, conflicts_with_all = ["type", "follow", "since"])]
    parked: bool,
    /// Parked by this sink only.
    #[arg(long, value_name = "S", requires = "parked")]
    sink: Option<String>,
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
        if self.parked {
            return self.run_parked(context);
        }
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

    fn run_parked(self, context: &Context) -> anyhow::Result<()> {
        let most = self.limit.unwrap_or(USUAL_ROWS);
        let found = context.with_users_if_any(async |loaded, users| {
            let parked =
                rows::parked(users.database().pool(), self.sink.as_deref(), self.user.as_deref(), most).await?;
            Ok((parked, loaded.config.events.source))
        })?;
        let (parked, source) = found.unwrap_or_default();
        if self.json {
            return parked.iter().try_for_each(|parked| {
                output::json_line(&serde_json::json!({
                    "sink": parked.sink, "since": parked.since, "attempts": parked.attempts, "error": parked.error,
                    "event": parked.event.envelope(&source),
                }))
            });
        }
        if parked.is_empty() {
            return Ok(output::line("nothing is parked")?);
        }
        let rows: Vec<[String; 6]> = parked
            .into_iter()
            .map(|Parked { sink, since, attempts, error, event }| {
                let since = since.get(..19).unwrap_or_default().to_owned() + "Z";
                [since, sink, event.user, event.id, attempts.to_string(), error]
            })
            .collect();
        Ok(output::text(&output::table(["FAILING SINCE", "SINK", "USER", "ID", "ATTEMPTS", "ERROR"], &rows))?)
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

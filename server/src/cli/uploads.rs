//! `landfall uploads`: the ledger, as rows and as a stream.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};

use super::context::Context;
use super::output;
use crate::clock::now;
use crate::config::{ByteSize, Moment, Period};
use crate::delivery::ledger::{self, Filter, Record};

/// How often `--follow` looks for new rows.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Rows that are shown when nobody says how many.
const USUAL_ROWS: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  landfall uploads --since 24h
  landfall uploads --user acme --status refused
  landfall uploads --path '/in/*.jpg' --csv
  landfall uploads --follow --json";

/// Show the ledger: what landed, was refused, is suspended.
///
/// Oldest first. A refused upload has its reason with it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Uploads {
    /// Of this supplier only.
    #[arg(long, value_name = "U")]
    user: Option<String>,
    /// Changed since then: 2h, 7d, 2027-01-31, or 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "T")]
    since: Option<Since>,
    /// Changed before then.
    #[arg(long, value_name = "T")]
    until: Option<Since>,
    /// Of this status only.
    #[arg(long)]
    status: Option<Status>,
    /// Of paths like this only; * and ? stand for any characters and for one.
    #[arg(long, value_name = "PATTERN")]
    path: Option<String>,
    /// Of this content only.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    sha256: Option<String>,
    /// The newest so many rows [default: 1000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(ledger::QUERY_ROWS)))]
    limit: Option<u32>,
    /// Go on with rows as they come.
    #[arg(long)]
    follow: bool,
    /// As JSON, one object per line.
    #[arg(long)]
    json: bool,
    /// As CSV (RFC 4180), with a headline.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// How rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Table,
    Json,
    Csv,
}

fn digest(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    let whole = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    whole.then_some(text).ok_or("a SHA-256 has 64 hexadecimal digits")
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Landed,
    Refused,
    Suspended,
}

impl From<Status> for ledger::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Landed => Self::Landed,
            Status::Refused => Self::Refused,
            Status::Suspended => Self::Suspended,
        }
    }
}

/// A time, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since(SystemTime);

impl Since {
    /// The time.
    pub(super) fn time(self) -> SystemTime {
        self.0
    }
}

impl std::str::FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(moment) = text.parse::<Moment>() {
            return Ok(Self(moment.0));
        }
        let period: Period = text.parse().map_err(|_| {
            "a time is a duration such as 2h or 7d, a date such as 2027-01-31, or RFC 3339 such as 2027-01-31T12:00:00Z"
        })?;
        Ok(Self(now().checked_sub(period.0).unwrap_or(SystemTime::UNIX_EPOCH)))
    }
}

impl Uploads {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let form = match (self.json, self.csv) {
            (true, _) => Form::Json,
            (_, true) => Form::Csv,
            _ => Form::Table,
        };
        let mut filter = Filter {
            user: self.user.clone(),
            status: self.status.map(ledger::Status::from),
            since: self.since.map(|since| since.0),
            until: self.until.map(|until| until.0),
            path: self.path.clone(),
            sha256: self.sha256.clone(),
            after: None,
            limit: Some(self.limit.unwrap_or(USUAL_ROWS)),
        };
        if self.follow {
            // Waiting for the first row may begin before the first server has started.
            return context.with_users(async |_, users| {
                let pool = users.database().pool();
                // Every filter but the start goes on counting.
                let mut rows = ledger::query(pool, &filter).await?;
                let mut headline = true;
                loop {
                    if !rows.is_empty() {
                        print(&rows, form, std::mem::take(&mut headline))?;
                    }
                    filter.after = rows.last().map(|row| row.seq).or(filter.after);
                    filter.limit = Some(ledger::QUERY_ROWS);
                    tokio::time::sleep(LOOK_EVERY).await;
                    rows = ledger::query(pool, &filter).await?;
                }
            });
        }
        let rows =
            context.with_users_if_any(async |_, users| Ok(ledger::query(users.database().pool(), &filter).await?))?;
        print(&rows.unwrap_or_default(), form, true)
    }
}

fn print(rows: &[Record], form: Form, first: bool) -> anyhow::Result<()> {
    match form {
        Form::Json => return rows.iter().try_for_each(output::json_line),
        Form::Csv => return Ok(output::text(&as_csv(rows, first)?)?),
        Form::Table => {}
    }
    if rows.is_empty() {
        return Ok(output::line("no uploads")?);
    }
    let table: Vec<[String; 7]> = rows
        .iter()
        .map(|row| {
            [
                row.landed.as_deref().unwrap_or(&row.started).get(..19).unwrap_or_default().to_owned() + "Z",
                row.status.clone(),
                row.user.clone(),
                row.protocol.clone(),
                ByteSize(row.size).to_string(),
                row.path.clone(),
                remark(row),
            ]
        })
        .collect();
    let text = output::table(["TIME", "STATUS", "USER", "PROTOCOL", "SIZE", "PATH", "REMARK"], &table);
    let text = if first { &*text } else { text.split_once('\n').map_or("", |(_, rows)| rows) };
    Ok(output::text(text)?)
}

/// Why it did not land, or what else there is to say.
fn remark(row: &Record) -> String {
    match (&row.reason, &row.same_as) {
        (Some(reason), _) => reason.clone(),
        (None, Some(path)) => format!("same content landed before as {path}"),
        (None, None) => String::new(),
    }
}

fn as_csv(rows: &[Record], headline: bool) -> anyhow::Result<String> {
    let mut csv =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).has_headers(false).from_writer(Vec::new());
    if headline {
        csv.write_record(Record::COLUMNS)?;
    }
    for row in rows {
        csv.serialize(row)?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

//! An event as integrators see it: CloudEvents 1.0, and its kinds. Knows no sink and no queue.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// A file is visible, durable and accounted for.
    Landed,
    /// A rule denied one.
    Refused,
    /// One was cut off and can be resumed.
    Suspended,
    /// A supplier has been quiet for a set time after landing files.
    BatchQuiet,
    /// Somebody asked for it by `landfall events test`.
    Test,
}

impl EventType {
    const ALL: [Self; 5] = [Self::Landed, Self::Refused, Self::Suspended, Self::BatchQuiet, Self::Test];

    /// The attribute `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Landed => "landfall.upload.landed",
            Self::Refused => "landfall.upload.refused",
            Self::Suspended => "landfall.upload.suspended",
            Self::BatchQuiet => "landfall.batch.quiet",
            Self::Test => "landfall.test",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = &'static str;

    /// In full, or its last word.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |kind: &Self| kind.as_str() == text || kind.as_str().rsplit('.').next() == Some(text);
        Self::ALL.into_iter().find(fits).ok_or(
            "a type is landfall.upload.landed, landfall.upload.refused, landfall.upload.suspended or landfall.batch.quiet",
        )
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order.
    pub seq: i64,
    /// Stable: the same event has the same at every attempt and in every replay.
    pub id: String,
    /// The attribute `type`.
    pub kind: String,
    /// The supplier.
    pub user: String,
    /// The file's name as its supplier sees it, where it is about one file.
    pub subject: Option<String>,
    /// When it happened, RFC 3339 with milliseconds, in UTC.
    pub time: String,
    /// The rest, a JSON object as text.
    pub data: String,
}

impl Event {
    /// As CloudEvents 1.0 in its JSON format. Attributes without a value are left out.
    #[must_use]
    pub fn envelope(&self, source: &str) -> Value {
        let mut data: Map<String, Value> = serde_json::from_str(&self.data).unwrap_or_default();
        data.retain(|_, value| !value.is_null());
        let mut envelope = json!({
            "specversion": "1.0",
            "id": self.id,
            "source": source,
            "type": self.kind,
            "time": self.time,
            "datacontenttype": "application/json",
            "data": data,
        });
        if let (Some(subject), Some(object)) = (&self.subject, envelope.as_object_mut()) {
            object.insert("subject".to_owned(), Value::from(subject.as_str()));
        }
        envelope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_in_full_or_by_their_last_word() {
        assert_eq!("landed".parse(), Ok(EventType::Landed));
        assert_eq!("landfall.batch.quiet".parse(), Ok(EventType::BatchQuiet));
        assert!("batch".parse::<EventType>().is_err());
        assert!("landfall.upload".parse::<EventType>().is_err());
    }

    #[test]
    fn an_envelope_leaves_out_what_has_no_value() {
        let event = Event {
            seq: 1,
            id: "a-landed".to_owned(),
            kind: EventType::Landed.to_string(),
            user: "acme".to_owned(),
            subject: None,
            time: "2027-01-31T12:00:00.000Z".to_owned(),
            data: r#"{"size":5,"reason":null}"#.to_owned(),
        };
        let envelope = event.envelope("landfall");
        assert_eq!(envelope["data"], json!({ "size": 5 }));
        assert_eq!(envelope["specversion"], "1.0");
        assert!(envelope.get("subject").is_none());
    }
}

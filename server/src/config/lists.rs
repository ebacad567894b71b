//! Lists as people write them: an array, one value, or values joined by commas. Knows no section.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::str::FromStr;

use landfall_auth::ContentType;
use serde::Deserializer;
use serde::de::{self, SeqAccess, Visitor};

/// Reads a list from an array of strings, one string, or a string with commas; an empty string is an empty list.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    deserializer.deserialize_any(ListVisitor(PhantomData))
}

/// A list of listening addresses.
pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    struct Address(SocketAddr);
    impl FromStr for Address {
        type Err = &'static str;
        fn from_str(text: &str) -> Result<Self, Self::Err> {
            text.parse()
                .map(Self)
                .map_err(|_| "an address to listen on is written IP:PORT, such as 0.0.0.0:2121 or [::]:2121")
        }
    }
    list::<D, Address>(deserializer).map(|addresses| addresses.into_iter().map(|address| address.0).collect())
}

/// The same where the key may be absent.
pub(super) fn optional_list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    deserializer.deserialize_option(OptionalListVisitor(PhantomData))
}

/// Types of content, where `any` alone means that there is no rule.
pub(super) fn optional_types<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<ContentType>>, D::Error> {
    let all: Option<Vec<String>> = optional_list(deserializer)?;
    let parse = |all: Vec<String>| match all.as_slice() {
        [any] if any == "any" => Ok(Vec::new()),
        all => all.iter().map(|text| item(text)).collect(),
    };
    all.map(parse).transpose()
}

struct ListVisitor<T>(PhantomData<T>);

fn item<T: FromStr<Err: fmt::Display>, E: de::Error>(text: &str) -> Result<T, E> {
    let text = text.trim();
    text.parse().map_err(|error| E::custom(format_args!("\"{text}\": {error}")))
}

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts in quotes, or one text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(item).collect()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(text) = seq.next_element::<String>()? {
            items.push(item(&text)?);
        }
        Ok(items)
    }
}

struct OptionalListVisitor<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for OptionalListVisitor<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts in quotes, or one text")
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        list(deserializer).map(Some)
    }
}

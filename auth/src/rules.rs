//! Values of rules about files: types, checks, pixels, patterns of names. Looks at no file.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1_024;
/// What a compiled pattern may take in memory, in bytes.
const MAX_COMPILED_BYTES: usize = 1_024 * 1_024;

/// What a file is by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names are all there is to say")]
pub enum ContentType {
    Jpeg,
    Png,
    Webp,
    Gif,
    Tiff,
    Avif,
    Heic,
    Pdf,
    Zip,
    Csv,
}

impl ContentType {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Jpeg,
        Self::Png,
        Self::Webp,
        Self::Gif,
        Self::Tiff,
        Self::Avif,
        Self::Heic,
        Self::Pdf,
        Self::Zip,
        Self::Csv,
    ];

    /// The word in configuration, flags and data.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Tiff => "tiff",
            Self::Avif => "avif",
            Self::Heic => "heic",
            Self::Pdf => "pdf",
            Self::Zip => "zip",
            Self::Csv => "csv",
        }
    }

    /// As sentences call it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Webp => "WebP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
            Self::Avif => "AVIF",
            Self::Heic => "HEIC",
            Self::Pdf => "PDF",
            Self::Zip => "ZIP",
            Self::Csv => "CSV",
        }
    }

    /// Has it pixels?
    #[must_use]
    pub fn is_image(self) -> bool {
        !matches!(self, Self::Pdf | Self::Zip | Self::Csv)
    }
}

impl FromStr for ContentType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = if text == "jpg" { "jpeg" } else { text };
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or("a type is one of jpeg, png, webp, gif, tiff, avif, heic, pdf, zip, csv; or any")
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How closely the content of images and other known types is looked at before it lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentCheck {
    /// Not at all.
    #[default]
    Off,
    /// Its structure has to be complete, to the last byte that belongs to it.
    Structure,
    /// The same, and every pixel has to decode.
    Decode,
}

impl ContentCheck {
    /// The word in configuration, flags and data.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Structure => "structure",
            Self::Decode => "decode",
        }
    }
}

impl FromStr for ContentCheck {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "structure" => Ok(Self::Structure),
            "decode" => Ok(Self::Decode),
            _ => Err("a content check is one of off, structure, decode"),
        }
    }
}

/// Width and height of a picture: `800x600`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Pixels {
    /// Smaller than any picture: no lower bound, and a value of its own.
    pub const LEAST: Self = Self { width: 0, height: 0 };
    /// Larger than any picture: no upper bound, and a value of its own.
    pub const MOST: Self = Self { width: u32::MAX, height: u32::MAX };
}

impl FromStr for Pixels {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a size in pixels is WIDTHxHEIGHT, such as 800x600";
        let (width, height) = text.split_once(['x', 'X', '×']).ok_or(FORM)?;
        let side = |text: &str| text.trim().parse::<u32>().map_err(|_| FORM);
        Ok(Self { width: side(width)?, height: side(height)? })
    }
}

impl fmt::Display for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// What a file name has to look like, all of it: a regular expression, matched in linear time. The empty one is met by all
/// names.
#[derive(Debug, Clone)]
pub struct NamePattern(Regex);

impl NamePattern {
    /// Met by all names: no rule, and a value of its own.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.as_str().is_empty()
    }

    /// Does that name look like it?
    #[must_use]
    pub fn is_met_by(&self, name: &str) -> bool {
        self.is_any() || self.0.is_match(name)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let whole = self.0.as_str();
        whole.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)).unwrap_or(whole)
    }
}

/// The whole name: `a|b` must not be met by `ax`.
const OPEN: &str = r"\A(?:";
const CLOSE: &str = r")\z";

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(format!("a pattern has at most {MAX_PATTERN_BYTES} bytes"));
        }
        let bounded = |text: &str| RegexBuilder::new(text).size_limit(MAX_COMPILED_BYTES).build();
        // By itself first: one that closes our bracket is none.
        bounded(text).and_then(|_| bounded(&format!("{OPEN}{text}{CLOSE}"))).map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large once it is compiled".to_owned(),
            error => {
                let last = error.to_string().lines().last().unwrap_or_default().trim().replace("error: ", "");
                format!("not a regular expression: {last}")
            }
        })
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for NamePattern {}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Pixels, NamePattern);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_whole_names() {
        for (pattern, name, met) in [
            ("", "anything", true),
            (r"[0-9]{8}_[0-9]+\.jpg", "12345678_1.jpg", true),
            (r"[0-9]{8}_[0-9]+\.jpg", "x12345678_1.jpg", false),
            (r"[0-9]{8}_[0-9]+\.jpg", "12345678_1.jpg.exe", false),
            ("a|b", "ab", false),
            ("a|b", "b", true),
            ("a.c", "a\nc", false),
            ("(?i)sku-[a-z]+", "SKU-ab", true),
        ] {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert_eq!(pattern.is_met_by(name), met, "{pattern} {name}");
            let again: NamePattern = serde_json::from_str(&serde_json::to_string(&pattern).unwrap()).unwrap();
            assert_eq!(again, pattern);
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for text in ["(", "a)|(b", "[z-a]", "(?:a{1000}){1000}", &"a".repeat(MAX_PATTERN_BYTES + 1)] {
            assert!(text.parse::<NamePattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn pixels() {
        for (text, value) in [("800x600", Some((800, 600))), ("1X2", Some((1, 2))), ("800", None), ("ax2", None)] {
            assert_eq!(text.parse::<Pixels>().ok().map(|size| (size.width, size.height)), value, "{text}");
        }
    }

    #[test]
    fn types_by_their_names() {
        for kind in ContentType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!("jpg".parse(), Ok(ContentType::Jpeg));
        assert!("exe".parse::<ContentType>().is_err());
    }
}

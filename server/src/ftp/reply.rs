//! Replies: codes, sentences, lines (RFC 959 section 4.2), and the one place where a [`Refusal`] becomes a code.
//! Knows no socket.

use std::borrow::Cow;

use crate::delivery::{Reason, Refusal};

/// Longest line of a reply, in bytes; what is longer is cut.
const MAX_REPLY_LINE_BYTES: usize = 4_096;

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    text: Cow<'static, str>,
    /// Lines between the first and the last; empty for a reply of one line.
    lines: Vec<String>,
    last: Cow<'static, str>,
}

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into(), lines: Vec::new(), last: Cow::Borrowed("") }
    }

    /// A reply of several lines: `first`, each of `lines` led by a space, then `last`.
    pub fn lines(
        code: u16,
        first: impl Into<Cow<'static, str>>,
        lines: Vec<String>,
        last: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, text: first.into(), lines, last: last.into() }
    }

    /// Its sentence.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes it out. No control character of any text survives, so that a name can never forge a line.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.lines.is_empty() {
            push_line(out, self.code, ' ', &self.text);
            return;
        }
        push_line(out, self.code, '-', &self.text);
        for line in &self.lines {
            out.push(b' ');
            push_clean(out, line);
            out.extend_from_slice(b"\r\n");
        }
        push_line(out, self.code, ' ', &self.last);
    }
}

fn push_line(out: &mut Vec<u8>, code: u16, mark: char, text: &str) {
    out.extend_from_slice(format!("{code:03}{mark}").as_bytes());
    push_clean(out, text);
    out.extend_from_slice(b"\r\n");
}

fn push_clean(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(MAX_REPLY_LINE_BYTES);
    let mut bytes = [0; 4];
    for shown in text[..end].chars().map(|c| if c.is_control() { '?' } else { c }) {
        out.extend_from_slice(shown.encode_utf8(&mut bytes).as_bytes());
    }
}

/// A path as RFC 959 appendix II quotes it in 257: between `"`, each `"` inside doubled.
#[must_use]
pub fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('"', "\"\""))
}

/// What a file of that name is refused with. Where the file itself is the reason, its name leads: a supplier reads these
/// lines in a report of many files.
#[must_use]
pub fn file_refused(name: &str, refusal: &Refusal) -> Reply {
    refusal.clone().of_file(name).into()
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::new(code_of(refusal.reason), refusal.sentence)
    }
}

impl From<landfall_storage::PathError> for Reply {
    fn from(error: landfall_storage::PathError) -> Self {
        Refusal::from(error).into()
    }
}

/// The code of each reason. 4xx says that trying again later may help, 5xx that it will not.
#[must_use]
pub fn code_of(reason: Reason) -> u16 {
    match reason {
        Reason::NotFound | Reason::AlreadyExists | Reason::WrongKind | Reason::NotEmpty | Reason::Permission => 550,
        Reason::BadName | Reason::Rule => 553,
        Reason::BadOffset => 554,
        Reason::Quota => 552,
        Reason::NoSpace => 452,
        Reason::Busy | Reason::Incomplete => 450,
        Reason::Unsupported => 504,
        Reason::Internal => 451,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.encode(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn one_line_and_several() {
        assert_eq!(encoded(&Reply::new(200, "Done")), "200 Done\r\n");
        let several = Reply::lines(211, "Extensions:", vec!["SIZE".into(), "200 x".into()], "End");
        assert_eq!(encoded(&several), "211-Extensions:\r\n SIZE\r\n 200 x\r\n211 End\r\n");
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let reply = Reply::new(550, "a\r\n230 Logged in\u{1b}[2J: no such file".to_owned());
        assert_eq!(encoded(&reply), "550 a??230 Logged in?[2J: no such file\r\n");
    }

    #[test]
    fn a_refused_file_is_named() {
        let refused = |reason| encoded(&file_refused("a\r\n.jpg", &Refusal::new(reason, "too large")));
        assert_eq!(refused(Reason::Rule), "553 a??.jpg refused: too large\r\n");
        assert_eq!(refused(Reason::Quota), "552 a??.jpg refused: too large\r\n");
        assert_eq!(refused(Reason::Permission), "550 a??.jpg refused: too large\r\n");
        assert_eq!(refused(Reason::AlreadyExists), "550 a??.jpg refused: too large\r\n");
        assert_eq!(refused(Reason::NoSpace), "452 too large\r\n");
    }

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quoted("/a \"b\""), "\"/a \"\"b\"\"\"");
    }

    proptest! {
        #[test]
        fn every_text_is_one_line(text in ".{0,50}", code in 100u16..600) {
            let line = encoded(&Reply::new(code, text));
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(line.ends_with("\r\n"));
        }

        #[test]
        fn long_texts_are_cut_between_characters(text in "[aé€😀]{3000,3100}") {
            prop_assert!(encoded(&Reply::new(200, text)).len() <= MAX_REPLY_LINE_BYTES + 6);
        }
    }
}

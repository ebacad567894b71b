//! HASH, RANG and the older verbs for digests (XCRC and its like, MD5): what is asked for, and how it is told. The
//! computing is `delivery`'s.

use std::ops::Range;

use landfall_storage::VirtualPath;

use super::reply::Reply;
use super::session::{End, Session};
use super::settings::number;
use super::transfer::not_to_be_read;
use crate::delivery::{Algorithm, Download, Reason, Refusal};

/// How a digest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `213 SHA-256 0-99 digest path` (draft-bryan-ftpext-hash section 3).
    Hash,
    /// `250 DIGEST`, in capitals: what clients of the X-verbs know.
    Bare,
    /// `251 path DIGEST` (draft-twine-ftpmd5 section 3).
    Md5,
}

impl Form {
    fn reply(self, said: &str, algorithm: Algorithm, part: &Range<u64>, digest: &str) -> Reply {
        match self {
            // The last byte's own place; an empty file has none, and the draft wants a number all the same.
            Self::Hash => {
                let last = part.end.saturating_sub(1).max(part.start);
                Reply::new(213, format!("{} {}-{last} {digest} {said}", algorithm.name(), part.start))
            }
            Self::Bare => Reply::new(250, digest.to_ascii_uppercase()),
            Self::Md5 => Reply::new(251, format!("{said} {}", digest.to_ascii_uppercase())),
        }
    }

    /// HASH has codes of its own (draft-bryan-ftpext-hash section 3.5).
    fn refusal(self, refusal: Refusal) -> Reply {
        match (self, refusal.reason) {
            (Self::Hash, Reason::Permission) => Reply::new(552, refusal.sentence),
            (Self::Hash, Reason::WrongKind) => Reply::new(553, refusal.sentence),
            _ => refusal.into(),
        }
    }
}

/// A file found for a digest.
struct Asked {
    path: VirtualPath,
    /// Its name as the client said it.
    said: String,
    file: Download,
    part: Range<u64>,
}

impl Session {
    /// draft-bryan-ftp-range section 3: the end is the last byte's own place, and `RANG 1 0` takes the range back.
    pub(super) fn rang(&mut self, text: &str) -> Result<Reply, Reply> {
        self.state.range = None;
        self.state.restart = 0;
        let mut words = text.split_ascii_whitespace().map(number);
        let (Some(Some(start)), Some(Some(end)), None) = (words.next(), words.next(), words.next()) else {
            return Err(Reply::new(501, "RANG takes the places of the first and the last byte"));
        };
        if self.state.ascii {
            return Err(Reply::new(551, "RANG needs TYPE I"));
        }
        if (start, end) == (1, 0) {
            return Ok(Reply::new(350, "The next transfer is of the whole file"));
        }
        if start > end {
            return Err(Reply::new(501, "The first byte comes before the last one; the range is the whole file again"));
        }
        self.state.range = Some((start, end));
        Ok(Reply::new(350, format!("Restarting at {start}. End byte range at {end}.")))
    }

    pub(super) async fn hash(&mut self, name: &[u8]) -> Result<(), End> {
        let range = self.state.range.take();
        let found = async {
            let (path, file) = self.landed(name, Form::Hash).await?;
            let size = file.size();
            let part = match range {
                None => 0..size,
                Some((start, _)) if start >= size => {
                    return Err(Reply::new(554, format!("byte {start} is beyond the {size} bytes of the file")));
                }
                Some((start, last)) => start..last.saturating_add(1).min(size),
            };
            Ok(Asked { path, said: String::from_utf8_lossy(name).into_owned(), file, part })
        };
        let found = found.await;
        self.digest("HASH", found, self.state.algorithm, Form::Hash).await
    }

    /// draft-twine-ftpmd5 section 3: all of the line is the name.
    pub(super) async fn md5(&mut self, name: &[u8]) -> Result<(), End> {
        let found = async {
            let (path, file) = self.landed(name, Form::Md5).await?;
            let part = 0..file.size();
            Ok(Asked { path, said: String::from_utf8_lossy(name).into_owned(), file, part })
        };
        let found = found.await;
        self.digest("MD5", found, Algorithm::Md5, Form::Md5).await
    }

    /// `XCRC name`, `XCRC name end`, `XCRC name start end`, the name between quotes or not. The end is the first byte's
    /// place that is not read any more.
    pub(super) async fn digest_of_part(
        &mut self,
        verb: &'static str,
        argument: &[u8],
        algorithm: Algorithm,
    ) -> Result<(), End> {
        let form = Form::Bare;
        let found = async {
            let mut first = None;
            for (name, part) in readings(argument) {
                match self.landed(&name, form).await {
                    Ok((path, file)) => {
                        let (start, end) = (part.start.unwrap_or(0), part.end.unwrap_or(file.size()));
                        let said = String::from_utf8_lossy(&name).into_owned();
                        return Ok(Asked { path, said, file, part: start..end });
                    }
                    Err(reply) => first = first.or(Some(reply)),
                }
            }
            Err(first.unwrap_or_else(|| Reply::new(501, "A path is needed, and perhaps a start and an end")))
        };
        let found = found.await;
        self.digest(verb, found, algorithm, form).await
    }

    async fn landed(&self, name: &[u8], form: Form) -> Result<(VirtualPath, Download), Reply> {
        let path = self.path(name)?;
        let files = self.files()?;
        match files.download(&path).await {
            Ok(file) => Ok((path, file)),
            Err(refusal) if refusal.reason == Reason::NotFound => Err(not_to_be_read(&files, &path, refusal).await),
            Err(refusal) => Err(form.refusal(refusal)),
        }
    }

    async fn digest(
        &mut self,
        verb: &'static str,
        found: Result<Asked, Reply>,
        algorithm: Algorithm,
        form: Form,
    ) -> Result<(), End> {
        let (Asked { path, said, file, part }, files) = match found.and_then(|found| Ok((found, self.files()?))) {
            Ok(found) => found,
            Err(reply) => return self.say(&reply).await,
        };
        let doing = format!("{verb} {path}");
        self.work(&doing, "bytes have been read for the digest so far", move |course| async move {
            let progress = |bytes| course.add(usize::try_from(bytes).unwrap_or(usize::MAX));
            let hashed = tokio::select! {
                biased;
                () = course.cancelled() => return Reply::new(426, "The digest was not computed to its end"),
                hashed = files.hash(&path, file, algorithm, part.clone(), progress) => hashed,
            };
            match hashed {
                Ok(digest) => form.reply(&said, algorithm, &part, &digest),
                Err(refusal) => form.refusal(refusal),
            }
        })
        .await
    }
}

/// What may be meant by the numbers behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Part {
    start: Option<u64>,
    end: Option<u64>,
}

/// The ways to read an argument, the first one that leads to a file counts: a name with numbers at its end may be that.
fn readings(argument: &[u8]) -> Vec<(Vec<u8>, Part)> {
    if let Some(quoted) = argument.strip_prefix(b"\"") {
        return unquoted(quoted).into_iter().collect();
    }
    let mut readings = vec![(argument.to_vec(), Part::default())];
    if let Some((name, end)) = cut_number(argument) {
        readings.push((name.to_vec(), Part { start: None, end: Some(end) }));
        if let Some((name, start)) = cut_number(name) {
            // Two numbers are a start and an end before they are a name that ends in one.
            readings.insert(1, (name.to_vec(), Part { start: Some(start), end: Some(end) }));
        }
    }
    readings
}

/// `name" [[start] end]`, a quote within the name doubled.
fn unquoted(text: &[u8]) -> Option<(Vec<u8>, Part)> {
    let mut name = Vec::new();
    let mut bytes = text.iter().copied().enumerate().peekable();
    let rest = loop {
        let (at, byte) = bytes.next()?;
        match (byte, bytes.peek()) {
            (b'"', Some((_, b'"'))) => {
                bytes.next();
                name.push(byte);
            }
            (b'"', _) => break text.get(at + 1..)?,
            _ => name.push(byte),
        }
    };
    let numbers: Option<Vec<u64>> = std::str::from_utf8(rest).ok()?.split_ascii_whitespace().map(number).collect();
    let part = match numbers?.as_slice() {
        [] => Part::default(),
        [end] => Part { start: None, end: Some(*end) },
        [start, end] => Part { start: Some(*start), end: Some(*end) },
        _ => return None,
    };
    (!name.is_empty()).then_some((name, part))
}

fn cut_number(argument: &[u8]) -> Option<(&[u8], u64)> {
    let space = argument.iter().rposition(|byte| *byte == b' ')?;
    let (name, digits) = argument.split_at(space);
    let digits = std::str::from_utf8(digits.get(1..)?).ok().filter(|digits| !digits.is_empty())?;
    (!name.is_empty()).then_some((name, number(digits)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(argument: &str) -> Vec<(String, Option<u64>, Option<u64>)> {
        let readings = readings(argument.as_bytes()).into_iter();
        readings.map(|(name, part)| (String::from_utf8_lossy(&name).into_owned(), part.start, part.end)).collect()
    }

    #[test]
    fn arguments_of_the_x_verbs() {
        let one = |name: &str, start, end| vec![(name.to_owned(), start, end)];
        assert_eq!(read("a b.jpg"), one("a b.jpg", None, None));
        assert_eq!(read("\"a b.jpg\""), one("a b.jpg", None, None));
        assert_eq!(read("\"a b.jpg\" 0 10"), one("a b.jpg", Some(0), Some(10)));
        assert_eq!(read("\"a b.jpg\" 10"), one("a b.jpg", None, Some(10)));
        assert_eq!(read("\"a \"\"b\"\" 5\""), one("a \"b\" 5", None, None));
        let several = [("a 5 6", None, None), ("a", Some(5), Some(6)), ("a 5", None, Some(6))]
            .map(|(n, s, e)| (n.to_owned(), s, e));
        assert_eq!(read("a 5 6"), several);
        for wrong in ["\"a", "\"\"", "\"a\" x", "\"a\" 1 2 3", "\"a\" -1", "\"a\" 99999999999999999999"] {
            assert_eq!(read(wrong), [], "{wrong}");
        }
    }

    #[test]
    fn an_empty_part_is_told_as_its_own_start() {
        let told = |part| Form::Hash.reply("a", Algorithm::Crc32, &part, "00").text().to_owned();
        assert_eq!(told(0..0), "CRC32 0-0 00 a");
        assert_eq!(told(0..1), "CRC32 0-0 00 a");
        assert_eq!(told(5..10), "CRC32 5-9 00 a");
    }

    proptest! {
        #[test]
        fn any_argument_is_read(argument in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(readings(&argument).len() <= 3);
        }
    }
}

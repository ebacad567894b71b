//! SFTP version 3 as draft-ietf-secsh-filexfer-02 lays it out, written a second time and slowly: what a stream of bytes
//! asks for, and what replies say. Knows no engine.

use std::fmt;

/// Longest packet, in bytes.
const MAX_PACKET_BYTES: usize = 256 * 1024;
/// Longest handle, in bytes.
const MAX_HANDLE_BYTES: usize = 256;

pub(super) const INIT: u8 = 1;
pub(super) const OPEN: u8 = 3;
pub(super) const CLOSE: u8 = 4;
pub(super) const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
/// Of OPEN: begins anew (section 6.3).
pub(super) const TRUNC: u64 = 0x10;
pub(super) const FSTAT: u8 = 8;
pub(super) const FSETSTAT: u8 = 10;
pub(super) const OPENDIR: u8 = 11;
pub(super) const READDIR: u8 = 12;
pub(super) const REALPATH: u8 = 16;
pub(super) const EXTENDED: u8 = 200;

pub(super) const STATUS: u8 = 101;
pub(super) const HANDLE: u8 = 102;
pub(super) const DATA: u8 = 103;
pub(super) const NAME: u8 = 104;
pub(super) const ATTRS: u8 = 105;
pub(super) const EXTENDED_REPLY: u8 = 201;

/// What a request is made of behind its id.
#[derive(Clone, Copy)]
enum Field {
    U32,
    U64,
    Text,
    Attributes,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) kind: u8,
    pub(super) id: u32,
    pub(super) fields: Vec<Value>,
    /// False where it is not known how its fields should be: an extension of whose layout nothing stands here.
    pub(super) known: bool,
}

/// A field's value.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    U32(u32),
    U64(u64),
    Text(Vec<u8>),
    Attributes { size: Option<u64> },
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U32(number) => write!(f, "{number}"),
            Self::U64(number) => write!(f, "{number}"),
            Self::Text(text) if text.len() > 100 => write!(f, "{} bytes", text.len()),
            Self::Text(text) => write!(f, "\"{}\"", text.escape_ascii()),
            Self::Attributes { size } => write!(f, "{size:?}"),
        }
    }
}

impl Asked {
    /// The text at that place.
    pub(super) fn text(&self, at: usize) -> &[u8] {
        match self.fields.get(at) {
            Some(Value::Text(text)) => text,
            _ => &[],
        }
    }

    /// The number at that place.
    pub(super) fn number(&self, at: usize) -> u64 {
        match self.fields.get(at) {
            Some(Value::U32(number)) => u64::from(*number),
            Some(Value::U64(number)) => *number,
            _ => 0,
        }
    }

    /// The size that its attributes ask for.
    pub(super) fn size(&self) -> Option<u64> {
        self.fields.iter().find_map(|field| match field {
            Value::Attributes { size } => *size,
            _ => None,
        })
    }
}

/// The stream of one channel, as it comes.
#[derive(Default)]
pub(super) struct Wire {
    held: Vec<u8>,
}

impl Wire {
    /// Takes bytes; the requests that are whole now, and whether the stream still makes sense.
    pub(super) fn push(&mut self, bytes: &[u8]) -> (Vec<Asked>, bool) {
        self.held.extend_from_slice(bytes);
        let (mut found, mut at) = (Vec::new(), 0);
        let sense = loop {
            let Some(head) = self.held.get(at..at + 4) else { break true };
            let length = u32::from_be_bytes(head.try_into().expect("four bytes")) as usize;
            if length == 0 || length > MAX_PACKET_BYTES {
                break false;
            }
            let Some(packet) = self.held.get(at + 4..at + 4 + length) else { break true };
            let Some(asked) = request(packet) else { break false };
            found.push(asked);
            at += 4 + length;
        };
        self.held.drain(..at);
        (found, sense)
    }
}

fn request(packet: &[u8]) -> Option<Asked> {
    let (kind, mut rest) = packet.split_first()?;
    let id = u32::try_from(number(&mut rest, 4)?).ok()?;
    let mut asked = Asked { kind: *kind, id, fields: Vec::new(), known: true };
    let layout: &[Field] = match asked.kind {
        OPEN => &[Field::Text, Field::U32, Field::Attributes],
        READ => &[Field::Text, Field::U64, Field::U32],
        WRITE => &[Field::Text, Field::U64, Field::Text],
        CLOSE | FSTAT | READDIR | 7 | OPENDIR | 13 | 15 | REALPATH | 17 => &[Field::Text],
        9 | FSETSTAT | 14 => &[Field::Text, Field::Attributes],
        18 => &[Field::Text, Field::Text],
        EXTENDED => {
            let name = text(&mut rest)?;
            let layout = extension(name);
            asked.fields.push(Value::Text(name.to_vec()));
            asked.known = layout.is_some();
            layout.unwrap_or_default()
        }
        _ => &[],
    };
    for field in layout {
        asked.fields.push(match field {
            Field::U32 => Value::U32(u32::try_from(number(&mut rest, 4)?).ok()?),
            Field::U64 => Value::U64(number(&mut rest, 8)?),
            Field::Text => Value::Text(text(&mut rest)?.to_vec()),
            Field::Attributes => attributes(&mut rest)?,
        });
    }
    // Only a WRITE's is looked at before it is looked up.
    if asked.kind == WRITE && asked.text(0).len() > MAX_HANDLE_BYTES {
        return None;
    }
    Some(asked)
}

fn extension(name: &[u8]) -> Option<&'static [Field]> {
    Some(match name {
        b"posix-rename@openssh.com" | b"users-groups-by-id@openssh.com" => &[Field::Text, Field::Text],
        b"statvfs@openssh.com" | b"fstatvfs@openssh.com" | b"fsync@openssh.com" | b"expand-path@openssh.com" => {
            &[Field::Text]
        }
        b"home-directory" => &[Field::Text],
        b"lsetstat@openssh.com" => &[Field::Text, Field::Attributes],
        b"limits@openssh.com" => &[],
        b"check-file" | b"check-file-handle" | b"check-file-name" => {
            &[Field::Text, Field::Text, Field::U64, Field::U64, Field::U32]
        }
        b"vendor-id" => &[Field::Text, Field::Text, Field::Text, Field::U64],
        _ => return None,
    })
}

fn number(rest: &mut &[u8], count: usize) -> Option<u64> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let count = usize::try_from(number(rest, 4)?).ok()?;
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

fn attributes(rest: &mut &[u8]) -> Option<Value> {
    let flags = number(rest, 4)?;
    let size = if flags & 1 == 0 { None } else { Some(number(rest, 8)?) };
    // Owner and group; permissions; both times.
    for (bit, bytes) in [(2, 8), (4, 4), (8, 8)] {
        if flags & bit != 0 {
            number(rest, bytes)?;
        }
    }
    if flags & 0x8000_0000 != 0 {
        for _ in 0..number(rest, 4)? {
            text(rest)?;
            text(rest)?;
        }
    }
    Some(Value::Attributes { size })
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) kind: u8,
    pub(super) id: u32,
    pub(super) says: Says,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    /// Code and sentence.
    Status(u32, String),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    /// Names and long names.
    Names(Vec<(String, String)>),
    /// The size.
    Facts(u64),
    /// Of an extended request.
    Other,
}

/// Reads a whole packet (without its length); `None` when it is not laid out as its kind says, to the last byte.
pub(super) fn reply(packet: &[u8]) -> Option<Reply> {
    let (kind, mut rest) = packet.split_first()?;
    let id = u32::try_from(number(&mut rest, 4)?).ok()?;
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let says = match *kind {
        STATUS => {
            let code = u32::try_from(number(&mut rest, 4)?).ok()?;
            let sentence = utf8(text(&mut rest)?)?;
            text(&mut rest)?;
            Says::Status(code, sentence)
        }
        HANDLE => Says::Handle(text(&mut rest)?.to_vec()),
        DATA => Says::Data(text(&mut rest)?.to_vec()),
        NAME => {
            let mut names = Vec::new();
            for _ in 0..number(&mut rest, 4)? {
                names.push((utf8(text(&mut rest)?)?, utf8(text(&mut rest)?)?));
                attributes(&mut rest)?;
            }
            Says::Names(names)
        }
        ATTRS => match attributes(&mut rest)? {
            Value::Attributes { size: Some(size) } => Says::Facts(size),
            _ => return None,
        },
        EXTENDED_REPLY => {
            rest = &[];
            Says::Other
        }
        _ => return None,
    };
    rest.is_empty().then_some(Reply { kind: *kind, id, says })
}

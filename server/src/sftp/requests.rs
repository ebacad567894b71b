//! The one table of requests: number, name, whether it changes something, and how its fields are read.
//! Says what was asked; doing it is the business of `names.rs` and `queue.rs`.

use bytes::Bytes;
use landfall_storage::{PathError, VirtualPath};

use super::attributes::Attributes;
use super::checking::Check;
use super::extensions;
use super::packets::{Fault, Reader};

/// A name as parsed at the border. A bad one is not a fault of the packet: its request gets a refusal.
pub(super) type Place = Result<VirtualPath, PathError>;

/// `pflags` of OPEN (section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(pub(super) u32);

impl Flags {
    pub(super) const WRITE: Self = Self(0x02);
    pub(super) const APPEND: Self = Self(0x04);
    pub(super) const CREAT: Self = Self(0x08);
    pub(super) const TRUNC: Self = Self(0x10);
    pub(super) const EXCL: Self = Self(0x20);

    /// True when all of `flags` are set.
    pub(super) fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A request about a name: done in order of arrival on its channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Named {
    Open { path: Place, flags: Flags, attributes: Attributes },
    OpenDir { path: Place },
    Stat { path: Place },
    SetStat { path: Place, attributes: Attributes },
    Remove { path: Place },
    MakeDir { path: Place },
    RemoveDir { path: Place },
    RealPath { path: Place },
    Rename { from: Place, to: Place, replace: bool },
    Space { path: Place },
    Names { users: Vec<u32>, groups: Vec<u32> },
    Check { path: Place, check: Check },
}

/// A request about an open handle: done in order of arrival on that handle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Held {
    Close,
    Read { offset: u64, wanted_bytes: u32 },
    Stat,
    SetStat { attributes: Attributes },
    ReadDir,
    Sync,
    Space,
    Check(Check),
}

/// What `copy-data` copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it begins in the one file.
    pub(super) offset: u64,
    /// 0: up to the end.
    pub(super) length: u64,
    /// Where it goes in the other.
    pub(super) at: u64,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Named(Named),
    Held {
        handle: Bytes,
        what: Held,
    },
    /// From one open handle to another.
    Copy {
        from: Bytes,
        to: Bytes,
        part: Part,
    },
    /// Answered without looking at anything.
    Limits,
    /// Taken note of.
    Noted,
    /// Known and not offered, with the sentence that says so.
    Refused(&'static str),
}

/// One row of the table.
pub(super) struct Row {
    /// `SSH_FXP_*`.
    pub(super) number: u8,
    /// For logs.
    pub(super) name: &'static str,
    /// Does it change names or facts? Such requests end with the drain. OPEN is decided by its flags.
    pub(super) writes: bool,
    /// Reads the fields behind the id.
    pub(super) parse: fn(&mut Reader) -> Result<Request, Fault>,
}

pub(super) const INIT: u8 = 1;

/// Version 3, all of it but INIT and WRITE, which the pump reads itself.
pub(super) const REQUESTS: &[Row] = &[
    Row { number: 3, name: "open", writes: false, parse: open },
    Row { number: 4, name: "close", writes: false, parse: |r| held(r, Held::Close) },
    Row { number: 5, name: "read", writes: false, parse: read },
    Row { number: 7, name: "lstat", writes: false, parse: stat },
    Row { number: 8, name: "fstat", writes: false, parse: |r| held(r, Held::Stat) },
    Row { number: 9, name: "setstat", writes: true, parse: set_stat },
    Row { number: 10, name: "fsetstat", writes: false, parse: held_set_stat },
    Row {
        number: 11,
        name: "opendir",
        writes: false,
        parse: |r| Ok(Request::Named(Named::OpenDir { path: place(r)? })),
    },
    Row { number: 12, name: "readdir", writes: false, parse: |r| held(r, Held::ReadDir) },
    Row { number: 13, name: "remove", writes: true, parse: |r| Ok(Request::Named(Named::Remove { path: place(r)? })) },
    Row { number: 14, name: "mkdir", writes: true, parse: make_dir },
    Row {
        number: 15,
        name: "rmdir",
        writes: true,
        parse: |r| Ok(Request::Named(Named::RemoveDir { path: place(r)? })),
    },
    Row { number: 16, name: "realpath", writes: false, parse: real_path },
    Row { number: 17, name: "stat", writes: false, parse: stat },
    Row { number: 18, name: "rename", writes: true, parse: |r| rename(r, false) },
    Row {
        number: 19,
        name: "readlink",
        writes: false,
        parse: |_| Ok(Request::Refused("links are shown, but what they point to is not")),
    },
    Row {
        number: 20,
        name: "symlink",
        writes: true,
        parse: |_| Ok(Request::Refused("links cannot be made here; upload the file itself")),
    },
    Row { number: 200, name: "extended", writes: false, parse: extensions::parse },
];

/// The row of a request number.
pub(super) fn row(number: u8) -> Option<&'static Row> {
    REQUESTS.iter().find(|row| row.number == number)
}

/// A path, seen from the root: there is no working directory in SFTP.
pub(super) fn place(reader: &mut Reader) -> Result<Place, Fault> {
    Ok(VirtualPath::root().resolve_bytes(&reader.string()?))
}

/// A request on a handle with no more fields than the handle.
pub(super) fn held(reader: &mut Reader, what: Held) -> Result<Request, Fault> {
    Ok(Request::Held { handle: handle(reader)?, what })
}

/// A handle, in memory of its own: it must not keep the SSH packet alive that it came in.
pub(super) fn handle(reader: &mut Reader) -> Result<Bytes, Fault> {
    Ok(Bytes::copy_from_slice(&reader.string()?))
}

fn open(reader: &mut Reader) -> Result<Request, Fault> {
    let path = place(reader)?;
    let flags = Flags(reader.u32()?);
    let attributes = Attributes::decode(reader)?;
    Ok(Request::Named(Named::Open { path, flags, attributes }))
}

fn read(reader: &mut Reader) -> Result<Request, Fault> {
    let handle = handle(reader)?;
    let offset = reader.u64()?;
    let wanted_bytes = reader.u32()?;
    Ok(Request::Held { handle, what: Held::Read { offset, wanted_bytes } })
}

fn stat(reader: &mut Reader) -> Result<Request, Fault> {
    Ok(Request::Named(Named::Stat { path: place(reader)? }))
}

/// Also `lsetstat@openssh.com`, which differs for links only.
pub(super) fn set_stat(reader: &mut Reader) -> Result<Request, Fault> {
    let path = place(reader)?;
    let attributes = Attributes::decode(reader)?;
    Ok(Request::Named(Named::SetStat { path, attributes }))
}

fn held_set_stat(reader: &mut Reader) -> Result<Request, Fault> {
    let handle = handle(reader)?;
    let attributes = Attributes::decode(reader)?;
    Ok(Request::Held { handle, what: Held::SetStat { attributes } })
}

fn make_dir(reader: &mut Reader) -> Result<Request, Fault> {
    let path = place(reader)?;
    // Clients send the bits of their own umask; directories get the server's.
    Attributes::decode(reader)?;
    Ok(Request::Named(Named::MakeDir { path }))
}

fn real_path(reader: &mut Reader) -> Result<Request, Fault> {
    let text = reader.string()?;
    let path = if text.is_empty() { Ok(VirtualPath::root()) } else { VirtualPath::root().resolve_bytes(&text) };
    Ok(Request::Named(Named::RealPath { path }))
}

/// RENAME never replaces (section 6.5); `posix-rename@openssh.com` does where policy lets it.
pub(super) fn rename(reader: &mut Reader, replace: bool) -> Result<Request, Fault> {
    let from = place(reader)?;
    let to = place(reader)?;
    Ok(Request::Named(Named::Rename { from, to, replace }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::{BufMut, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::sftp::packets;

    fn parse(number: u8, body: BytesMut) -> Result<Request, Fault> {
        (row(number).unwrap().parse)(&mut Reader::new(body.freeze()))
    }

    #[test]
    fn numbers_are_there_once() {
        for row in REQUESTS {
            assert_eq!(REQUESTS.iter().filter(|other| other.number == row.number).count(), 1, "{}", row.name);
        }
        assert!((3..=20).filter(|number| *number != packets::WRITE).all(|number| row(number).is_some()));
    }

    #[test]
    fn a_name_that_is_not_utf8_is_a_refusal_not_a_fault() {
        let mut body = BytesMut::new();
        packets::string(&mut body, b"/caf\xe9.jpg");
        let Request::Named(Named::Stat { path }) = parse(17, body).unwrap() else { panic!("not a stat") };
        assert_eq!(path, Err(PathError::NotUtf8));
    }

    #[test]
    fn an_open_reads_its_attributes() {
        let mut body = BytesMut::new();
        packets::string(&mut body, b"a.jpg");
        body.put_u32(0x1a);
        body.put_u32(4);
        body.put_u32(0o100_600);
        let Request::Named(Named::Open { path, flags, attributes }) = parse(3, body).unwrap() else {
            panic!("not an open")
        };
        assert_eq!(path.unwrap().as_str(), "/a.jpg");
        assert!(flags.has(Flags::WRITE) && flags.has(Flags::CREAT) && flags.has(Flags::TRUNC));
        assert!(!flags.has(Flags::APPEND) && !flags.has(Flags::EXCL));
        assert_eq!(attributes.permissions(), Some(0o600));
    }

    #[test]
    fn realpath_of_nothing_is_the_root() {
        let mut body = BytesMut::new();
        packets::string(&mut body, b"");
        assert_eq!(parse(16, body).unwrap(), Request::Named(Named::RealPath { path: Ok(VirtualPath::root()) }));
    }

    proptest! {
        #[test]
        fn any_body_of_any_request_never_panics(number in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(row) = row(number) {
                let _ = (row.parse)(&mut Reader::new(Bytes::from(body)));
            }
        }
    }
}

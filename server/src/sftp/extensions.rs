//! Extended requests: their names, what VERSION says about them, how their fields are read, and how the few replies
//! that are not a status are laid out. The table is the list that VERSION sends: what is in it works.

use bytes::{Buf, BufMut, BytesMut};
use landfall_storage::{Space, VirtualPath};

use super::attributes::OWNER;
use super::checking::{ALGORITHMS, Check};
use super::handles::MAX_HANDLES;
use super::packets::{self, Fault, MAX_PACKET_BYTES, MAX_PAYLOAD_BYTES, Reader};
use super::requests::{Held, Named, Part, Place, Request, handle, held, place, rename, set_stat};

/// One row of the table.
struct Extension {
    name: &'static str,
    /// As VERSION announces it.
    value: &'static str,
    parse: fn(&mut Reader) -> Result<Request, Fault>,
}

const EXTENSIONS: &[Extension] = &[
    Extension { name: "posix-rename@openssh.com", value: "1", parse: |r| rename(r, true) },
    Extension { name: "statvfs@openssh.com", value: "2", parse: space },
    Extension { name: "fstatvfs@openssh.com", value: "2", parse: |r| held(r, Held::Space) },
    Extension { name: "fsync@openssh.com", value: "1", parse: |r| held(r, Held::Sync) },
    Extension { name: "lsetstat@openssh.com", value: "1", parse: set_stat },
    Extension { name: "limits@openssh.com", value: "1", parse: |_| Ok(Request::Limits) },
    Extension { name: "expand-path@openssh.com", value: "1", parse: expand_path },
    Extension { name: "home-directory", value: "1", parse: home_directory },
    Extension { name: "users-groups-by-id@openssh.com", value: "1", parse: names_by_number },
    // The draft announces the first name and asks by the other two; some servers announce those, and paramiko asks by the
    // first.
    Extension { name: "check-file", value: ALGORITHMS, parse: |r| check_handle(r, true) },
    Extension { name: "check-file-handle", value: ALGORITHMS, parse: |r| check_handle(r, false) },
    Extension { name: "check-file-name", value: ALGORITHMS, parse: check_name },
    Extension { name: "copy-data", value: "1", parse: copy },
    Extension { name: "vendor-id", value: VENDOR, parse: vendor },
];

/// Vendor, product, version, build number, as `vendor-id` lays them out (draft-ietf-secsh-filexfer-extensions-00). No
/// version and no build: they would only help to choose an attack.
const VENDOR: &str = "\0\0\0\x08Landfall\0\0\0\x08Landfall\0\0\0\0\0\0\0\0\0\0\0\0";

/// Most numbers looked up in one `users-groups-by-id`; a packet could hold 65,000.
const MAX_NUMBERS: usize = 1024;

/// What VERSION lists.
pub(super) fn announced() -> impl Iterator<Item = (&'static str, &'static str)> {
    EXTENSIONS.iter().map(|extension| (extension.name, extension.value))
}

/// Reads an extended request behind its id.
pub(super) fn parse(reader: &mut Reader) -> Result<Request, Fault> {
    let name = reader.string()?;
    match EXTENSIONS.iter().find(|extension| extension.name.as_bytes() == &name[..]) {
        Some(extension) => (extension.parse)(reader),
        None if &name[..] == b"hardlink@openssh.com" => {
            Ok(Request::Refused("links cannot be made here; upload the file again"))
        }
        None => Ok(Request::Refused("that extension is not offered")),
    }
}

/// Room is the user's, wherever it is asked for; the path must be one all the same.
fn space(reader: &mut Reader) -> Result<Request, Fault> {
    Ok(Request::Named(Named::Space { path: place(reader)? }))
}

/// `~` and `~/x` are the home directory, which is the root; `~name` would be somebody else's.
fn expand_path(reader: &mut Reader) -> Result<Request, Fault> {
    let text = reader.string()?;
    let path: Place = match text.strip_prefix(b"~") {
        Some([]) => Ok(VirtualPath::root()),
        Some(rest) if rest.first() == Some(&b'/') => VirtualPath::root().resolve_bytes(rest),
        Some(_) => return Ok(Request::Refused("only your own home directory can be expanded")),
        None => VirtualPath::root().resolve_bytes(&text),
    };
    Ok(Request::Named(Named::RealPath { path }))
}

fn home_directory(reader: &mut Reader) -> Result<Request, Fault> {
    reader.string()?;
    Ok(Request::Named(Named::RealPath { path: Ok(VirtualPath::root()) }))
}

fn check_handle(reader: &mut Reader, named: bool) -> Result<Request, Fault> {
    let handle = handle(reader)?;
    Ok(Request::Held { handle, what: Held::Check(Check::read(reader, named)?) })
}

fn check_name(reader: &mut Reader) -> Result<Request, Fault> {
    let path = place(reader)?;
    Ok(Request::Named(Named::Check { path, check: Check::read(reader, false)? }))
}

fn copy(reader: &mut Reader) -> Result<Request, Fault> {
    let from = handle(reader)?;
    let (offset, length) = (reader.u64()?, reader.u64()?);
    let to = handle(reader)?;
    let at = reader.u64()?;
    Ok(Request::Copy { from, to, part: Part { offset, length, at } })
}

/// The client says who it is: noted.
fn vendor(reader: &mut Reader) -> Result<Request, Fault> {
    for _ in 0..3 {
        reader.string()?;
    }
    reader.u64()?;
    Ok(Request::Noted)
}

fn names_by_number(reader: &mut Reader) -> Result<Request, Fault> {
    let mut numbers = || {
        let mut bytes = reader.string()?;
        let mut list = Vec::new();
        while list.len() < MAX_NUMBERS {
            match bytes.try_get_u32() {
                Ok(number) => list.push(number),
                Err(_) => break,
            }
        }
        Ok(list)
    };
    let users = numbers()?;
    let groups = numbers()?;
    Ok(Request::Named(Named::Names { users, groups }))
}

/// Reply to `users-groups-by-id`: the user's own name for the one owner that is shown, nothing for others.
pub(super) fn names_reply(out: &mut BytesMut, id: u32, users: &[u32], groups: &[u32], user: &str) {
    let list = |numbers: &[u32]| {
        let mut names = BytesMut::new();
        for number in numbers {
            packets::string(&mut names, if *number == OWNER { user.as_bytes() } else { b"" });
        }
        names
    };
    packets::extended_reply(out, id, |out| {
        packets::string(out, &list(users));
        packets::string(out, &list(groups));
    });
}

/// Reply to `limits@openssh.com`: longest packet, READ, WRITE; handles.
pub(super) fn limits_reply(out: &mut BytesMut, id: u32) {
    packets::extended_reply(out, id, |out| {
        for limit in [MAX_PACKET_BYTES, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES, MAX_HANDLES] {
            out.put_u64(limit as u64);
        }
    });
}

/// Reply to `statvfs@openssh.com` and `fstatvfs@openssh.com`, in blocks of 4 KiB.
pub(super) fn space_reply(out: &mut BytesMut, id: u32, space: &Space) {
    const BLOCK_BYTES: u64 = 4096;
    /// `SSH_FXE_STATVFS_ST_NOSUID`.
    const NO_SUID: u64 = 2;
    const NAME_BYTES: u64 = 255;
    let free = space.free_bytes / BLOCK_BYTES;
    packets::extended_reply(out, id, |out| {
        for field in [
            BLOCK_BYTES,
            BLOCK_BYTES,
            space.total_bytes / BLOCK_BYTES,
            free,
            free,
            space.total_files,
            space.free_files,
            space.free_files,
            0,
            NO_SUID,
            NAME_BYTES,
        ] {
            out.put_u64(field);
        }
    });
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn ask(name: &str, fields: &[&[u8]]) -> Request {
        let mut body = BytesMut::new();
        packets::string(&mut body, name.as_bytes());
        for field in fields {
            packets::string(&mut body, field);
        }
        parse(&mut Reader::new(body.freeze())).unwrap()
    }

    #[test]
    fn homes_expand() {
        let root = |path: &str| Request::Named(Named::RealPath { path: VirtualPath::parse(path) });
        assert_eq!(ask("expand-path@openssh.com", &[b"~"]), root("/"));
        assert_eq!(ask("expand-path@openssh.com", &[b"~/a/../b"]), root("/b"));
        assert_eq!(ask("expand-path@openssh.com", &[b"c"]), root("/c"));
        assert!(matches!(ask("expand-path@openssh.com", &[b"~root"]), Request::Refused(_)));
        assert_eq!(ask("home-directory", &[b"anybody"]), root("/"));
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        assert!(matches!(ask("hardlink@openssh.com", &[b"/a", b"/b"]), Request::Refused(_)));
        assert!(matches!(ask("nonsense", &[]), Request::Refused(_)));
        assert!(announced().all(|(name, _)| name != "hardlink@openssh.com"));
    }

    #[test]
    fn numbers_are_bounded() {
        let many = vec![0u8; 4 * (MAX_NUMBERS + 7)];
        let Request::Named(Named::Names { users, groups }) = ask("users-groups-by-id@openssh.com", &[&many, b""])
        else {
            panic!("not names")
        };
        assert_eq!((users.len(), groups.len()), (MAX_NUMBERS, 0));
    }
}

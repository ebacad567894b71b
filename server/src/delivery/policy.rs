//! What is allowed: pure decisions over a grant and facts. Does nothing, knows no disk and no clock.
//!
//! Rules about a file's content, name pattern, pixel size join [`landing`]; rules about rights join [`verb`].

use landfall_auth::{Grant, Overwrite, Permissions};
use landfall_storage::{Kind, Replace};

use super::refusal::{Reason, Refusal};

/// Things a user may want to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    List,
    Read,
    Write,
    Delete,
    Rename,
    MakeDir,
}

/// May this user do that at all?
pub(super) fn verb(grant: &Grant, verb: Verb) -> Result<(), Refusal> {
    let may = grant.permissions.unwrap_or_default();
    let Permissions { list, read, write, overwrite: _, delete, rename, mkdir } = may;
    let (allowed, sentence) = match verb {
        Verb::List => (list, "this account may not list files; it may only upload"),
        Verb::Read => (read, "this account may not download files"),
        Verb::Write => (write, "this account may not upload files"),
        Verb::Delete => (delete, "this account may not remove files"),
        Verb::Rename => (rename, "this account may not rename files"),
        Verb::MakeDir => (mkdir, "this account may not make directories"),
    };
    if allowed { Ok(()) } else { Err(Refusal::new(Reason::Permission, sentence)) }
}

/// How a landing treats a file of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// Under this name, replacing or not.
    Exact(Replace),
    /// Under this name, or the next free `name~2.ext`.
    Versioned,
}

/// May an upload begin under a name where `standing` stands (if anything), and how will it be placed?
pub(super) fn begin(grant: &Grant, standing: Option<Kind>, expected_bytes: Option<u64>) -> Result<Placement, Refusal> {
    verb(grant, Verb::Write)?;
    if standing == Some(Kind::Directory) {
        return Err(Refusal::new(Reason::WrongKind, "a directory has that name"));
    }
    if let Some(bytes) = expected_bytes {
        size(grant, bytes)?;
    }
    placement(grant, standing.is_some())
}

/// The same question for a name alone, at the landing or at the rename that delivers it.
pub(super) fn placement(grant: &Grant, occupied: bool) -> Result<Placement, Refusal> {
    let may_overwrite = grant.permissions.unwrap_or_default().overwrite;
    match grant.overwrite.unwrap_or_default() {
        Overwrite::Version => Ok(Placement::Versioned),
        Overwrite::Replace if may_overwrite => Ok(Placement::Exact(Replace::Yes)),
        Overwrite::Replace | Overwrite::Reject if !occupied => Ok(Placement::Exact(Replace::No)),
        Overwrite::Replace => Err(Refusal::new(
            Reason::Permission,
            "a file of that name has landed, and this account may not replace files",
        )),
        Overwrite::Reject => Err(Refusal::new(
            Reason::AlreadyExists,
            "a file of that name has landed, and files are not replaced here; use another name",
        )),
    }
}

/// May what has landed be cut? What is left of it takes its place, and no other.
pub(super) fn cut(grant: &Grant) -> Result<(), Refusal> {
    verb(grant, Verb::Write)?;
    match placement(grant, true) {
        Ok(Placement::Exact(Replace::Yes)) => Ok(()),
        Err(refusal) if refusal.reason == Reason::Permission => Err(refusal),
        _ => Err(Refusal::new(
            Reason::AlreadyExists,
            "files that have landed are not replaced here, and so not cut; send what it shall be as a new upload",
        )),
    }
}

/// May what has landed be taken out of sight again, under a name that is replaced freely?
pub(super) fn take_back(grant: &Grant) -> Result<(), Refusal> {
    if grant.permissions.unwrap_or_default().overwrite {
        return Ok(());
    }
    Err(Refusal::new(Reason::Permission, "this account may not replace files, so it may not give them temporary names"))
}

/// May the permission bits of what has landed be changed? Taking them away hides a file as well as replacing it does.
pub(super) fn change_mode(grant: &Grant) -> Result<(), Refusal> {
    if grant.permissions.unwrap_or_default().overwrite {
        return Ok(());
    }
    Err(Refusal::new(Reason::Permission, "this account may not replace files, so it may not change their mode"))
}

/// Permission bits that a client may give: nothing that lets others write.
pub(super) fn mode(mode: u32) -> u32 {
    mode & 0o755
}

/// May an upload hold so many bytes?
pub(super) fn size(grant: &Grant, bytes: u64) -> Result<(), Refusal> {
    match grant.max_file_bytes {
        Some(most) if bytes > most => Err(Refusal::new(
            Reason::Rule,
            format!("the file is larger than the {most} bytes that this account may send; send a smaller one"),
        )),
        _ => Ok(()),
    }
}

/// Facts about a whole staged file, right before it lands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// Bytes staged.
    pub(super) size: u64,
    /// Bytes announced beforehand, if they were.
    pub(super) expected_bytes: Option<u64>,
}

/// May this file land?
pub(super) fn landing(grant: &Grant, facts: Facts) -> Result<(), Refusal> {
    if let Some(expected) = facts.expected_bytes
        && expected != facts.size
    {
        let sentence = format!("{expected} bytes were announced and {} are here; the upload is suspended", facts.size);
        return Err(Refusal::new(Reason::Incomplete, sentence));
    }
    size(grant, facts.size)
}

/// The `number`th name for a file whose own name is taken: `photo.jpg`, 2 → `photo~2.jpg`. `None` when it would be too
/// long.
pub(super) fn version_name(name: &str, number: u32) -> Option<String> {
    let (stem, extension) = match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    };
    let version = format!("{stem}~{number}{extension}");
    (version.len() <= landfall_storage::path::MAX_COMPONENT_BYTES).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(overwrite: Overwrite, may: bool) -> Grant {
        Grant {
            overwrite: Some(overwrite),
            permissions: Some(Permissions { overwrite: may, ..Permissions::default() }),
            ..Grant::default()
        }
    }

    #[test]
    fn placement_table() {
        use Overwrite::{Reject, Replace as Over, Version};
        let yes = Some(Placement::Exact(Replace::Yes));
        let no = Some(Placement::Exact(Replace::No));
        for (policy, may, occupied, expected) in [
            (Over, true, true, yes),
            (Over, true, false, yes),
            (Over, false, false, no),
            (Over, false, true, None),
            (Reject, true, false, no),
            (Reject, true, true, None),
            (Reject, false, true, None),
            (Version, true, true, Some(Placement::Versioned)),
            (Version, false, true, Some(Placement::Versioned)),
        ] {
            assert_eq!(placement(&grant(policy, may), occupied).ok(), expected, "{policy:?} {may} {occupied}");
        }
    }

    #[test]
    fn verbs_follow_their_permission() {
        use Verb::{Delete, List, MakeDir, Read, Rename, Write};
        let none = Permissions::NONE;
        for (one, permissions) in [
            (List, Permissions { list: true, ..none }),
            (Read, Permissions { read: true, ..none }),
            (Write, Permissions { write: true, ..none }),
            (Delete, Permissions { delete: true, ..none }),
            (Rename, Permissions { rename: true, ..none }),
            (MakeDir, Permissions { mkdir: true, ..none }),
        ] {
            let grant = Grant { permissions: Some(permissions), ..Grant::default() };
            for other in [List, Read, Write, Delete, Rename, MakeDir] {
                assert_eq!(verb(&grant, other).is_ok(), one == other, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn sizes() {
        let grant = Grant { max_file_bytes: Some(10), ..Grant::default() };
        assert!(size(&grant, 10).is_ok());
        assert_eq!(size(&grant, 11).err().map(|refusal| refusal.reason), Some(Reason::Rule));
        assert_eq!(begin(&grant, None, Some(11)).err().map(|refusal| refusal.reason), Some(Reason::Rule));
        let whole = |size, expected_bytes| landing(&grant, Facts { size, expected_bytes }).err().map(|r| r.reason);
        assert_eq!(whole(5, None), None);
        assert_eq!(whole(5, Some(5)), None);
        assert_eq!(whole(5, Some(6)), Some(Reason::Incomplete));
    }

    #[test]
    fn versions() {
        assert_eq!(version_name("photo.jpg", 2).as_deref(), Some("photo~2.jpg"));
        assert_eq!(version_name("archive.tar.gz", 3).as_deref(), Some("archive.tar~3.gz"));
        assert_eq!(version_name(".hidden", 2).as_deref(), Some(".hidden~2"));
        assert_eq!(version_name("plain", 10).as_deref(), Some("plain~10"));
        assert_eq!(version_name(&"x".repeat(255), 2), None);
    }
}

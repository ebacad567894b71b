//! What is allowed: pure decisions over a grant and facts. Does nothing, knows no disk and no clock.
//!
//! Rules about a file's size, name, content and pixels join [`landing`]; rules about rights join [`verb`].

use std::collections::BTreeMap;

use landfall_auth::{ContentCheck, ContentType, Grant, Overwrite, Permissions};
use landfall_storage::{Kind, Replace, VirtualPath};

use super::refusal::{Reason, Refusal};
use crate::inspect::{Depth, Findings};

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

/// What may be done at `path`: what the longest of the paths that hold it says, else what holds everywhere.
fn permissions(grant: &Grant, path: &VirtualPath) -> Permissions {
    let holds = |rule: &str| match path.as_str().strip_prefix(rule) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    };
    let rules = grant.path_permissions.iter().flatten();
    let longest = rules.filter(|(rule, _)| holds(rule)).max_by_key(|(rule, _)| rule.len());
    longest.map(|(_, permissions)| *permissions).or(grant.permissions).unwrap_or_default()
}

/// May this user do that to a directory and all that is in it? Paths below it may say otherwise.
pub(super) fn verb_below(grant: &Grant, path: &VirtualPath, asked: Verb) -> Result<(), Refusal> {
    verb(grant, path, asked)?;
    let below = grant.path_permissions.iter().flatten().filter_map(|(rule, _)| VirtualPath::parse(rule).ok());
    below.filter(|rule| rule.is_within(path)).try_for_each(|rule| verb(grant, &rule, asked))
}

/// May this user do that there?
pub(super) fn verb(grant: &Grant, path: &VirtualPath, verb: Verb) -> Result<(), Refusal> {
    let may = permissions(grant, path);
    let Permissions { list, read, write, overwrite: _, delete, rename, mkdir } = may;
    let (allowed, sentence) = match verb {
        Verb::List => (list, "this account may not list files; it may only upload"),
        Verb::Read => (read, "this account may not download files"),
        Verb::Write => (write, "this account may not upload files"),
        Verb::Delete => (delete, "this account may not remove files"),
        Verb::Rename => (rename, "this account may not rename files"),
        Verb::MakeDir => (mkdir, "this account may not make directories"),
    };
    if allowed {
        return Ok(());
    }
    if grant.path_permissions.as_ref().is_none_or(BTreeMap::is_empty) {
        return Err(Refusal::new(Reason::Permission, sentence));
    }
    Err(Refusal::new(Reason::Permission, format!("{sentence} in that place")))
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
///
/// `temporary`: the name is one that the client takes away at the end; what its file will be called is not known yet.
pub(super) fn begin(
    grant: &Grant,
    path: &VirtualPath,
    temporary: bool,
    standing: Option<Kind>,
    expected_bytes: Option<u64>,
) -> Result<Placement, Refusal> {
    verb(grant, path, Verb::Write)?;
    if standing == Some(Kind::Directory) {
        return Err(Refusal::new(Reason::WrongKind, "a directory has that name"));
    }
    if let Some(bytes) = expected_bytes {
        size(grant, bytes)?;
    }
    if temporary {
        // Whether its final name is fit and free is asked when the rename names it.
        return placement(grant, path, false);
    }
    name(grant, path)?;
    placement(grant, path, standing.is_some())
}

/// Does the name look as names have to?
pub(super) fn name(grant: &Grant, path: &VirtualPath) -> Result<(), Refusal> {
    let Some(pattern) = &grant.file_name_pattern else { return Ok(()) };
    if pattern.is_met_by(path.file_name().unwrap_or_default()) {
        return Ok(());
    }
    let sentence =
        format!("the name is not of the form {pattern} that this account's files have; rename it and send it again");
    Err(Refusal::new(Reason::Rule, sentence))
}

/// The same question for a name alone, at the landing or at the rename that delivers it.
pub(super) fn placement(grant: &Grant, path: &VirtualPath, occupied: bool) -> Result<Placement, Refusal> {
    let may_overwrite = permissions(grant, path).overwrite;
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
pub(super) fn cut(grant: &Grant, path: &VirtualPath) -> Result<(), Refusal> {
    verb(grant, path, Verb::Write)?;
    match placement(grant, path, true) {
        Ok(Placement::Exact(Replace::Yes)) => Ok(()),
        Err(refusal) if refusal.reason == Reason::Permission => Err(refusal),
        _ => Err(Refusal::new(
            Reason::AlreadyExists,
            "files that have landed are not replaced here, and so not cut; send what it shall be as a new upload",
        )),
    }
}

/// May what has landed be taken out of sight again, under a name that is replaced freely?
pub(super) fn take_back(grant: &Grant, path: &VirtualPath) -> Result<(), Refusal> {
    if permissions(grant, path).overwrite {
        return Ok(());
    }
    Err(Refusal::new(Reason::Permission, "this account may not replace files, so it may not give them temporary names"))
}

/// May the permission bits of what has landed be changed? Taking them away hides a file as well as replacing it does.
pub(super) fn change_mode(grant: &Grant, path: &VirtualPath) -> Result<(), Refusal> {
    if permissions(grant, path).overwrite {
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
            format!("it is larger than the {most} bytes that this account may send; send a smaller one"),
        )),
        _ => Ok(()),
    }
}

/// Facts about a whole staged file, right before it lands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The name it is to land under; `None` while that is a temporary one, which its client takes away again.
    pub(super) path: Option<&'a VirtualPath>,
    /// Bytes staged.
    pub(super) size: u64,
    /// Bytes announced beforehand, if they were.
    pub(super) expected_bytes: Option<u64>,
    /// What [`inspection`] asked for; `None` where it asked for nothing.
    pub(super) content: Option<&'a Findings>,
}

/// How closely the content has to be looked at before [`landing`] can decide; `None`: not at all.
pub(super) fn inspection(grant: &Grant) -> Option<Depth> {
    match grant.content_check.unwrap_or_default() {
        ContentCheck::Decode => Some(Depth::Decode),
        ContentCheck::Structure => Some(Depth::Structure),
        ContentCheck::Off => {
            let asks = grant.allowed_types.as_ref().is_some_and(|types| !types.is_empty())
                || grant.min_pixels.is_some()
                || grant.max_pixels.is_some();
            asks.then_some(Depth::Type)
        }
    }
}

/// One rule about a whole file, by the name of its key.
type Rule = (&'static str, fn(&Grant, Facts<'_>) -> Result<(), Refusal>);

/// The rules about whole files, in the order in which they are asked.
const RULES: [Rule; 7] = [
    ("announced", announced),
    ("file_name_pattern", |grant, facts| facts.path.map_or(Ok(()), |path| name(grant, path))),
    ("max_file_bytes", |grant, facts| size(grant, facts.size)),
    ("allowed_types", |grant, facts| facts.content.map_or(Ok(()), |content| allowed_type(grant, content))),
    ("content_check", |_, facts| facts.content.map_or(Ok(()), whole)),
    ("min_pixels", |grant, facts| facts.content.map_or(Ok(()), |content| large_enough(grant, content))),
    ("max_pixels", |grant, facts| facts.content.map_or(Ok(()), |content| small_enough(grant, content))),
];

/// May this file land?
pub(super) fn landing(grant: &Grant, facts: Facts<'_>) -> Result<(), Refusal> {
    RULES.iter().try_for_each(|(_, rule)| rule(grant, facts))
}

/// What each rule says to a file, and first whether it may be sent there at all: for people who try their rules.
pub(super) fn trial(grant: &Grant, path: &VirtualPath, facts: Facts<'_>) -> Vec<(&'static str, Result<(), Refusal>)> {
    let permitted = verb(grant, path, Verb::Write);
    let rules = RULES.iter().map(|(key, rule)| (*key, rule(grant, facts)));
    std::iter::once(("permissions", permitted)).chain(rules.filter(|(key, _)| *key != "announced")).collect()
}

fn announced(_: &Grant, facts: Facts<'_>) -> Result<(), Refusal> {
    match facts.expected_bytes {
        Some(expected) if expected != facts.size => {
            let sentence =
                format!("{expected} bytes were announced and {} are here; the upload is suspended", facts.size);
            Err(Refusal::new(Reason::Incomplete, sentence))
        }
        _ => Ok(()),
    }
}

fn rule(sentence: String) -> Result<(), Refusal> {
    Err(Refusal::new(Reason::Rule, sentence))
}

fn allowed_type(grant: &Grant, content: &Findings) -> Result<(), Refusal> {
    let Some(allowed) = grant.allowed_types.as_ref().filter(|allowed| !allowed.is_empty()) else { return Ok(()) };
    if content.kind.is_some_and(|kind| allowed.contains(&kind)) {
        return Ok(());
    }
    let allowed = titles(allowed);
    let why = match content.kind {
        Some(kind) => format!("its content is {}, and this account may send {allowed}", kind.title()),
        None => format!("its content is not {allowed}, which is what this account may send"),
    };
    rule(why + "; convert it and send it again")
}

fn whole(content: &Findings) -> Result<(), Refusal> {
    content.fault.as_ref().map_or(Ok(()), |fault| rule(format!("{fault}; send it again")))
}

/// The size of what has one, where it can be told.
fn pixels(content: &Findings) -> Result<Option<(u32, u32)>, Refusal> {
    match (content.kind.is_some_and(ContentType::is_image), content.pixels) {
        (true, None) => Err(Refusal::new(Reason::Rule, "its size in pixels cannot be told; send it again")),
        (true, pixels) => Ok(pixels),
        (false, _) => Ok(None),
    }
}

fn large_enough(grant: &Grant, content: &Findings) -> Result<(), Refusal> {
    let Some(least) = grant.min_pixels else { return Ok(()) };
    match pixels(content)? {
        Some((width, height)) if width < least.width || height < least.height => {
            rule(format!("it has {width}x{height} pixels, and {least} are the least; send a larger picture"))
        }
        _ => Ok(()),
    }
}

fn small_enough(grant: &Grant, content: &Findings) -> Result<(), Refusal> {
    let Some(most) = grant.max_pixels else { return Ok(()) };
    match pixels(content)? {
        Some((width, height)) if width > most.width || height > most.height => {
            rule(format!("it has {width}x{height} pixels, and {most} are the most; send a smaller picture"))
        }
        _ => Ok(()),
    }
}

/// `JPEG, PNG or WebP`.
fn titles(types: &[ContentType]) -> String {
    let titles: Vec<&str> = types.iter().map(|kind| kind.title()).collect();
    match titles.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
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
#[path = "tests/policy.rs"]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

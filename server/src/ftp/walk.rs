//! The way through a directory, and with `-R` through those below it: pattern, order, and the bounds of all three.
//! Blocks, writes nothing, and knows no form of a line.

use std::collections::HashSet;

use landfall_storage::{Entry, Kind, VirtualPath};

use super::ls::{self, Glob, TooCostly, Wanted};
use crate::delivery::{Listing, Names, Reason, Refusal, Session};

/// Sorting needs all names at once: a directory with more comes in the storage's own order.
pub(super) const MAX_SORTED_NAMES: usize = 10_000;
/// Names that one `-R` tells.
pub(super) const MAX_RECURSIVE_NAMES: usize = 100_000;
/// How far below the directory asked for `-R` goes.
pub(super) const MAX_RECURSIVE_DEPTH: usize = 16;
/// Names of directories that `-R` still has before it.
const MAX_PENDING_BYTES: usize = 1_024 * 1_024;

/// What is to be said of a listing as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remark {
    /// Everything came, in no order.
    Unsorted,
    /// `-R` met its bounds: names are missing.
    TooMany,
    /// The pattern did: names are missing.
    TooCostly,
}

/// One step of the walk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// What follows stands in a further directory: [`Walk::below`].
    Directory,
    /// A name with its facts.
    Entry(Entry),
    /// A name alone, from a walk that asks for no facts.
    Name(String),
    /// A name that is not to be told, or not yet. Told all the same, so that a walk can be stopped anywhere.
    Hidden,
}

/// In what order names come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Storage,
    NewestFirst,
    OldestFirst,
}

impl Order {
    pub(super) const fn of(wanted: &Wanted<'_>) -> Self {
        match (wanted.by_time, wanted.reversed) {
            (false, _) => Self::Storage,
            (true, false) => Self::NewestFirst,
            (true, true) => Self::OldestFirst,
        }
    }
}

/// What the storage is asked for.
enum Source {
    Entries(Listing),
    /// Neither sorted nor gone below: both need facts.
    Names(Names),
}

/// A walk under way.
pub(super) struct Walk {
    source: Source,
    /// For the directory asked for; what is below a directory that matches comes whole.
    glob: Option<Glob>,
    order: Order,
    /// Names of this directory until they can be sorted.
    gathered: Option<Vec<Entry>>,
    sorted: std::vec::IntoIter<Entry>,
    below: String,
    recursion: Option<Recursion>,
    remark: Option<Remark>,
}

/// What `-R` needs to know.
struct Recursion {
    session: Session,
    top: VirtualPath,
    /// Directories to be listed, the next one last; each as [`Walk::below`].
    pending: Vec<String>,
    pending_bytes: usize,
    /// Found in the directory that is being listed.
    found: Vec<String>,
    /// By inode: a link that an operator placed may lead back.
    seen: HashSet<u64>,
    names_left: usize,
}

impl Walk {
    pub(super) fn new(entries: Listing, glob: Option<Glob>, order: Order) -> Self {
        Self::of(Source::Entries(entries), glob, order)
    }

    /// Names without facts, as the storage reads them.
    pub(super) fn names(names: Names, glob: Option<Glob>) -> Self {
        Self::of(Source::Names(names), glob, Order::Storage)
    }

    fn of(source: Source, glob: Option<Glob>, order: Order) -> Self {
        let gathered = (order != Order::Storage).then(Vec::new);
        let sorted = Vec::new().into_iter();
        Self { source, glob, order, gathered, sorted, below: String::new(), recursion: None, remark: None }
    }

    /// The same, and all that is below `top`.
    pub(super) fn recursive(mut self, session: Session, top: VirtualPath) -> Self {
        self.recursion = Some(Recursion {
            session,
            top,
            pending: Vec::new(),
            pending_bytes: 0,
            found: Vec::new(),
            seen: HashSet::new(),
            names_left: MAX_RECURSIVE_NAMES,
        });
        self
    }

    /// The way from the directory asked for to the one that is being listed: empty, or `a/b/`.
    pub(super) fn below(&self) -> &str {
        &self.below
    }

    pub(super) const fn remark(&self) -> Option<Remark> {
        self.remark
    }

    /// Is this name to be told? A pattern that costs too much ends the walk.
    fn shows(&mut self, name: &str) -> bool {
        let shown = match &mut self.glob {
            _ if !ls::showable(name) => Ok(false),
            Some(glob) if self.below.is_empty() => glob.matches(name),
            Some(_) | None => Ok(true),
        };
        shown.unwrap_or_else(|TooCostly| {
            self.give_up(Remark::TooCostly);
            false
        })
    }

    /// Ends it before its end.
    fn give_up(&mut self, why: Remark) {
        self.remark = Some(why);
        self.source = Source::Entries(Box::new(std::iter::empty()));
        self.gathered = None;
        self.recursion = None;
    }

    /// A name on its way out.
    fn tell(&mut self, entry: Entry) -> Item {
        if let Some(recursion) = &mut self.recursion
            && recursion.note(&self.below, &entry).is_err()
        {
            self.give_up(Remark::TooMany);
            return Item::Hidden;
        }
        Item::Entry(entry)
    }

    /// Keeps a name until all of its directory are there, or too many.
    fn gather(&mut self, entry: Entry) -> Item {
        let Some(gathered) = &mut self.gathered else { return self.tell(entry) };
        gathered.push(entry);
        if gathered.len() > MAX_SORTED_NAMES {
            self.remark = Some(Remark::Unsorted);
            self.sorted = self.gathered.take().unwrap_or_default().into_iter();
        }
        Item::Hidden
    }

    /// The end of a directory: what was gathered is sorted, once.
    fn sort(&mut self) -> bool {
        let Some(gathered) = self.gathered.as_mut().filter(|gathered| !gathered.is_empty()) else { return false };
        let mut gathered = std::mem::take(gathered);
        gathered.sort_unstable_by(|a, b| b.stat.modified.cmp(&a.stat.modified).then_with(|| a.name.cmp(&b.name)));
        if self.order == Order::OldestFirst {
            gathered.reverse();
        }
        self.sorted = gathered.into_iter();
        true
    }

    /// Goes on with the next directory.
    fn descend(&mut self) -> Option<Result<Item, Refusal>> {
        let recursion = self.recursion.as_mut()?;
        recursion.pending.extend(recursion.found.drain(..).rev());
        while let Some(below) = recursion.pending.pop() {
            recursion.pending_bytes -= below.len();
            let listed = match recursion.top.resolve(&below) {
                Ok(path) => recursion.session.list_blocking(&path),
                Err(error) => Err(error.into()),
            };
            match listed {
                Ok(entries) => {
                    self.source = Source::Entries(entries);
                    self.gathered = (self.order != Order::Storage).then(Vec::new);
                    self.below = below;
                    return Some(Ok(Item::Directory));
                }
                // It has gone since.
                Err(refusal) if matches!(refusal.reason, Reason::NotFound | Reason::WrongKind) => {}
                Err(refusal) => return Some(Err(refusal)),
            }
        }
        None
    }
}

impl Iterator for Walk {
    type Item = Result<Item, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.sorted.next() {
                return Some(Ok(self.tell(entry)));
            }
            let next = match &mut self.source {
                Source::Entries(entries) => entries.next(),
                Source::Names(names) => {
                    let name = names.next()?;
                    return Some(name.map(|name| if self.shows(&name) { Item::Name(name) } else { Item::Hidden }));
                }
            };
            return Some(match next {
                Some(Ok(entry)) => Ok(if self.shows(&entry.name) { self.gather(entry) } else { Item::Hidden }),
                Some(Err(refusal)) => Err(refusal),
                None if self.sort() => continue,
                None => return self.descend(),
            });
        }
    }
}

/// The bounds of `-R` are met.
struct TooMany;

impl Recursion {
    /// Counts a name, and keeps it for later where it is a directory's.
    fn note(&mut self, below: &str, entry: &Entry) -> Result<(), TooMany> {
        self.names_left = self.names_left.checked_sub(1).ok_or(TooMany)?;
        let again = entry.stat.inode != 0 && self.seen.contains(&entry.stat.inode);
        if entry.stat.kind != Kind::Directory || again {
            return Ok(());
        }
        self.seen.insert(entry.stat.inode);
        let path = format!("{below}{}/", entry.name);
        self.pending_bytes += path.len();
        if self.pending_bytes > MAX_PENDING_BYTES || path.matches('/').count() > MAX_RECURSIVE_DEPTH {
            return Err(TooMany);
        }
        self.found.push(path);
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use landfall_storage::Stat;

    use super::*;

    /// Files with these names, each a second older than the one before it.
    fn listing(names: impl Iterator<Item = String> + Send + 'static) -> Listing {
        let start = UNIX_EPOCH + Duration::from_secs(1_000_000);
        Box::new(names.enumerate().map(move |(at, name)| {
            let modified = start - Duration::from_secs(at as u64);
            Ok(Entry { name, stat: Stat { kind: Kind::File, size: 5, modified, mode: 0o644, inode: at as u64 + 1 } })
        }))
    }

    fn told(walk: &mut Walk) -> Vec<String> {
        let told = walk.by_ref().filter_map(|item| match item.unwrap() {
            Item::Entry(entry) => Some(entry.name),
            Item::Name(name) => Some(name),
            Item::Directory | Item::Hidden => None,
        });
        told.collect()
    }

    fn names(names: &'static [&'static str]) -> Listing {
        listing(names.iter().map(|name| (*name).to_owned()))
    }

    fn bare(names: &'static [&'static str]) -> Names {
        Box::new(names.iter().map(|name| Ok((*name).to_owned())))
    }

    #[test]
    fn orders() {
        for (order, expected) in [
            (Order::Storage, ["b", "c", "a"]),
            (Order::NewestFirst, ["b", "c", "a"]),
            (Order::OldestFirst, ["a", "c", "b"]),
        ] {
            let mut walk = Walk::new(names(&["b", "c", "a"]), None, order);
            assert_eq!(told(&mut walk), expected, "{order:?}");
            assert_eq!(walk.remark(), None);
        }
    }

    #[test]
    fn too_many_names_come_unsorted_and_whole() {
        for (count, remark) in [(MAX_SORTED_NAMES, None), (MAX_SORTED_NAMES + 1, Some(Remark::Unsorted))] {
            let mut walk = Walk::new(listing((0..count).map(|n| n.to_string())), None, Order::OldestFirst);
            let told = told(&mut walk);
            assert_eq!((told.len(), walk.remark()), (count, remark));
            let first = if remark.is_none() { (count - 1).to_string() } else { "0".to_owned() };
            assert_eq!(told[0], first);
        }
    }

    #[test]
    fn a_name_that_would_forge_lines_is_left_out() {
        const ODD: &[&str] = &["a", "b\r\n-rw", "c\u{1b}"];
        assert_eq!(told(&mut Walk::new(names(ODD), None, Order::Storage)), ["a"]);
        assert_eq!(told(&mut Walk::names(bare(ODD), None)), ["a"]);
    }

    #[test]
    fn patterns() {
        const ALL: &[&str] = &["a.jpg", ".b.jpg", "c.png"];
        let glob = || Glob::parse("*.jpg");
        assert_eq!(told(&mut Walk::new(names(ALL), glob(), Order::Storage)), ["a.jpg", ".b.jpg"]);
        assert_eq!(told(&mut Walk::names(bare(ALL), glob())), ["a.jpg", ".b.jpg"]);
    }
}

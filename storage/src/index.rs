//! What is staged, in memory: for each owner and path the suspended upload, if any, and those under way.
//! Pure: touches no disk; says what the caller has to remove from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::path::VirtualPath;
use crate::{Suspended, UploadId};

/// Most uploads that one owner may have staged at a time, suspended and under way together.
pub const MAX_STAGED_PER_OWNER: usize = 10_000;

/// An upload under way.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: UploadId,
    pub(crate) owner: String,
    pub(crate) path: VirtualPath,
    /// Counts up with every upload that begins or resumes.
    order: u64,
    /// Bytes held.
    size: AtomicU64,
    /// A later one of the same owner and path has landed: not worth keeping when it is cut off.
    superseded: AtomicBool,
}

impl Live {
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }
}

/// A suspended upload.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) id: UploadId,
    order: u64,
    pub(crate) size: u64,
    modified: SystemTime,
}

/// What stands under one owner and path. Never both empty while in the index.
#[derive(Debug, Default)]
struct Slot {
    suspended: Option<Held>,
    active: Vec<Arc<Live>>,
}

#[derive(Debug, Default)]
struct Owner {
    slots: BTreeMap<VirtualPath, Slot>,
    count: usize,
}

/// The index. Its operations are short; the caller keeps it behind a mutex.
#[derive(Debug, Default)]
pub(crate) struct Index {
    owners: HashMap<String, Owner>,
    order: u64,
}

impl Index {
    /// The index of what a start found. At most one upload per owner and path.
    pub(crate) fn of(found: Vec<Suspended>) -> Self {
        let mut index = Self::default();
        for upload in found {
            let held = Held { id: upload.id, order: 0, size: upload.size, modified: upload.modified };
            let owner = index.owners.entry(upload.owner).or_default();
            owner.slots.entry(upload.path).or_default().suspended = Some(held);
            owner.count += 1;
        }
        index
    }

    /// Enters a new upload.
    pub(crate) fn begin(&mut self, id: UploadId, owner: &str, path: &VirtualPath) -> Result<Arc<Live>> {
        if self.owners.get(owner).is_some_and(|owner| owner.count >= MAX_STAGED_PER_OWNER) {
            return Err(Error::Limit("an owner has at most 10000 uploads staged"));
        }
        let entry = self.owners.entry(owner.to_owned()).or_default();
        entry.count += 1;
        Ok(self.activate(id, owner, path, 0))
    }

    /// Turns the suspended upload, if there is one, into one under way.
    pub(crate) fn resume(&mut self, owner: &str, path: &VirtualPath) -> Result<Option<(Held, Arc<Live>)>> {
        let Some(slot) = self.owners.get_mut(owner).and_then(|entry| entry.slots.get_mut(path)) else {
            return Ok(None);
        };
        let Some(held) = slot.suspended.take() else {
            // Not suspended, yet here: under way elsewhere.
            return Err(Error::Busy);
        };
        let live = self.activate(held.id.clone(), owner, path, held.size);
        Ok(Some((held, live)))
    }

    fn activate(&mut self, id: UploadId, owner: &str, path: &VirtualPath, size: u64) -> Arc<Live> {
        self.order += 1;
        let live = Arc::new(Live {
            id,
            owner: owner.to_owned(),
            path: path.clone(),
            order: self.order,
            size: AtomicU64::new(size),
            superseded: AtomicBool::new(false),
        });
        let slots = &mut self.owners.entry(owner.to_owned()).or_default().slots;
        slots.entry(path.clone()).or_default().active.push(Arc::clone(&live));
        live
    }

    /// Takes the suspended upload out, if it was there before `live` began: what a fresh upload gives up.
    pub(crate) fn take_older(&mut self, live: &Live) -> Option<Held> {
        let slot = self.slot(live)?;
        if slot.suspended.as_ref().is_none_or(|held| held.order > live.order) {
            return None;
        }
        let held = slot.suspended.take();
        self.leave(&live.owner, &live.path, 1);
        held
    }

    /// Takes the suspended upload out, to remove it; [`Index::put_back`] if that fails.
    pub(crate) fn take(&mut self, owner: &str, path: &VirtualPath) -> Result<Held> {
        let slot = self.owners.get_mut(owner).and_then(|entry| entry.slots.get_mut(path)).ok_or(Error::NotFound)?;
        let held = slot.suspended.take().ok_or(Error::Busy)?;
        self.leave(owner, path, 1);
        Ok(held)
    }

    /// Takes out all suspended uploads that got no bytes since `before`, to remove them.
    pub(crate) fn take_stale(&mut self, before: SystemTime) -> Vec<(Suspended, Held)> {
        let stale: Vec<_> =
            self.all().into_iter().filter(|upload| !upload.active && upload.modified < before).collect();
        let mut taken = Vec::with_capacity(stale.len());
        for upload in stale {
            if let Ok(held) = self.take(&upload.owner, &upload.path) {
                taken.push((upload, held));
            }
        }
        taken
    }

    /// Undoes [`Index::take`]. Should a newer one have been suspended meanwhile, that one stays.
    pub(crate) fn put_back(&mut self, owner: &str, path: &VirtualPath, held: Held) {
        let entry = self.owners.entry(owner.to_owned()).or_default();
        let slot = entry.slots.entry(path.clone()).or_default();
        if slot.suspended.is_none() {
            slot.suspended = Some(held);
            entry.count += 1;
        }
    }

    /// Ends `live` without keeping it.
    pub(crate) fn end(&mut self, live: &Live) {
        if let Some(slot) = self.slot(live) {
            slot.active.retain(|other| other.order != live.order);
            self.leave(&live.owner, &live.path, 1);
        }
    }

    /// Ends `live` as landed; what else there is of the same owner and path and began earlier is outdated: the
    /// suspended one is returned, for removal, and those under way will not be kept when they are cut off.
    pub(crate) fn landed(&mut self, live: &Live) -> Option<Held> {
        if let Some(slot) = self.slot(live) {
            for other in slot.active.iter().filter(|other| other.order < live.order) {
                other.superseded.store(true, Ordering::Release);
            }
        }
        let older = self.take_older(live);
        self.end(live);
        older
    }

    /// A file has come to stand under `path` in another way than by a landing: what there is of the owner and that path
    /// is outdated, as by [`Index::landed`].
    pub(crate) fn outdate(&mut self, owner: &str, path: &VirtualPath) -> Option<Held> {
        let slot = self.owners.get_mut(owner)?.slots.get_mut(path)?;
        for live in &slot.active {
            live.superseded.store(true, Ordering::Release);
        }
        self.take(owner, path).ok()
    }

    /// Turns `live` into the suspended upload of its owner and path. Of two suspended ones the one that began later
    /// stays; the other is returned, for removal.
    pub(crate) fn suspend(&mut self, live: &Live, size: u64, modified: SystemTime) -> Option<UploadId> {
        let held = Held { id: live.id.clone(), order: live.order, size, modified };
        let slot = self.slot(live)?;
        slot.active.retain(|other| other.order != live.order);
        let newer = slot.suspended.as_ref().is_some_and(|other| other.order > live.order);
        if newer || live.superseded.load(Ordering::Acquire) {
            self.leave(&live.owner, &live.path, 1);
            return Some(held.id);
        }
        let older = slot.suspended.replace(held)?;
        self.leave(&live.owner, &live.path, 1);
        Some(older.id)
    }

    /// Whether [`Index::rename`] would succeed, and of which upload.
    pub(crate) fn renameable(&self, owner: &str, from: &VirtualPath, to: &VirtualPath) -> Result<UploadId> {
        let slots = &self.owners.get(owner).ok_or(Error::NotFound)?.slots;
        let held = slots.get(from).ok_or(Error::NotFound)?.suspended.as_ref().ok_or(Error::Busy)?;
        if from != to && slots.get(to).is_some_and(|slot| !slot.active.is_empty()) {
            return Err(Error::Busy);
        }
        Ok(held.id.clone())
    }

    /// Moves the suspended upload to another path; one that was suspended there is returned, for removal.
    pub(crate) fn rename(&mut self, owner: &str, from: &VirtualPath, to: &VirtualPath) -> Option<Held> {
        let entry = self.owners.get_mut(owner)?;
        let held = entry.slots.get_mut(from)?.suspended.take()?;
        let replaced = entry.slots.entry(to.clone()).or_default().suspended.replace(held);
        self.leave(owner, from, usize::from(replaced.is_some()));
        replaced
    }

    /// The upload that its owner sees under `path`: the suspended one, which can be resumed, before those under way.
    pub(crate) fn get(&self, owner: &str, path: &VirtualPath) -> Option<Suspended> {
        self.owners.get(owner)?.slots.get(path)?.shown(owner, path)
    }

    /// What the owner sees directly in `directory`, one per name.
    pub(crate) fn within(&self, owner: &str, directory: &VirtualPath) -> Vec<Suspended> {
        let Some(entry) = self.owners.get(owner) else { return Vec::new() };
        let prefix = if directory.is_root() { "/".to_owned() } else { format!("{directory}/") };
        entry
            .slots
            .range(directory.clone()..)
            .skip_while(|(path, _)| path.as_str() < prefix.as_str())
            .take_while(|(path, _)| path.as_str().starts_with(&prefix))
            .filter(|(path, _)| path.as_str().get(prefix.len()..).is_some_and(|name| !name.contains('/')))
            .filter_map(|(path, slot)| slot.shown(owner, path))
            .collect()
    }

    /// Everything, the several uploads of one name each by itself.
    pub(crate) fn all(&self) -> Vec<Suspended> {
        let mut all = Vec::new();
        for (owner, entry) in &self.owners {
            for (path, slot) in &entry.slots {
                all.extend(slot.suspended.iter().map(|held| held.suspended(owner, path)));
                all.extend(slot.active.iter().map(|live| live.suspended()));
            }
        }
        all
    }

    fn slot(&mut self, live: &Live) -> Option<&mut Slot> {
        self.owners.get_mut(&live.owner)?.slots.get_mut(&live.path)
    }

    /// Counts `gone` uploads off and removes what became empty.
    fn leave(&mut self, owner: &str, path: &VirtualPath, gone: usize) {
        let Some(entry) = self.owners.get_mut(owner) else { return };
        entry.count = entry.count.saturating_sub(gone);
        if entry.slots.get(path).is_some_and(|slot| slot.suspended.is_none() && slot.active.is_empty()) {
            entry.slots.remove(path);
        }
        if entry.slots.is_empty() {
            self.owners.remove(owner);
        }
    }
}

impl Slot {
    fn shown(&self, owner: &str, path: &VirtualPath) -> Option<Suspended> {
        match &self.suspended {
            Some(held) => Some(held.suspended(owner, path)),
            None => self.active.iter().max_by_key(|live| live.order).map(|live| live.suspended()),
        }
    }
}

impl Held {
    pub(crate) fn suspended(&self, owner: &str, path: &VirtualPath) -> Suspended {
        Suspended {
            id: self.id.clone(),
            owner: owner.to_owned(),
            path: path.clone(),
            size: self.size,
            modified: self.modified,
            active: false,
        }
    }
}

impl Live {
    /// As shown; the caller fills in when bytes last came, which the disk knows.
    fn suspended(&self) -> Suspended {
        Suspended {
            id: self.id.clone(),
            owner: self.owner.clone(),
            path: self.path.clone(),
            size: self.size(),
            modified: SystemTime::UNIX_EPOCH,
            active: true,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text).unwrap()
    }

    fn begin(index: &mut Index, owner: &str, at: &str) -> Result<Arc<Live>> {
        index.begin(UploadId::fresh(), owner, &path(at))
    }

    #[test]
    fn an_owner_has_a_limit_and_every_end_makes_room() {
        let mut index = Index::default();
        let mut live: Vec<_> =
            (0..MAX_STAGED_PER_OWNER).map(|number| begin(&mut index, "acme", &format!("/{number}")).unwrap()).collect();
        let full = |index: &mut Index| matches!(begin(index, "acme", "/more"), Err(Error::Limit(_)));
        assert!(full(&mut index));
        let other = begin(&mut index, "beta", "/more").unwrap();
        index.end(&other);

        // Each way for an upload to go makes room for one, and suspension for none.
        let now = SystemTime::UNIX_EPOCH;
        let refill = |index: &mut Index, what: &str| {
            let one = begin(index, "acme", "/more").unwrap_or_else(|_| panic!("{what} makes no room"));
            assert!(full(index), "{what} makes too much room");
            index.end(&one);
            let _ = begin(index, "acme", "/filler").unwrap();
        };
        index.end(&live.pop().unwrap());
        refill(&mut index, "an end");
        index.landed(&live.pop().unwrap());
        refill(&mut index, "a landing");
        let suspended = live.pop().unwrap();
        assert!(index.suspend(&suspended, 1, now).is_none());
        assert!(full(&mut index));
        let held = index.take("acme", &suspended.path).unwrap();
        refill(&mut index, "a discard");
        index.end(&live.pop().unwrap());
        index.put_back("acme", &suspended.path, held);
        assert!(full(&mut index));
        let (_, resumed) = index.resume("acme", &suspended.path).unwrap().unwrap();
        assert!(full(&mut index));
        index.suspend(&resumed, 1, now);
        assert_eq!(index.take_stale(now + std::time::Duration::from_secs(1)).len(), 1);
        refill(&mut index, "a sweep");
        let (one, two) = (live.pop().unwrap(), live.pop().unwrap());
        index.suspend(&one, 1, now);
        index.suspend(&two, 1, now);
        index.rename("acme", &one.path, &two.path).unwrap();
        refill(&mut index, "a rename onto another");
    }

    #[test]
    fn what_is_outdated_is_not_kept() {
        let mut index = Index::default();
        let (first, second) = (begin(&mut index, "acme", "/a").unwrap(), begin(&mut index, "acme", "/a").unwrap());
        let now = SystemTime::UNIX_EPOCH;
        assert!(index.suspend(&first, 1, now).is_none());
        assert_eq!(index.outdate("acme", &path("/a")).map(|held| held.id), Some(first.id.clone()));
        assert!(index.outdate("acme", &path("/a")).is_none());
        assert_eq!(index.suspend(&second, 1, now), Some(second.id.clone()));
        assert!(index.owners.is_empty());
    }

    #[test]
    fn nothing_is_left_of_what_has_ended() {
        let mut index = Index::default();
        let (first, second) = (begin(&mut index, "acme", "/a").unwrap(), begin(&mut index, "acme", "/a").unwrap());
        index.suspend(&first, 1, SystemTime::UNIX_EPOCH);
        assert_eq!(index.landed(&second).map(|held| held.id), Some(first.id.clone()));
        assert!(index.owners.is_empty());
    }
}

//! `Watcher`: reads a directory tree over and over, and remembers every content that was ever visible in it.
//! Knows no name that is allowed and none that is not: tests say which contents may have been seen.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::sha256;

/// A content seen under a name: path below the root, length in bytes, SHA-256.
pub type Sight = (PathBuf, u64, String);

/// Watches until it is asked.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<BTreeSet<Sight>>>,
}

impl Watcher {
    /// Begins to watch the tree below `root`; returns once the first round is done.
    #[must_use]
    pub fn start(root: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (root, seen_stop, seen_rounds) = (root.to_owned(), Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            let mut sights = BTreeSet::new();
            let mut known = BTreeSet::new();
            while !seen_stop.load(Ordering::Relaxed) {
                look(&root, Path::new(""), &mut known, &mut sights);
                seen_rounds.fetch_add(1, Ordering::Relaxed);
            }
            // Once more, so that what stands at the end is certainly among what was seen.
            look(&root, Path::new(""), &mut known, &mut sights);
            sights
        });
        let watcher = Self { stop, rounds, thread: Some(thread) };
        watcher.rounds(1);
        watcher
    }

    /// Waits until `count` more rounds were made.
    pub fn rounds(&self, count: u64) {
        let goal = self.rounds.load(Ordering::Relaxed) + count;
        crate::wait_until("the watcher", || (self.rounds.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    /// Ends the watch: everything that was ever seen.
    #[must_use]
    pub fn sights(mut self) -> BTreeSet<Sight> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it was not asked before").join().expect("watching does not panic")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One content at one moment, cheaply: path, inode, length, time of change in nanoseconds.
type Mark = (PathBuf, u64, u64, i64, i64);

/// A file that has not changed since it was last hashed is not hashed again, so that a round stays short.
fn look(root: &Path, below: &Path, known: &mut BTreeSet<Mark>, sights: &mut BTreeSet<Sight>) {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            look(root, &path, known, sights);
        } else if let Ok(mut file) = File::open(root.join(&path)) {
            let Ok(facts) = file.metadata() else { continue };
            if known.insert((path.clone(), facts.ino(), facts.size(), facts.ctime(), facts.ctime_nsec())) {
                let mut bytes = Vec::new();
                if file.read_to_end(&mut bytes).is_ok() {
                    sights.insert((path, bytes.len() as u64, sha256(&bytes)));
                }
            }
        }
    }
}

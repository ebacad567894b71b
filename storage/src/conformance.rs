//! What every [`Store`] must show, whatever stands behind it: called from each one's tests.
//! Knows nothing of a store but the trait.
//!
//! A violated expectation panics with a sentence that says which.

mod names;
mod tree;
mod uploads;

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::{Begin, Replace, Stat, Store, Upload, VirtualPath};

/// A check's name, and the check, which gets an empty store.
type Check = (&'static str, fn(&dyn Store));

/// Runs all checks, each on a new and empty store that `make` makes.
pub fn run_all(make: &mut dyn FnMut() -> Box<dyn Store>) {
    for (name, check) in tree::CHECKS.iter().chain(uploads::CHECKS).chain(names::CHECKS) {
        let store = make();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&*store)));
        if let Err(cause) = outcome {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
            panic!("conformance, {name}: {text}");
        }
    }
}

/// Requires an error of a certain kind.
macro_rules! refused {
    ($result:expr, $kind:pat, $what:expr) => {
        match $result {
            Err($kind) => {}
            Err(other) => panic!("{}: refused for another reason: {other:?}", $what),
            Ok(_) => panic!("{}: not refused", $what),
        }
    };
}
use refused;

/// The value, or a panic that says what could not be done.
#[track_caller]
fn must<T, E: Debug>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:?}"),
    }
}

fn path(text: &str) -> VirtualPath {
    must(VirtualPath::parse(text), text)
}

/// An upload of `data`, complete but not published.
#[track_caller]
fn staged(store: &dyn Store, owner: &str, at: &str, data: &[u8]) -> Box<dyn Upload> {
    let mut upload = must(store.stage(owner, &path(at), Begin::Fresh), "stage");
    must(upload.write_at(0, data), "write");
    upload
}

/// A suspended upload.
#[track_caller]
fn suspended(store: &dyn Store, owner: &str, at: &str, data: &[u8]) {
    drop(staged(store, owner, at, data));
}

#[track_caller]
fn publish(upload: &mut dyn Upload, at: &str, replace: Replace) -> crate::Result<Stat> {
    upload.publish(&path(at), replace, &mut |_| Ok(()))
}

/// A landed file.
#[track_caller]
fn land(store: &dyn Store, at: &str, data: &[u8]) -> Stat {
    let mut upload = staged(store, "lander", at, data);
    must(publish(&mut *upload, at, Replace::Yes), "publish")
}

/// All bytes of a landed file.
#[track_caller]
fn read(store: &dyn Store, at: &str) -> Vec<u8> {
    let file = must(store.open(&path(at)), "open");
    let mut data = vec![0; must(usize::try_from(file.size()), "size")];
    let mut filled = 0;
    while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match must(file.read_at(filled as u64, rest), "read") {
            0 => panic!("{at} ends before its size"),
            count => filled += count,
        }
    }
    data
}

/// The names in a directory.
#[track_caller]
fn names(store: &dyn Store, at: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in must(store.list(&path(at)), "list") {
        let name = must(entry, "entry").name;
        assert!(all.insert(name.clone()), "{name:?} is listed twice");
    }
    let mut bare: Vec<_> = must(store.names(&path(at)), "names").map(|name| must(name, "name")).collect();
    bare.sort_unstable();
    assert!(all.iter().eq(&bare), "names with facts and without differ: {all:?}, {bare:?}");
    all
}

/// What is staged for an owner and a name: bytes held, and whether it is under way.
fn held(store: &dyn Store, owner: &str, at: &str) -> Option<(u64, bool)> {
    store.staged(owner, &path(at)).map(|upload| (upload.size, upload.active))
}

/// True if nothing stands at `at`.
fn is_free(store: &dyn Store, at: &str) -> bool {
    matches!(store.stat(&path(at)), Err(crate::Error::NotFound))
}

//! What the requests about one handle and their replies say about contents: a slow and simple model of an upload. Knows
//! no engine and no script.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::requester::{Line, Request};
use super::wire::{self, Says};
use super::world::{MAX_FILE_BYTES, SEED};
use crate::sha256;

/// What is said to a request about a handle that is not open, or not for that.
const BAD_HANDLE: &str = "that handle is not open for this request";
/// Offsets from here on are no file's.
const MAX_OFFSET: u64 = (i64::MAX as u64) >> 8;
/// Longest payload of a reply to READ, in bytes.
const MAX_DATA_BYTES: u64 = 255 * 1024;
/// Rounds in which uploads that began with what others left are worked out.
const ROUNDS: usize = 4;
/// Contents that are kept at most, in bytes: a script with many WRITEs that nobody answered may have left more than can be
/// worked out.
const MAX_KEPT_BYTES: usize = 64 << 20;

type Content = Rc<Vec<u8>>;

/// What may have become of all uploads of a script.
#[derive(Default)]
pub(super) struct Contents {
    /// What a name may hold.
    pub(super) publishable: Vec<Content>,
    /// What was ever staged: an upload may go on with it.
    staged: Vec<Content>,
    digests: HashSet<String>,
    seen: HashSet<(bool, String)>,
    kept_bytes: usize,
}

impl Contents {
    fn add(&mut self, publishable: bool, content: Content) {
        let digest = sha256(&content);
        if !self.seen.insert((publishable, digest.clone())) {
            return;
        }
        self.kept_bytes += content.len();
        if publishable {
            self.digests.insert(digest);
            self.publishable.push(content);
        } else {
            self.staged.push(content);
        }
    }

    fn are_too_many(&self) -> bool {
        self.kept_bytes > MAX_KEPT_BYTES
    }

    /// Is it of something that a name may hold?
    pub(super) fn knows(&self, sha256: &str) -> bool {
        self.digests.contains(sha256)
    }
}

/// One handle.
struct Handle<'a> {
    name: &'a [u8],
    /// Requests that may have opened it.
    opened_by: Vec<&'a Request>,
    /// Requests about it, in order, but for those that were refused because it was not open.
    held: Vec<&'a Request>,
}

impl Handle<'_> {
    fn receives(open: &Request) -> bool {
        open.asked.kind == wire::OPEN && open.asked.number(1) & 6 != 0
    }

    fn fresh(open: &Request) -> bool {
        let flags = open.asked.number(1);
        flags & 0x10 != 0 || flags & 0x28 == 0x28
    }
}

/// Works out all of them, unless they are too many; panics when no history explains the replies.
pub(super) fn contents(lines: &[Line]) -> Option<Contents> {
    let mut contents = Contents::default();
    contents.add(true, Rc::new(Vec::new()));
    contents.add(true, Rc::new(SEED.to_vec()));
    let handles: Vec<Handle<'_>> = lines.iter().flat_map(|line| handles(line).into_iter()).collect();
    let roomy = roomy(lines);
    // First those that begin with nothing; the others may begin with what those left.
    for round in 0..=ROUNDS {
        for handle in &handles {
            let opens = || handle.opened_by.iter().filter(|open| Handle::receives(open));
            let (fresh, later) = (opens().any(|open| Handle::fresh(open)), opens().any(|open| !Handle::fresh(open)));
            let mut explained = opens().next().is_none() || handle.opened_by.iter().any(|open| !Handle::receives(open));
            if fresh {
                explained |= explain(handle, &Rc::new(Vec::new()), false, roomy, &mut contents);
            }
            if later && round > 0 {
                let known: Vec<Content> = contents.staged.iter().chain(&contents.publishable).cloned().collect();
                let append = opens().all(|open| open.asked.number(1) & 4 != 0);
                for initial in known {
                    if contents.are_too_many() {
                        return None;
                    }
                    explained |= explain(handle, &initial, append, roomy, &mut contents);
                }
            }
            if round == ROUNDS || (round == 0 && !later) {
                assert!(explained, "no history explains the replies on {:?}", handle.name);
            }
        }
    }
    for handle in &handles {
        downloads(handle, &contents);
    }
    Some(contents)
}

/// True when no limit of the user's can be a reason for a refused WRITE.
fn roomy(lines: &[Line]) -> bool {
    let requests = lines.iter().flat_map(|line| &line.requests);
    let bytes: u64 = requests
        .map(|request| match request.asked.kind {
            wire::WRITE => request.asked.text(2).len() as u64,
            wire::OPEN if !Handle::fresh(request) => MAX_FILE_BYTES,
            _ => 0,
        })
        .sum();
    bytes + 1_000 < MAX_FILE_BYTES
}

fn handles(line: &Line) -> Vec<Handle<'_>> {
    let mut found: BTreeMap<&[u8], Handle<'_>> = BTreeMap::new();
    for request in &line.requests {
        let asked = &request.asked;
        let name = match asked.kind {
            wire::CLOSE | wire::READ | wire::WRITE | wire::FSTAT | wire::FSETSTAT | wire::READDIR => asked.text(0),
            _ => continue,
        };
        let refused = matches!(&request.reply, Some(Says::Status(_, sentence)) if sentence == BAD_HANDLE);
        let handle = found.entry(name).or_insert_with(|| Handle { name, opened_by: Vec::new(), held: Vec::new() });
        if !refused {
            handle.held.push(request);
        }
    }
    for (name, handle) in &mut found {
        let opens = || line.requests.iter().filter(|request| matches!(request.asked.kind, wire::OPEN | wire::OPENDIR));
        handle.opened_by = opens().filter(|open| open.reply.as_ref() == Some(&Says::Handle(name.to_vec()))).collect();
        if handle.opened_by.is_empty() {
            // Told to nobody, perhaps: the channel was cut.
            handle.opened_by = opens().filter(|open| open.reply.is_none()).collect();
            let answered = handle.held.iter().any(|request| request.reply.is_some());
            assert!(!answered || !handle.opened_by.is_empty(), "{name:?} was answered for, and never opened");
        }
    }
    found.into_values().collect()
}

/// True when the requests from some point on explain the replies: those before it may have come before the handle was
/// open, without an answer that says so.
fn explain(handle: &Handle<'_>, initial: &Content, append: bool, roomy: bool, contents: &mut Contents) -> bool {
    let first_answered = handle.held.iter().position(|request| request.reply.is_some());
    let last = first_answered.unwrap_or(handle.held.len());
    let mut explained = false;
    for skipped in 0..=last {
        let mut history = History {
            content: initial.to_vec(),
            early: BTreeMap::new(),
            arrivals: 0,
            broken: false,
            roomy,
            append: append || handle.opened_by.iter().all(|open| open.asked.number(1) & 4 != 0),
            states: Vec::new(),
            closed: None,
        };
        if handle.held[skipped..].iter().all(|request| history.go_on(request)) {
            explained = true;
            for state in history.states {
                contents.add(false, state);
            }
            if let Some(closed) = history.closed {
                contents.add(true, closed);
            }
        }
    }
    explained
}

/// One upload, request by request.
struct History {
    content: Vec<u8>,
    /// By offset and arrival: payload, and whether it was answered with a refusal.
    early: BTreeMap<(u64, u64), (Vec<u8>, bool)>,
    arrivals: u64,
    broken: bool,
    roomy: bool,
    append: bool,
    states: Vec<Content>,
    /// What may have been published.
    closed: Option<Content>,
}

impl History {
    /// Does a request; false when its reply cannot be.
    fn go_on(&mut self, request: &Request) -> bool {
        if self.closed.is_some() {
            return request.reply.is_none();
        }
        let (asked, reply) = (&request.asked, request.reply.as_ref());
        let refused = matches!(reply, Some(Says::Status(code, _)) if *code > 1);
        let done = matches!(reply, Some(Says::Status(0, _)));
        let end = self.content.len() as u64;
        let possible = match asked.kind {
            wire::WRITE => self.write(asked.number(1), asked.text(2), done, refused),
            wire::CLOSE => {
                let whole = !self.broken && self.early.is_empty();
                if whole && !refused {
                    self.closed = Some(Rc::new(self.content.clone()));
                }
                // Not to be told from one that was refused: nothing comes behind it.
                whole || !done
            }
            wire::FSETSTAT if !self.broken => {
                let fits = asked.size().is_none_or(|size| size <= end);
                if let Some(size) = asked.size().filter(|_| fits && !refused) {
                    self.content.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                }
                fits || !done
            }
            wire::READ if !self.broken => match reply {
                Some(Says::Data(data)) => reads(&self.content, asked.number(1), asked.number(2), data),
                Some(Says::Status(1, _)) => asked.number(1) >= end || asked.number(2) == 0,
                _ => true,
            },
            wire::FSTAT if !self.broken => !matches!(reply, Some(Says::Facts(size)) if *size != end),
            _ => true,
        };
        self.states.push(Rc::new(self.content.clone()));
        possible
    }

    fn write(&mut self, offset: u64, data: &[u8], done: bool, refused: bool) -> bool {
        if self.broken {
            return !done;
        }
        let end = self.content.len() as u64;
        let offset = if self.append { end } else { offset };
        if offset.saturating_add(data.len() as u64) > MAX_OFFSET {
            self.broken = true;
            return !done;
        }
        if offset > end {
            self.arrivals += 1;
            self.early.insert((offset, self.arrivals), (data.to_vec(), refused));
            return true;
        }
        if refused {
            self.broken = true;
            // Not without a reason: too much, or another one that was given up.
            return !self.roomy || self.early.values().any(|(_, refused)| *refused);
        }
        self.put(offset, data);
        while let Some(first) = self.early.first_entry() {
            if first.key().0 > self.content.len() as u64 {
                break;
            }
            let ((offset, _), (data, refused)) = first.remove_entry();
            if refused {
                self.broken = true;
                break;
            }
            self.put(offset, &data);
        }
        true
    }

    fn put(&mut self, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).expect("not beyond the end");
        let end = at + data.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        self.content[at..end].copy_from_slice(data);
    }
}

/// Is that what READ gives? Never short but at the end: some clients take that for the end.
fn reads(content: &[u8], offset: u64, wanted: u64, data: &[u8]) -> bool {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    let to = from.saturating_add(usize::try_from(wanted.min(MAX_DATA_BYTES)).unwrap_or(usize::MAX)).min(content.len());
    content[from..to] == *data
}

/// All that a download gave is of one file that has landed.
fn downloads(handle: &Handle<'_>, contents: &Contents) {
    if handle.opened_by.iter().any(|open| Handle::receives(open)) {
        return;
    }
    let fits = |content: &Content| {
        handle.held.iter().all(|request| match (request.asked.kind, &request.reply) {
            (wire::READ, Some(Says::Data(data))) => {
                reads(content, request.asked.number(1), request.asked.number(2), data)
            }
            (wire::READ, Some(Says::Status(1, _))) => {
                request.asked.number(1) >= content.len() as u64 || request.asked.number(2) == 0
            }
            (wire::FSTAT, Some(Says::Facts(size))) => {
                *size == content.len() as u64 || handle.opened_by.iter().any(|open| open.asked.kind == wire::OPENDIR)
            }
            _ => true,
        })
    };
    assert!(contents.publishable.iter().any(fits), "{:?} gave what never landed", handle.name);
}

//! How an upload begins: fresh, as a new file, going on with what is suspended, behind what has landed, or with a part of
//! it alone.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use landfall_storage::{Begin, Error, Kind, Replace, VirtualPath};
use tokio::time::{Instant, sleep};

use super::copies::COPY_BYTES;
use super::policy::{self, Placement, Verb};
use super::refusal::{Reason, Refusal};
use super::session::{Download, Session, Shared, Step, note_refusal};
use super::upload::{Receipt, Upload};

/// How long going on with an upload waits for the session that has it. A client that was cut off may be back before its
/// old connection's end is noticed.
const LET_GO_WAIT: Duration = Duration::from_millis(if cfg!(fuzzing) { 20 } else { 1_000 });
/// And how often it looks.
const LET_GO_STEP: Duration = Duration::from_millis(10);

impl Session {
    /// Begins or goes on with an upload. `expected_bytes` is the size of the whole file announced beforehand (FTP's
    /// ALLO), if any.
    pub async fn upload(
        &self,
        path: &VirtualPath,
        begin: Begin,
        expected_bytes: Option<u64>,
    ) -> Result<Upload, Refusal> {
        self.upload_by_steps(path, begin, expected_bytes, &go_on()).await
    }

    /// Begins an upload that makes a new file: refused where one of that name has landed, or is on its way or suspended
    /// for this user; and again at its landing, should one have landed meanwhile.
    pub async fn upload_new(&self, path: &VirtualPath) -> Result<Upload, Refusal> {
        let (store_path, path) = (self.shared().place(path)?, path.clone());
        self.short(move |shared| {
            shared.may(&path, Verb::Write)?;
            if shared.staged(&store_path).is_some() || shared.delivery.store.stat(&store_path).is_ok() {
                return Err(Refusal::new(Reason::AlreadyExists, "a file of that name exists already"));
            }
            let mut upload = begin_upload(shared, &path, store_path, Begin::Fresh, None, &go_on())
                .map_err(|refusal| note_refusal(shared, &path, refusal))?;
            upload.land_only_as_new();
            Ok(upload)
        })
        .await
    }

    /// The same as [`Session::upload`]. An append to a landed file begins with a copy of it: `step` is told how many more
    /// bytes are copied, slice by slice, and ends it by saying false; nothing is kept then.
    pub async fn upload_by_steps(
        &self,
        path: &VirtualPath,
        begin: Begin,
        expected_bytes: Option<u64>,
        step: &Step,
    ) -> Result<Upload, Refusal> {
        let store_path = self.shared().place(path)?;
        let until = Instant::now() + LET_GO_WAIT;
        let mut alone = None;
        loop {
            let (store_path, path, step_on) = (store_path.clone(), path.clone(), Arc::clone(step));
            let may_wait = begin != Begin::Fresh && Instant::now() < until;
            let (has_turn, held) = (alone.is_some(), alone.take());
            let attempt = move |shared: &Arc<Shared>| {
                // Goes with the thread: a copy that nobody waits for any more still takes its place.
                let _alone = held;
                if begin == Begin::Append && !has_turn && copies_much(shared, &store_path) {
                    return Ok(Attempt::NeedsTurn);
                }
                let outcome = begin_upload(shared, &path, store_path, begin, expected_bytes, &step_on);
                Ok(match outcome {
                    Err(refusal) if may_wait && refusal.reason == Reason::Busy => Attempt::Busy,
                    outcome => {
                        Attempt::Begun(Box::new(outcome.map_err(|refusal| note_refusal(shared, &path, refusal))?))
                    }
                })
            };
            // What goes on with something may have much to copy first.
            let attempt = if begin == Begin::Fresh { self.short(attempt).await } else { self.blocking(attempt).await };
            match attempt? {
                Attempt::Begun(upload) => return Ok(*upload),
                Attempt::NeedsTurn => alone = Some(self.copying_alone(step).await?),
                Attempt::Busy => sleep(LET_GO_STEP).await,
            }
        }
    }

    /// Cuts a landed file to its first `size` bytes: a copy of those lands in its place, or nothing does. `step` as above.
    pub async fn cut(&self, path: &VirtualPath, size: u64, step: &Step) -> Result<Receipt, Refusal> {
        let store_path = self.shared().place(path)?;
        let (path, step_on) = (path.clone(), Arc::clone(step));
        let begun = self.blocking(move |shared| {
            begin_cut(shared, &path, store_path, &step_on).map_err(|refusal| note_refusal(shared, &path, refusal))
        });
        let (upload, landed) = begun.await?;
        let (upload, copied) = self.copy(upload, 0, landed, 0..size, step).await;
        self.blocking(move |_| {
            // Whatever becomes of it, it is done here: to give up a large one takes long.
            let (Some(upload), copied) = (upload, copied?) else { return Err(Refusal::internal("a copy was lost")) };
            if copied < size {
                let sentence = format!("the file has {copied} bytes; one that has landed is only made shorter");
                return Err(Refusal::new(Reason::BadOffset, sentence));
            }
            upload.finish()
        })
        .await
    }
}

/// For what is not watched.
fn go_on() -> Step {
    Arc::new(|_| true)
}

/// What came of trying to begin.
enum Attempt {
    Begun(Box<Upload>),
    /// Another session has it, and may let go of it.
    Busy,
    /// It begins with a large copy.
    NeedsTurn,
}

/// Does an append to that name begin with more than a slice's copy?
fn copies_much(shared: &Shared, store_path: &VirtualPath) -> bool {
    let landed = shared.delivery.store.stat(store_path);
    landed.is_ok_and(|landed| landed.size > COPY_BYTES) && shared.staged(store_path).is_none()
}

fn begin_cut(
    shared: &Arc<Shared>,
    path: &VirtualPath,
    store_path: VirtualPath,
    step: &Step,
) -> Result<(Upload, Download), Refusal> {
    // A temporary name is the client's own.
    if !shared.is_temporary(path) {
        policy::cut(&shared.user.effective, path)?;
    }
    let store = &shared.delivery.store;
    if store.stat(&store_path)?.kind != Kind::File {
        return Err(Refusal::new(Reason::WrongKind, "only files have a size that can be set"));
    }
    let landed = Download { file: store.open(&store_path)?.into() };
    let mut upload = begin_upload(shared, path, store_path, Begin::Fresh, None, step)?;
    upload.land_only_over(landed.file().stat().inode);
    upload.set_mode(landed.file().stat().mode);
    Ok((upload, landed))
}

fn begin_upload(
    shared: &Arc<Shared>,
    path: &VirtualPath,
    store_path: VirtualPath,
    begin: Begin,
    expected_bytes: Option<u64>,
    step: &Step,
) -> Result<Upload, Refusal> {
    let store = &shared.delivery.store;
    let grant = &shared.user.effective;
    if store_path == shared.home {
        return Err(Refusal::new(Reason::WrongKind, "a directory has that name"));
    }
    let landed = match store.stat(&store_path) {
        Ok(stat) => Some(stat),
        Err(Error::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let standing = landed.as_ref().map(|stat| stat.kind);
    let temporary = shared.is_temporary(path);
    let placement = policy::begin(grant, path, temporary, standing, expected_bytes)?;
    // Who has no place today hears it before the bytes, not after them.
    drop(shared.place_today()?);
    let replaces = landed
        .as_ref()
        .filter(|stat| stat.kind == Kind::File && (temporary || placement == Placement::Exact(Replace::Yes)))
        .map(|stat| stat.size);
    // Who is about to suspend an upload of that name is through with it, row and room and all: or else it would be given up
    // here without either.
    let settled = shared.delivery.suspending.lock().unwrap_or_else(PoisonError::into_inner);
    let suspended = shared.staged(&store_path).filter(|staged| !staged.active);
    // A copy of what landed takes too long for others to wait for it.
    let settled = (begin != Begin::Append || suspended.is_some() || landed.is_none()).then_some(settled);
    if let (Some(account), Some(landed), None, Begin::Append) = (&shared.account, &landed, &suspended, begin) {
        // It begins with a copy of what landed: there has to be room for that before it is made.
        account.fits(landed.size, replaces)?;
    }
    let staged = match begin {
        Begin::Append => store.append(&shared.user.name, &store_path, &mut |bytes| step(bytes))?,
        Begin::Fresh | Begin::Resume { .. } => store.stage(&shared.user.name, &store_path, begin)?,
    };
    // Built before its room is asked for, so that a refusal takes the path of every other one.
    let resumed = suspended.as_ref().is_some_and(|suspended| suspended.id == *staged.id());
    if let Some(old) = suspended.filter(|_| !resumed) {
        shared.forget(&old);
    }
    drop(settled);
    if let Some(account) = &shared.account
        && let Err(refusal) = account.enter(&**store, staged.id().as_str(), staged.size(), resumed, replaces)
    {
        // What was suspended stays so, with its row.
        if !resumed {
            staged.discard()?;
        }
        return Err(refusal);
    }
    let account = shared.account.clone();
    Ok(Upload::new(staged, shared.clone(), path.clone(), store_path, expected_bytes, account))
}

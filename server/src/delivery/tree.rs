//! Removing a directory with all that is in it. Knows no verb and no reply.

use landfall_storage::{Error, Gone, Kind, VirtualPath};

use super::policy::{self, Verb};
use super::refusal::{Reason, Refusal};
use super::session::{Session, Shared};

/// Names that one command may remove: it ends some time, and its client may ask again.
const MAX_TREE_NAMES: u64 = 100_000;

/// What is left of a directory that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// What could not be removed, or what no path can name.
    Something,
    /// What one command may not remove any more.
    BeyondLimit,
    /// What had not been removed when it was told to stop.
    Stopped,
}

/// What a removal has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleared {
    /// Files removed, and links, never what they lead to.
    pub files: u64,
    /// Directories removed.
    pub directories: u64,
    /// What is left.
    pub left: Left,
}

impl Session {
    /// Removes a directory and all that is in it, as far as it can be done; the owner's suspended uploads for names in it
    /// go with it. `go_on` is asked after each name. While somebody's upload into it is under way it is refused: that
    /// upload could not land any more.
    ///
    /// # Errors
    /// A refusal when nothing was removed.
    pub async fn remove_tree(
        &self,
        path: &VirtualPath,
        mut go_on: impl FnMut() -> bool + Send + 'static,
    ) -> Result<Cleared, Refusal> {
        policy::verb_below(&self.shared().user.effective, path, Verb::Delete)?;
        let store_path = self.shared().place(path)?;
        let path = path.clone();
        self.blocking(move |shared| {
            if store_path == shared.home {
                return Err(Refusal::new(Reason::Permission, "the top directory cannot be removed"));
            }
            let store = &shared.delivery.store;
            if store.all_staged().iter().any(|staged| staged.active && staged.path.is_within(&store_path)) {
                let sentence = "an upload into that directory is under way; end it first, then remove the directory";
                return Err(Refusal::new(Reason::Busy, sentence));
            }
            let mut cleared = Cleared { files: 0, directories: 0, left: Left::Something };
            let all = store.remove_tree(&store_path, &mut |gone| {
                count(shared, &mut cleared, gone);
                cleared.left = left_after(cleared.files + cleared.directories, go_on());
                cleared.left == Left::Something
            })?;
            if all {
                cleared.directories += 1;
                cleared.left = Left::Nothing;
                give_up_suspended(shared, &store_path)?;
            }
            let Cleared { files, directories, .. } = cleared;
            tracing::info!(user = shared.user.name, %path, files, directories, all, "removed with all in it");
            Ok(cleared)
        })
        .await
    }
}

/// What will be left if the removal ends now, after so many names; it goes on while that is just something.
fn left_after(names: u64, go_on: bool) -> Left {
    match (go_on, names < MAX_TREE_NAMES) {
        (false, _) => Left::Stopped,
        (true, false) => Left::BeyondLimit,
        (true, true) => Left::Something,
    }
}

fn count(shared: &Shared, cleared: &mut Cleared, gone: Gone) {
    if gone.kind == Kind::Directory {
        cleared.directories += 1;
        return;
    }
    cleared.files += 1;
    if gone.kind == Kind::File
        && let Some(account) = &shared.account
    {
        account.removed(gone.size);
    }
}

/// Without its directory a suspended upload could not land: as with the removal of a single file, it goes.
fn give_up_suspended(shared: &Shared, directory: &VirtualPath) -> Result<(), Refusal> {
    let store = &shared.delivery.store;
    let own = store.all_staged().into_iter().filter(|staged| staged.owner == shared.user.name && !staged.active);
    for staged in own.filter(|staged| staged.path.is_within(directory)) {
        match store.discard_staged(&staged.owner, &staged.path) {
            Ok(()) => {}
            // Resumed or gone since we looked.
            Err(Error::NotFound | Error::Busy) => continue,
            Err(error) => return Err(error.into()),
        }
        shared.given_up(&staged);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_removes_so_many_names_and_no_more() {
        assert_eq!(left_after(MAX_TREE_NAMES - 1, true), Left::Something);
        assert_eq!(left_after(MAX_TREE_NAMES, true), Left::BeyondLimit);
        assert_eq!(left_after(1, false), Left::Stopped);
        assert_eq!(left_after(MAX_TREE_NAMES, false), Left::Stopped);
    }
}

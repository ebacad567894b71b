//! Commands that take their time and need no data connection: HASH and its like, RMDA. While they run, the control
//! connection is listened to as during a transfer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::attend::Overheard;
use super::course::{Course, StopOnDrop};
use super::outcome::Outcome;
use super::reply::Reply;
use super::session::{End, Session};

impl Session {
    /// Runs `begin`'s future to its end on a task of its own and tells its reply. It must end soon once its course is
    /// cancelled. `progress` is what STAT says behind the count; where it is empty, STAT waits.
    pub(super) async fn work<F>(
        &mut self,
        doing: &str,
        progress: &'static str,
        begin: impl FnOnce(Arc<Course>) -> F,
    ) -> Result<(), End>
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let mut heard = Overheard::unanswered(progress);
        let (reply, _) = self.attended(doing, &mut heard, begin).await?;
        if let Some(files) = &self.files {
            files.doing("idle");
        }
        self.conclude(reply.map(Outcome::Answered), heard).await
    }

    /// The same without telling anything of its end: what came of it, and whether it was stopped.
    pub(super) async fn attended<F>(
        &mut self,
        doing: &str,
        heard: &mut Overheard,
        begin: impl FnOnce(Arc<Course>) -> F,
    ) -> Result<(Option<F::Output>, bool), End>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let Some(files) = self.files.clone() else { return Ok((None, true)) };
        files.doing(doing);
        let course = Arc::new(Course::new(doing.to_owned(), None));
        let _stop = StopOnDrop(course.clone());
        let (done, outcome) = oneshot::channel();
        let work = begin(course.clone());
        tokio::spawn(async move { done.send(work.await).ok() });
        let outcome = self.attend(&course, outcome, None, heard, &files).await?;
        Ok((outcome, course.is_cancelled()))
    }
}

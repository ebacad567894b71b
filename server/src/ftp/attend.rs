//! While a command takes its time (a transfer, a digest), the control connection is heard all the while: ABOR and its end
//! stop what runs; NOOP, STAT and QUIT are obeyed where a 150 came before; other commands wait in their order. Moves no
//! payload.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::command::{Command, Verb};
use super::control::Pending;
use super::course::Course;
use super::outcome::{Outcome, reply_of};
use super::reply::Reply;
use super::session::{End, Session};
use super::upload::Question;
use crate::delivery;

/// How long one command that has arrived may take to be read, before a landing is decided without it.
const SETTLE_WAIT: Duration = Duration::from_millis(100);
/// And how many reads that may take.
const MAX_SETTLE_READS: u32 = 16;
/// While as many commands wait as are kept, nothing is read: the kernel is asked this often whether somebody is there.
const DEAF_CHECK_EVERY: Duration = Duration::from_millis(500);

/// What a client waits for while something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Awaited {
    /// The last reply: the first one was sent.
    #[default]
    End,
    /// The only one: but for STAT's and ABOR's, none may come before it.
    Answer,
    /// The first: nothing has begun yet that QUIT would leave to its end.
    Opening,
}

/// ABOR came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Abort {
    /// And stopped it.
    InTime,
    /// After the end was decided.
    Late,
}

/// What the control connection said while something ran.
#[derive(Default)]
pub(super) struct Overheard {
    /// What STAT says behind the count; empty where it has to wait for its turn.
    progress: &'static str,
    awaited: Awaited,
    aborted: Option<Abort>,
    /// How often: each gets its reply.
    aborts: u32,
    quit: bool,
    end: Option<End>,
}

impl Overheard {
    /// For a transfer, whose first reply was sent.
    pub(super) fn answered(progress: &'static str) -> Self {
        Self { progress, ..Self::default() }
    }

    /// For what has one reply, at its end.
    pub(super) fn unanswered(progress: &'static str) -> Self {
        Self { progress, awaited: Awaited::Answer, ..Self::default() }
    }

    /// For what comes before the first reply of a transfer.
    pub(super) fn before(progress: &'static str) -> Self {
        Self { progress, awaited: Awaited::Opening, ..Self::default() }
    }
}

impl Session {
    /// Waits for the outcome of what runs elsewhere, and answers what may be said meanwhile. No outcome: it died.
    pub(super) async fn attend<T>(
        &mut self,
        course: &Course,
        mut outcome: oneshot::Receiver<T>,
        mut question: Option<oneshot::Receiver<Question>>,
        heard: &mut Overheard,
        files: &delivery::Session,
    ) -> Result<Option<T>, End> {
        let lifecycle = self.engine.lifecycle.clone();
        // Commands may have come right behind the one that began this.
        self.overhear(course, heard).await?;
        loop {
            let asked = async {
                match &mut question {
                    Some(question) => question.await.ok(),
                    None => std::future::pending().await,
                }
            };
            let there = heard.end.is_none();
            let room = self.control.lines.room() > 0;
            tokio::select! {
                biased;
                outcome = &mut outcome => return Ok(outcome.ok()),
                answer = asked => {
                    question = None;
                    if let Some(answer) = answer {
                        self.settle(course, heard).await?;
                        // Nobody listens any more: then it is stopped already.
                        answer.send(heard.end.is_none() && !course.is_cancelled()).ok();
                    }
                }
                filled = self.control.fill(), if there && room => match filled {
                    Ok(1..) => self.overhear(course, heard).await?,
                    Ok(0) | Err(_) => stop(course, heard, End::Lost),
                },
                () = sleep(DEAF_CHECK_EVERY), if there && !room => {
                    if self.control.pending() == Pending::End {
                        stop(course, heard, End::Lost);
                    }
                }
                () = files.ended().cancelled(), if there => stop(course, heard, End::Ended),
                () = lifecycle.cut(), if there => stop(course, heard, End::Draining),
            }
        }
    }

    /// Says how it went, and then answers the ABOR or QUIT that came meanwhile.
    pub(super) async fn conclude(&mut self, outcome: Option<Outcome>, heard: Overheard) -> Result<(), End> {
        if heard.end == Some(End::Lost) {
            return Err(End::Lost);
        }
        let failed = || Reply::new(451, "The server failed inside; try again later");
        self.say(&outcome.map_or_else(failed, reply_of)).await?;
        if let Some(end) = heard.end {
            return Err(end);
        }
        // RFC 959 section 4.1.3: one reply for what was stopped, and one for the ABOR.
        let stopped = match heard.aborted {
            Some(Abort::Late) => "It had ended before it could be stopped",
            Some(Abort::InTime) | None => "Stopped",
        };
        for _ in 0..heard.aborts {
            self.say(&Reply::new(226, stopped)).await?;
        }
        if heard.quit { Err(End::Quit) } else { Ok(()) }
    }

    /// Obeys NOOP, STAT, ABOR, QUIT. Other commands wait in their order; ABOR overtakes them.
    async fn overhear(&mut self, course: &Course, heard: &mut Overheard) -> Result<(), End> {
        while let Some(verb) = self.control.lines.peek().and_then(may_interrupt) {
            if heard.awaited != Awaited::End && (verb == Verb::Noop || heard.progress.is_empty()) {
                break;
            }
            self.control.lines.take().ok();
            match verb {
                Verb::Noop => self.say(&Reply::new(200, "Here, and the transfer runs")).await?,
                Verb::Stat => {
                    let progress = course.progress(heard.progress);
                    let first = match heard.awaited {
                        Awaited::End => "A transfer runs:",
                        Awaited::Answer | Awaited::Opening => "The command before runs:",
                    };
                    self.say(&Reply::lines(211, first, progress, "End")).await?;
                }
                Verb::Quit => {
                    heard.quit = true;
                    if heard.awaited == Awaited::Opening {
                        course.cancel();
                    }
                }
                _ => abort(course, heard),
            }
        }
        if self.control.lines.take_abor() {
            abort(course, heard);
        }
        Ok(())
    }

    /// Hears all that has arrived before the end of the data: an ABOR, or the end of the control connection. Two
    /// connections keep no order between them, so the kernel is asked, not the runtime, which may learn of it later.
    async fn settle(&mut self, course: &Course, heard: &mut Overheard) -> Result<(), End> {
        for _ in 0..MAX_SETTLE_READS {
            match self.control.pending() {
                Pending::Nothing => break,
                Pending::End => {
                    stop(course, heard, End::Lost);
                    break;
                }
                Pending::Bytes if self.control.lines.room() == 0 => break,
                Pending::Bytes => match timeout(SETTLE_WAIT, self.control.fill()).await {
                    Ok(Ok(1..)) => self.overhear(course, heard).await?,
                    Ok(Ok(0) | Err(_)) => {
                        stop(course, heard, End::Lost);
                        break;
                    }
                    // Part of a TLS record: no command has arrived.
                    Err(_) => {}
                },
            }
        }
        Ok(())
    }
}

fn stop(course: &Course, heard: &mut Overheard, end: End) {
    course.cancel();
    heard.end = Some(end);
}

fn abort(course: &Course, heard: &mut Overheard) {
    heard.aborted = Some(if course.cancel() { Abort::InTime } else { Abort::Late });
    heard.aborts += 1;
}

/// The verbs that are obeyed while something runs.
fn may_interrupt(line: &[u8]) -> Option<Verb> {
    let command = Command::parse(line).ok()?;
    match command.spec.verb {
        Verb::Stat if !command.argument.is_empty() => None,
        verb @ (Verb::Noop | Verb::Stat | Verb::Abor | Verb::Quit) => Some(verb),
        _ => None,
    }
}

//! Telling an event by starting a program: no shell, an environment of its own, JSON on stdin, exit code 0 acknowledges.
//! After the time-out it is killed with all that it started. Knows no queue.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::failure::Failure;

/// Kept of what a program writes, for each of stdout and stderr, in bytes; the rest is read and forgotten.
const MAX_OUTPUT_BYTES: u64 = 16 * 1_024;
/// Lines of it in the log.
const MAX_OUTPUT_LINES: usize = 100;
/// How long its output may stay open after its end, by something that it left running.
const OUTPUT_AFTER_END: Duration = Duration::from_millis(500);

/// A program and its arguments.
pub(super) struct Exec {
    program: String,
    arguments: Vec<String>,
    search_path: Option<OsString>,
}

/// Kills what a program started, itself included, unless it has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // Gone already: nothing left to do.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Exec {
    pub(super) fn new(command: &[String]) -> Self {
        let (program, arguments) = command
            .split_first()
            .map_or_else(Default::default, |(program, arguments)| (program.clone(), arguments.to_vec()));
        Self { program, arguments, search_path: crate::config::search_path() }
    }

    /// One attempt, which ends by itself: dropping the future kills the program.
    pub(super) async fn tell(
        &self,
        sink: &str,
        id: &str,
        kind: &str,
        body: &Bytes,
        most: Duration,
    ) -> Result<String, Failure> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().current_dir("/").process_group(0).kill_on_drop(true);
        command.env("LANDFALL_EVENT_ID", id).env("LANDFALL_EVENT_TYPE", kind);
        if let Some(path) = &self.search_path {
            command.env("PATH", path);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| Failure::Start { program: self.program.clone(), detail: error.to_string() })?;
        let mut group = Group::of(&child);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let body = body.clone();
        // Beside its reading of stdin: a program may write before it reads.
        let feed = tokio::spawn(async move {
            if let Some(mut stdin) = stdin {
                // A program is free not to read it all.
                drop(stdin.write_all(&body).await);
            }
        });
        let outputs = [tokio::spawn(collect(stdout)), tokio::spawn(collect(stderr))];
        let ended = timeout(most, child.wait()).await;
        if ended.is_ok() {
            // Its number may belong to somebody else from now on.
            group.0 = None;
        } else {
            group.kill();
            // Or else it would stay a zombie.
            drop(child.wait().await);
        }
        feed.abort();
        for (name, output) in ["stdout", "stderr"].into_iter().zip(outputs) {
            let aborter = output.abort_handle();
            match timeout(OUTPUT_AFTER_END, output).await {
                Ok(output) => log(sink, id, name, &output.unwrap_or_default()),
                Err(_) => aborter.abort(),
            }
        }
        match ended {
            Err(_) => Err(Failure::Killed { program: self.program.clone(), after: most }),
            Ok(Err(error)) => Err(Failure::Start { program: self.program.clone(), detail: error.to_string() }),
            Ok(Ok(status)) if status.success() => Ok(how(status)),
            Ok(Ok(status)) => Err(Failure::Exit { program: self.program.clone(), how: how(status) }),
        }
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The beginning of it, having read all of it.
async fn collect(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let begun = (&mut stream).take(MAX_OUTPUT_BYTES).read_to_end(&mut kept).await;
    if begun.is_ok() {
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    }
    kept
}

fn log(sink: &str, id: &str, stream: &str, output: &[u8]) {
    for line in String::from_utf8_lossy(output).lines().take(MAX_OUTPUT_LINES).filter(|line| !line.trim().is_empty()) {
        tracing::info!(sink, id, stream, output = line, "program's output");
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    async fn tell(command: &[&str], most: Duration) -> Result<String, Failure> {
        let command: Vec<String> = command.iter().map(|part| (*part).to_owned()).collect();
        Exec::new(&command).tell("import", "a-landed", "landfall.upload.landed", &Bytes::from_static(b"{}"), most).await
    }

    #[tokio::test]
    async fn arguments_environment_and_stdin_come_as_they_are() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("out");
        let script = r#"{ printf '<%s>' "$@"; cat; env | sort | cut -d= -f1 | grep -v -e ^_ -e PWD -e SHLVL | tr '\n' ' '; } > "$0""#;
        tell(&["/bin/sh", "-c", script, out.to_str().unwrap(), "a b", "$HOME; *"], LONG).await.unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        assert_eq!(text.trim(), "<a b><$HOME; *>{}LANDFALL_EVENT_ID LANDFALL_EVENT_TYPE PATH");
    }

    #[tokio::test]
    async fn how_it_ends_is_told() {
        assert!(
            matches!(tell(&["/bin/sh", "-c", "exit 3"], LONG).await, Err(Failure::Exit { how, .. }) if how == "exit code 3")
        );
        assert!(
            matches!(tell(&["/bin/sh", "-c", "kill -9 $$"], LONG).await, Err(Failure::Exit { how, .. }) if how == "signal 9")
        );
        assert!(matches!(tell(&["/no/such/program"], LONG).await, Err(Failure::Start { .. })));
        // More than any pipe holds, both ways, by one that does not read.
        tell(&["/bin/sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"], LONG).await.unwrap();
    }

    #[tokio::test]
    async fn the_time_out_kills_it_with_all_that_it_started() {
        let place = tempfile::tempdir().unwrap();
        let pid = place.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let failed = tell(&["/bin/sh", "-c", &script], Duration::from_secs(1)).await;
        assert!(matches!(failed, Err(Failure::Killed { .. })), "{failed:?}");
        let pid: u32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        // Killed; whoever inherits it may take a moment to collect it.
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let gone = || state().rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
        while !gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_it_leaves_running_holds_nothing_up() {
        tell(&["/bin/sh", "-c", "sleep 5 & exit 0"], LONG).await.unwrap();
    }
}

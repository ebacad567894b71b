//! Where a new password comes from: stdin, the generator, or a person at a terminal. Never from an argument, which
//! every other process could read.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use anyhow::{Context as _, bail};
use clap::Args;
use landfall_auth::{PASSWORD_MAX_BYTES, Secret, generate_password};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Usage;

/// The two flags.
#[derive(Debug, Args)]
pub(super) struct PasswordFlags {
    /// Read the password from the first line of standard input.
    #[arg(long, conflicts_with = "generate_password")]
    password_stdin: bool,
    /// Make a strong password and print it, once.
    #[arg(long)]
    generate_password: bool,
}

/// What to do without a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// Go without a password.
    None,
    /// Ask a person.
    Ask,
    /// The same; where nobody is, `--key` would help too.
    AskForKeyToo,
}

/// A password and whether its owner has yet to be told.
pub(super) struct NewPassword {
    pub(super) secret: Secret,
    pub(super) generated: bool,
}

impl PasswordFlags {
    /// The password that the flags ask for.
    pub(super) fn obtain(&self, otherwise: Otherwise) -> anyhow::Result<Option<NewPassword>> {
        if self.generate_password {
            let secret = generate_password().context("the system has no randomness to give")?;
            return Ok(Some(NewPassword { secret, generated: true }));
        }
        let secret = if self.password_stdin {
            first_line(io::stdin().lock())?
        } else if otherwise == Otherwise::None {
            return Ok(None);
        } else if io::stdin().is_terminal() {
            ask_twice()?
        } else {
            let key = match otherwise {
                Otherwise::AskForKeyToo => "; for SFTP a public key will do: --key FILE",
                _ => "",
            };
            let help = "add --generate-password, or --password-stdin and write it to standard input";
            return Err(Usage(format!("no password given: {help}{key}")).into());
        };
        Ok(Some(NewPassword { secret, generated: false }))
    }
}

/// The first line, without its end.
fn first_line(from: impl Read) -> anyhow::Result<Secret> {
    let mut line = Vec::new();
    // One more than allowed, and room for the line's end, to tell "too long" from "just right".
    let most = PASSWORD_MAX_BYTES as u64 + 3;
    BufReader::new(from.take(most)).read_until(b'\n', &mut line).context("reading the password")?;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    if line.is_empty() {
        bail!("the password is empty");
    }
    if line.len() > PASSWORD_MAX_BYTES {
        bail!("the password is longer than {PASSWORD_MAX_BYTES} bytes");
    }
    Ok(Secret::new(String::from_utf8(line).ok().context("the password is not valid UTF-8")?))
}

fn ask_twice() -> anyhow::Result<Secret> {
    let quiet = Quiet::begin().context("switching the terminal's echo off")?;
    let ask = |question: &str| {
        eprint!("{question}: ");
        io::stderr().flush()?;
        let answer = first_line(io::stdin().lock());
        eprintln!();
        answer
    };
    let first = ask("New password")?;
    let second = ask("The same again")?;
    drop(quiet);
    if first != second {
        bail!("the two passwords differ; nothing was changed");
    }
    Ok(first)
}

/// A terminal that does not show what is typed, until dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing else can be tried, and the command goes on.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        let read = |bytes: &[u8]| first_line(bytes).ok().map(|secret| secret.expose().to_owned());
        assert_eq!(read(b"hunter2\nmore").as_deref(), Some("hunter2"));
        assert_eq!(read(b"hunter2\r\n").as_deref(), Some("hunter2"));
        assert_eq!(read(b" with spaces ").as_deref(), Some(" with spaces "));
        assert_eq!(read(b"\n"), None);
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\xff\n"), None);
        assert_eq!(read(&[b'x'; PASSWORD_MAX_BYTES]).map(|text| text.len()), Some(PASSWORD_MAX_BYTES));
        assert_eq!(read(&[b'x'; PASSWORD_MAX_BYTES + 1]), None);
    }
}

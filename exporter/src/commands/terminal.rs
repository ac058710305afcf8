//! The person at the terminal: asked for a password, and warned.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::password::{Password, PasswordError};

/// Larger than any password; a wrong file on standard input must not fill the memory.
const MAX_INPUT_BYTES: u64 = 4096;

/// Prompts twice if standard input is a terminal, without showing what is typed. Otherwise reads standard input to its end;
/// the line break at the end does not belong to the password.
pub(super) fn password() -> Result<Password, PasswordError> {
    if !io::stdin().is_terminal() {
        return piped();
    }
    let first = Password::parse(typed("Password: ")?)?;
    let second = typed("Repeat it: ")?;
    match Password::parse(second) {
        Ok(second) if second.is(&first) => Ok(first),
        _ => Err(PasswordError::Differ),
    }
}

/// Prints a warning to standard error.
pub(super) fn warn(text: &str) {
    eprintln!("secure-exporter: warning: {text}");
}

fn piped() -> Result<Password, PasswordError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_INPUT_BYTES as usize + 1));
    io::stdin()
        .lock()
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| PasswordError::NotText)?;
    Password::parse(Zeroizing::new(without_line_end(text).to_owned()))
}

fn typed(prompt: &str) -> Result<Zeroizing<String>, PasswordError> {
    let mut errors = io::stderr().lock();
    // Standard output is for the hash alone.
    errors
        .write_all(prompt.as_bytes())
        .and_then(|()| errors.flush())
        .map_err(unreadable)?;
    let silence = Silence::begin().map_err(unreadable)?;
    // Room enough that the text is not moved, which would leave copies in memory.
    let mut line = Zeroizing::new(String::with_capacity(MAX_INPUT_BYTES as usize + 1));
    let read = io::stdin()
        .lock()
        .take(MAX_INPUT_BYTES)
        .read_line(&mut line);
    drop(silence);
    // The person's own line break was not shown.
    let _ = errors.write_all(b"\n");
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => PasswordError::NotText,
        _ => unreadable(error),
    })?;
    Ok(Zeroizing::new(without_line_end(&line).to_owned()))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that went away needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn unreadable(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Read(error.to_string())
}

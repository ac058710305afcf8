//! Running other programs, and telling the person who waits what is happening.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Runs `work` and prints what it is and how long it took.
///
/// # Errors
/// Those of `work`.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let outcome = work();
    let sign = if outcome.is_ok() { "✓" } else { "✗" };
    println!("{sign} {what:<58} {:>7.1} s", start.elapsed().as_secs_f32());
    outcome
}

/// Runs a command to its end and returns what it printed on standard output.
///
/// # Errors
/// The command could not be started, or ended with a failure: the error holds what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let result = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !result.status.success() {
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&result.stdout),
            String::from_utf8_lossy(&result.stderr)
        );
        bail!("`{line}` failed ({}):\n{}", result.status, tail(&text, 40));
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// Runs a command whose own output the person should see.
///
/// # Errors
/// The command could not be started, or ended with a failure.
pub fn visibly(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Asks `ready` again and again until it gives a value.
///
/// # Errors
/// `limit` has passed; the error holds the last reason that `ready` gave.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_while(what, limit, || Ok(()), ready)
}

/// As [`wait_for`], for as long as there is `hope`: its error ends the waiting at once.
///
/// # Errors
/// That of `hope`, or `limit` has passed.
pub fn wait_while<T>(
    what: &str,
    limit: Duration,
    mut hope: impl FnMut() -> Result<()>,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut last = String::from("no answer yet");
    while start.elapsed() < limit {
        hope().with_context(|| what.to_owned())?;
        match ready() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = format!("{error:#}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("{what}: not after {} s; last: {last}", limit.as_secs())
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}

/// Where a program is on the `PATH` or in the system's own folders.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    let line = words.join(" ");
    if line.chars().count() > 200 {
        format!("{}…", line.chars().take(200).collect::<String>())
    } else {
        line
    }
}

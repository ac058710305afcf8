//! Telling the person who waits what is happening.

use std::time::Instant;

use anyhow::Result;

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

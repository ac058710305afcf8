//! Waiting for what other processes do.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

const PAUSE: Duration = Duration::from_millis(250);

/// Tries again and again until `attempt` gives something. A failed attempt is one that came too early.
///
/// # Errors
/// Nothing came until the deadline: says what was waited for and why the last attempt gave nothing.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        let outcome = attempt();
        let late = begin.elapsed() > deadline;
        match outcome {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if late => {
                return Err(anyhow!("waited {} s for {what}", deadline.as_secs()));
            }
            Err(error) if late => {
                return Err(error.context(format!("waited {} s for {what}", deadline.as_secs())));
            }
            _ => thread::sleep(PAUSE),
        }
    }
}

//! Waiting for what other processes do.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

/// The pause after the first attempt. Each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// An attempt often starts a process, so it must not be repeated too often.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Tries again and again until `attempt` returns a value. An attempt that fails came too early.
///
/// # Errors
/// No value came before the deadline: names what was waited for and why the last attempt gave nothing.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_while(what, deadline, || Ok(()), attempt)
}

/// As [`wait_until`], for as long as there is `hope`: its error ends the waiting at once.
///
/// # Errors
/// That of `hope`, or as [`wait_until`].
pub fn wait_while<T>(
    what: &str,
    deadline: Duration,
    mut hope: impl FnMut() -> Result<()>,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        hope().with_context(|| what.to_owned())?;
        let outcome = attempt();
        let late = begin.elapsed() > deadline;
        let waited = || format!("waited {} s for {what}", deadline.as_secs());
        match outcome {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if late => return Err(anyhow!(waited())),
            Err(error) if late => return Err(error.context(waited())),
            _ => thread::sleep(pause),
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn an_early_failure_is_no_failure() {
        let mut attempts = 0;
        let outcome = wait_until("the third", Duration::from_secs(10), || {
            attempts += 1;
            match attempts {
                1 => bail!("too early"),
                2 => Ok(None),
                _ => Ok(Some(attempts)),
            }
        });
        assert_eq!(outcome.unwrap(), 3);
    }

    #[test]
    fn the_last_failure_is_reported() {
        let late: Result<()> = wait_until("a value", Duration::ZERO, || bail!("not there"));
        assert_eq!(
            format!("{:#}", late.unwrap_err()),
            "waited 0 s for a value: not there"
        );
    }

    #[test]
    fn without_hope_nothing_is_attempted() {
        let outcome: Result<()> = wait_while(
            "a value",
            Duration::from_secs(10),
            || bail!("the server has ended"),
            || panic!("attempted"),
        );
        assert_eq!(
            format!("{:#}", outcome.unwrap_err()),
            "a value: the server has ended"
        );
    }
}

//! The log.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

use crate::arguments::LogFormat;

/// Starts the log.
///
/// # Errors
/// `filter` is neither a level nor a valid filter.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        format!("invalid --log-level {filter:?}: {error}; use error, warn, info, debug or trace")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

//! The log.

use std::io::stderr;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{arguments::LogFormat, telemetry::log_bodies::without_bodies};

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
        LogFormat::Text => log.with_ansi(false).finish().with(without_bodies()).init(),
        LogFormat::Json => {
            let lines = log.json().flatten_event(true).finish();
            lines.with(without_bodies()).init();
        }
    }
    Ok(())
}

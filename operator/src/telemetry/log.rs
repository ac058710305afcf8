//! The log.

use std::io::stderr;

use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    arguments::LogFormat,
    telemetry::{log_bodies::without_bodies, log_filter::LogFilter},
};

/// Starts the log.
pub fn start(format: LogFormat, filter: &LogFilter) {
    let modules = filter.modules.iter();
    let targets = Targets::new()
        .with_default(filter.level)
        .with_targets(modules.map(|(path, level)| (path.clone(), *level)));
    let lines = fmt::layer().with_writer(stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .with(without_bodies())
        .init();
}

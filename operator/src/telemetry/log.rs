//! The log.

use std::io::stderr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    arguments::LogFormat,
    telemetry::{log_bodies::without_bodies, log_filter::LogFilter},
};

/// The module of kube that logs every failed request as an error, without saying which. During an outage, that is thousands
/// of lines, and the operator reports the failures itself.
const LOGS_EACH_FAILURE: &str = "kube_client::client::builder";

/// Starts the log.
pub fn start(format: LogFormat, filter: &LogFilter) {
    let targets = targets(filter);
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

fn targets(filter: &LogFilter) -> Targets {
    let modules = filter.modules.iter();
    let each_failure = match filter.level {
        level if level >= LevelFilter::DEBUG => level,
        _ => LevelFilter::OFF,
    };
    Targets::new()
        .with_default(filter.level)
        .with_target(LOGS_EACH_FAILURE, each_failure)
        .with_targets(modules.map(|(path, level)| (path.clone(), *level)))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_failed_request_is_logged_once() {
        let logs = |filter: &str, module: &str| {
            let filter = filter.parse().expect("a filter");
            targets(&filter).would_enable(module, &Level::ERROR)
        };
        assert!(!logs("info", LOGS_EACH_FAILURE));
        assert!(logs("info", "kube_client::client"));
        assert!(logs("debug", LOGS_EACH_FAILURE));
        assert!(logs(
            "info,kube_client::client::builder=error",
            LOGS_EACH_FAILURE
        ));
    }
}

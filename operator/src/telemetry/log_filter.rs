//! What is logged.

use std::{collections::BTreeMap, str::FromStr};

use tracing::level_filters::LevelFilter;

/// A level for everything, and other levels for some modules.
///
/// `EnvFilter` would take an unknown level for the name of a module, and log nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// The level of all modules that are not named.
    pub level: LevelFilter,
    /// The levels of modules, by path.
    pub modules: BTreeMap<String, LevelFilter>,
}

/// Why a filter is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogFilterError {
    /// A level is unknown.
    #[error("{0:?} is not a level: use error, warn, info, debug or trace")]
    Level(String),
    /// An entry after the first level does not name a module.
    #[error(
        "{0:?} is not MODULE=LEVEL: use a level, then other levels for modules, such as `info,kube=debug`"
    )]
    Module(String),
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let mut parts = text.split(',').map(str::trim);
        let level = parse_level(parts.next().unwrap_or_default())?;
        let modules = parts.map(parse_module).collect::<Result<_, _>>()?;
        Ok(Self { level, modules })
    }
}

fn parse_module(text: &str) -> Result<(String, LevelFilter), LogFilterError> {
    let is_path = |path: &&str| {
        let is_part = |part: char| part.is_ascii_alphanumeric() || "_:".contains(part);
        !path.is_empty() && path.chars().all(is_part)
    };
    let parts = text.split_once('=');
    let (path, level) = parts
        .filter(|(path, _)| is_path(path))
        .ok_or_else(|| LogFilterError::Module(text.to_owned()))?;
    Ok((path.to_owned(), parse_level(level)?))
}

fn parse_level(text: &str) -> Result<LevelFilter, LogFilterError> {
    Ok(match text {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(LogFilterError::Level(text.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_and_levels_of_modules() {
        let parse = |text: &str| text.parse::<LogFilter>();
        let info = parse("info").expect("a level");
        assert_eq!((info.level, info.modules.len()), (LevelFilter::INFO, 0));
        let more = parse("warn,kube=debug, secure_exporter_operator::apply=trace").expect("valid");
        assert_eq!(more.level, LevelFilter::WARN);
        assert_eq!(more.modules.get("kube"), Some(&LevelFilter::DEBUG));
        let apply = more.modules.get("secure_exporter_operator::apply");
        assert_eq!(apply, Some(&LevelFilter::TRACE));
    }

    #[test]
    fn what_would_log_nothing_is_an_error() {
        for text in ["verbose", "", "INFO", "kube=debug", "info,kube=verbose"] {
            let error = text.parse::<LogFilter>().expect_err(text).to_string();
            assert!(
                error.contains("use error, warn, info, debug or trace"),
                "{error}"
            );
        }
        for text in [
            "info,kube",
            "info,debug",
            "info,=debug",
            "info,[span]=debug",
        ] {
            let error = text.parse::<LogFilter>().expect_err(text).to_string();
            assert!(error.contains("`info,kube=debug`"), "{error}");
        }
    }
}

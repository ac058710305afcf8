//! The definition of a collector for the table and the command line, and the context in which it is built.

use std::path::PathBuf;

use super::collector::Collector;
use super::pattern::{Pattern, PatternError};
use super::settings::{HostNetwork, Settings};
use crate::sources::SharedLinks;

/// A collector as the command line knows it.
#[derive(Clone, Copy, Debug)]
pub struct CollectorSpec {
    /// The name in `--collector.NAME` and in the `collector` label.
    pub name: &'static str,
    /// Whether it runs by default.
    pub default_enabled: bool,
    /// One line for the help text.
    pub summary: &'static str,
    /// Its own flags.
    pub options: &'static [OptionSpec],
    /// Builds the collector.
    pub build: fn(&BuildContext<'_>) -> Result<Box<dyn Collector>, BuildError>,
}

/// A flag of a collector.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The flag without its dashes, for example `collector.filesystem.mount-points-exclude`.
    pub flag: &'static str,
    /// The kind of its value, if it takes one.
    pub kind: OptionKind,
    /// The default; for a switch `true` or `false`.
    pub default: &'static str,
    /// One line for the help text.
    pub help: &'static str,
    /// The flag that replaces this one. Such flags are accepted and hidden from the help.
    pub deprecated_by: Option<&'static str>,
}

/// The value of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A regular expression.
    Pattern,
    /// Any text; the flag may be repeated, and its values are stored as lines.
    Texts,
    /// Names, separated by commas.
    List,
    /// A whole number.
    Number,
    /// No value: `--flag` is `true`, `--no-flag` is `false`.
    Switch,
}

impl OptionSpec {
    /// Defines a flag that takes a regular expression.
    pub(crate) const fn pattern(
        flag: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            flag,
            kind: OptionKind::Pattern,
            default,
            help,
            deprecated_by: None,
        }
    }

    /// Defines a flag that takes any text and may be repeated.
    pub(crate) const fn texts(flag: &'static str, help: &'static str) -> Self {
        Self {
            flag,
            kind: OptionKind::Texts,
            default: "",
            help,
            deprecated_by: None,
        }
    }

    /// Defines a flag that takes comma-separated names.
    pub(crate) const fn list(
        flag: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            flag,
            kind: OptionKind::List,
            default,
            help,
            deprecated_by: None,
        }
    }

    /// Defines a flag that takes a whole number.
    pub(crate) const fn number(
        flag: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            flag,
            kind: OptionKind::Number,
            default,
            help,
            deprecated_by: None,
        }
    }

    /// Defines a switch.
    pub(crate) const fn switch(
        flag: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            flag,
            kind: OptionKind::Switch,
            default,
            help,
            deprecated_by: None,
        }
    }

    /// Defines the former name of a flag that takes a regular expression.
    pub(crate) const fn former(flag: &'static str, replacement: &'static str) -> Self {
        let help = "Former name of a flag.";
        Self {
            flag,
            kind: OptionKind::Pattern,
            default: "",
            help,
            deprecated_by: Some(replacement),
        }
    }
}

/// The settings as a collector sees them while it is built.
#[derive(Clone, Copy, Debug)]
pub struct BuildContext<'a> {
    settings: &'a Settings,
    options: &'static [OptionSpec],
    links: Option<&'a SharedLinks>,
}

impl<'a> BuildContext<'a> {
    /// Creates the context of the collector that has these options.
    pub(crate) fn new(settings: &'a Settings, options: &'static [OptionSpec]) -> Self {
        Self {
            settings,
            options,
            links: None,
        }
    }

    /// Creates the context of a collector that shares the network devices with others.
    pub(crate) fn sharing(self, links: &'a SharedLinks) -> Self {
        Self {
            links: Some(links),
            ..self
        }
    }

    /// The network devices, shared with the other collectors.
    pub fn links(&self) -> SharedLinks {
        let links = self.links.cloned();
        links.unwrap_or_else(|| self.settings.links())
    }

    /// All settings.
    pub fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// Returns the path of a file below procfs. Paths below `net/` lead to the host's network.
    pub fn procfs(&self, file: &str) -> PathBuf {
        let mut path = self.settings.procfs.clone();
        // `net` itself leads to the reader's own network.
        if self.settings.host_network == HostNetwork::Apart && file.starts_with("net/") {
            path.push("1");
        }
        path.join(file)
    }

    /// Returns the path of a file below sysfs.
    pub fn sysfs(&self, file: &str) -> PathBuf {
        self.settings.sysfs.join(file)
    }

    /// Returns the value of a flag if it was given.
    pub fn given(&self, flag: &str) -> Option<&'a str> {
        self.settings.options.get(flag).map(String::as_str)
    }

    /// Returns the value of a flag, or its default.
    pub fn value(&self, flag: &str) -> &'a str {
        let default = || {
            self.options
                .iter()
                .find(|option| option.flag == flag)
                .map_or("", |option| option.default)
        };
        self.given(flag).unwrap_or_else(default)
    }

    /// Returns whether a switch is on.
    ///
    /// # Errors
    ///
    /// The value is neither `true` nor `false`.
    pub fn switch(&self, flag: &'static str) -> Result<bool, BuildError> {
        match self.value(flag) {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(BuildError::Switch {
                flag,
                value: other.to_owned(),
            }),
        }
    }

    /// Returns the whole number given by a flag.
    ///
    /// # Errors
    ///
    /// The value is not a whole number, or is zero.
    pub fn number(&self, flag: &'static str) -> Result<u64, BuildError> {
        let value = self.value(flag);
        let number = value.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| BuildError::Number {
            flag,
            value: value.to_owned(),
        })
    }

    /// Returns the values of a flag that may be repeated, without empty ones.
    pub fn texts(&self, flag: &str) -> impl Iterator<Item = &'a str> {
        self.value(flag).lines().filter(|text| !text.is_empty())
    }

    /// Returns the names listed by a flag, each of which must be in `known`.
    ///
    /// # Errors
    ///
    /// A name is unknown.
    pub fn list(
        &self,
        flag: &'static str,
        known: &[&'static str],
    ) -> Result<Vec<&'static str>, BuildError> {
        let names = self.value(flag).split(',').filter(|name| !name.is_empty());
        names
            .map(|name| {
                let found = known.iter().find(|known| **known == name).copied();
                found.ok_or_else(|| BuildError::Name {
                    flag,
                    name: name.to_owned(),
                    known: known.join(", "),
                })
            })
            .collect()
    }

    /// Returns the regular expression of a flag; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// The value is not a regular expression.
    pub fn pattern(&self, flag: &'static str) -> Result<Option<Pattern>, BuildError> {
        compile(flag, self.value(flag))
    }
}

/// Compiles the value of a flag; an empty one is none.
pub(crate) fn compile(flag: &'static str, pattern: &str) -> Result<Option<Pattern>, BuildError> {
    if pattern.is_empty() {
        return Ok(None);
    }
    Pattern::new(pattern)
        .map(Some)
        .map_err(|source| BuildError::Pattern { flag, source })
}

/// Why the collectors cannot be built. Each message names the flag to change.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Two flags were given that are mutually exclusive.
    #[error("--{0} and --{1} are mutually exclusive: give only one of them")]
    Exclusive(&'static str, &'static str),
    /// A flag lists an unknown name.
    #[error("--{flag} does not accept {name:?}: it is a list of {known}")]
    Name {
        /// The flag without its dashes.
        flag: &'static str,
        /// The given name.
        name: String,
        /// The allowed names.
        known: String,
    },
    /// A flag needs data that would belong to this process's own network.
    #[error(
        "--{flag} would show the network of this process rather than the host's: it needs --host.network=shared"
    )]
    OwnNetwork {
        /// The flag without its dashes.
        flag: &'static str,
    },
    /// The value of a flag is not a regular expression.
    #[error("--{flag} is not a valid regular expression: {source}")]
    Pattern {
        /// The flag without its dashes.
        flag: &'static str,
        /// The syntax error.
        source: PatternError,
    },
    /// The value of a flag is not a whole number.
    #[error("--{flag} must be a whole number greater than 0, not {value:?}")]
    Number {
        /// The flag without its dashes.
        flag: &'static str,
        /// The given value.
        value: String,
    },
    /// The value of a switch is neither `true` nor `false`.
    #[error("--{flag} must be true or false, not {value:?}")]
    Switch {
        /// The flag without its dashes.
        flag: &'static str,
        /// The given value.
        value: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[OptionSpec] = &[
        OptionSpec::pattern("collector.x.fields", "^a", "Fields."),
        OptionSpec::switch("collector.x.on", "true", "Switch."),
        OptionSpec::list("collector.x.labels", "b,a", "Labels."),
    ];

    #[test]
    fn a_flag_not_given_has_its_default() {
        let settings = Settings::default();
        let context = BuildContext::new(&settings, OPTIONS);
        assert_eq!(context.value("collector.x.fields"), "^a");
        assert!(context.given("collector.x.fields").is_none());
        assert!(context.switch("collector.x.on").unwrap());
        assert_eq!(
            context.list("collector.x.labels", &["a", "b"]).unwrap(),
            ["b", "a"]
        );
    }

    #[test]
    fn the_hosts_network_is_that_of_its_first_process() {
        let mut settings = Settings::default();
        let path = |settings: &Settings, file: &str| {
            let path = BuildContext::new(settings, OPTIONS).procfs(file);
            path.display().to_string()
        };
        assert_eq!(path(&settings, "net/dev"), "/proc/net/dev");
        settings.host_network = HostNetwork::Apart;
        assert_eq!(path(&settings, "net/dev"), "/proc/1/net/dev");
        assert_eq!(path(&settings, "stat"), "/proc/stat");
    }

    #[test]
    fn bad_values_name_the_flag() {
        let mut settings = Settings::default();
        settings.options.insert("collector.x.fields", "(".into());
        settings.options.insert("collector.x.on", "yes".into());
        let context = BuildContext::new(&settings, OPTIONS);
        let error = context
            .pattern("collector.x.fields")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("--collector.x.fields is not a valid regular expression"),
            "{error}"
        );
        let error = context.switch("collector.x.on").unwrap_err().to_string();
        assert_eq!(error, "--collector.x.on must be true or false, not \"yes\"");
        settings.options.insert("collector.x.labels", "b,c".into());
        let context = BuildContext::new(&settings, OPTIONS);
        let error = context
            .list("collector.x.labels", &["a", "b"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "--collector.x.labels does not accept \"c\": it is a list of a, b"
        );
    }
}

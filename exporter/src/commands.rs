//! What the program does besides serving: the steps that a bare host takes before it serves.
//!
//! A command is chosen by the first argument. Any other first argument is a flag of node_exporter's command line, which
//! has no commands.

mod check_config;
mod error;
mod hash_password;
mod password;
mod pki;
mod scrape_job;
mod staged;
mod terminal;
mod web_config;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "secure-exporter",
    disable_help_subcommand = true,
    max_term_width = 110
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the bcrypt hash of a password, which is typed or read from standard input
    HashPassword(hash_password::Options),
    /// Create and renew the certificate, config.yml and the scrape job for Prometheus
    WebConfig {
        #[command(subcommand)]
        action: web_config::Action,
    },
    /// Check a web configuration, and show what is wrong with it and when its certificate expires
    CheckConfig(check_config::Options),
}

/// Whether a command line, which starts with the program's name, names a command.
pub fn is_named(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments
        .into_iter()
        .nth(1)
        .is_some_and(|word| Arguments::command().find_subcommand(word).is_some())
}

/// Runs the command that a command line names; the command line starts with the program's name. The result goes to standard
/// output, everything else to standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Arguments::try_parse_from(arguments).map(|all| all.command) {
        Ok(Command::HashPassword(options)) => hash_password::run(&options),
        Ok(Command::WebConfig { action }) => web_config::run(action),
        Ok(Command::CheckConfig(options)) => check_config::run(&options),
        Err(error) => {
            // Nobody is left to be told when even this cannot be written.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("secure-exporter: error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The commands, for the help text of the flags.
pub(crate) fn overview() -> String {
    let mut text = "Commands, as the first argument (COMMAND --help shows more):\n".to_owned();
    for command in Arguments::command().get_subcommands() {
        let about = command.get_about().map(ToString::to_string);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {:<14} {}",
            command.get_name(),
            about.unwrap_or_default()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arguments: &[&str]) -> Vec<OsString> {
        std::iter::once("secure-exporter")
            .chain(arguments.iter().copied())
            .map(OsString::from)
            .collect()
    }

    #[test]
    fn clap_finds_no_contradiction() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn only_the_first_argument_names_a_command() {
        for name in ["hash-password", "web-config", "check-config"] {
            assert!(is_named(line(&[name])), "{name}");
            assert!(overview().contains(name), "{name}");
        }
        for flags in [&[][..], &["--web.config.file", "check-config"], &["help"]] {
            assert!(!is_named(line(flags)), "{flags:?}");
        }
    }
}

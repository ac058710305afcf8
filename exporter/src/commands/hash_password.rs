//! `hash-password`: what `htpasswd -nbBC` is used for, without the password in the arguments.

use std::ffi::OsString;

use clap::Args;

use super::error::CommandError;
use super::password::PasswordError;
use super::terminal::{self, warn};

#[derive(Args)]
pub(super) struct Options {
    /// The base-2 logarithm of the number of rounds: each step doubles the time of a guess and of a login
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(10..=16))]
    cost: u32,
    /// Any further argument, which is most likely a password.
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    others: Vec<OsString>,
}

/// Prints only the hash.
pub(super) fn run(options: &Options) -> Result<(), CommandError> {
    if !options.others.is_empty() {
        return Err(PasswordError::Argument.into());
    }
    let password = terminal::password()?;
    password
        .weaknesses()
        .iter()
        .for_each(|weakness| warn(weakness));
    println!("{}", password.hash(options.cost)?.as_str());
    Ok(())
}

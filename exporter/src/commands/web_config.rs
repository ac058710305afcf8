//! `web-config`: what a bare host needs before it serves, made at once and renewed ever after.

mod init;
mod layout;
mod lifetime;
mod own_hosts;
mod renew;

use clap::Subcommand;

use super::error::CommandError;

#[derive(Subcommand)]
pub(super) enum Action {
    /// Create a CA, a certificate, a password, config.yml and the scrape job for Prometheus
    Init(init::Options),
    /// Replace the certificate by a new one of the same CA; nothing changes for Prometheus
    Renew(renew::Options),
}

pub(super) fn run(action: Action) -> Result<(), CommandError> {
    let now = crate::clock::unix_now();
    match action {
        Action::Init(options) => init::run(&options, now),
        Action::Renew(options) => renew::run(&options, now),
    }
}

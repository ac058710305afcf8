//! The operator: arguments, provider, log, run.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use secure_exporter_operator::{
    arguments::{Arguments, Command},
    crd_yaml, memory, run,
    telemetry::log,
};

#[tokio::main]
async fn main() -> ExitCode {
    memory::keep_private();
    // The only possible error is that a provider is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    run::exit_code(match Arguments::parse().command {
        Command::Crd => {
            print!("{}", crd_yaml());
            Ok(())
        }
        Command::Run(arguments) => {
            log::start(arguments.log_format, &arguments.log_level);
            run::run(*arguments).await
        }
    })
}

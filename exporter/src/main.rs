//! `secure-exporter`: the TLS provider, the arguments, and then the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};
use secure_exporter::flags::{self, Invocation};
use secure_exporter::{commands, log, run};

fn main() -> ExitCode {
    leave_no_core_dump();
    // The only provider in the workspace; this call can only fail if it was called before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if commands::is_named(std::env::args_os()) {
        return commands::run(std::env::args_os());
    }
    match flags::parse(std::env::args_os()) {
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Run(flags)) => {
            log::start(flags.log_level, flags.log_format);
            serve(&flags)
        }
        Err(error) => {
            eprintln!("secure-exporter: error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The memory contains the private key. (`PR_SET_DUMPABLE` would give the files below `/proc/self` to root, among them
/// `mountstats`, which a collector reads.) The systemd unit sets the same limit and forbids this call.
fn leave_no_core_dump() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
}

fn serve(flags: &flags::Flags) -> ExitCode {
    match run::run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot start secure-exporter");
            ExitCode::FAILURE
        }
    }
}

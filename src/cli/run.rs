//! `distomon run`: the service.

use std::process::ExitCode;

use log::LevelFilter;

use super::{EX_CANTCREAT, EX_CONFIG, EX_OSERR, EX_UNAVAILABLE, Global};
use crate::journal;
use crate::journal::message_id;
use crate::service::lifecycle::{self, Options, RunError};

/// Run the node until a signal stops it
///
/// systemd runs this command: systemctl start distomon@network. SIGTERM and Ctrl-C stop it. SIGHUP reloads the
/// configuration; an invalid one is rejected and logged. Exit status 0 after a stop, 69 for an address that cannot be
/// listened on, 70 after an internal error, 71 for an error of the operating system, 73 for an unusable state
/// directory, 78 for an invalid configuration.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The least severe level to log
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log_level: String,
    /// Stop at the end of standard input, which ends with the parent process
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

/// Runs the service.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    journal::init(args.log_level.parse().unwrap_or(LevelFilter::Info));
    let options = Options {
        config: global.config.clone(),
        state_dir: global.state_dir(),
        credentials_dir: global.credentials_dir(),
        exit_with_stdin: args.exit_with_stdin,
    };
    let Err(error) = lifecycle::run(&options) else { return ExitCode::SUCCESS };
    match &error {
        RunError::Config(errors) => {
            for error in &errors.0 {
                log::error!(MESSAGE_ID = message_id::CONFIG_ERROR; "{error}");
            }
        }
        error => log::error!(MESSAGE_ID = message_id::NOT_STARTED; "{error}"),
    }
    ExitCode::from(match error {
        RunError::Config(_) => EX_CONFIG,
        RunError::Listen { .. } => EX_UNAVAILABLE,
        RunError::State(_) => EX_CANTCREAT,
        RunError::System(_) | RunError::SocketActivation(_) => EX_OSERR,
    })
}

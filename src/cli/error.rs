//! Why a subcommand did not do what it was asked: a message for the user and an exit status.

use std::process::ExitCode;

/// The end of a subcommand that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CliError {
    /// The exit status.
    pub(super) status: u8,
    /// For the user.
    pub(super) message: String,
}

impl CliError {
    pub(super) fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Tells the user of `distomon COMMAND`; gives the exit status.
    pub(super) fn report(&self, command: &str) -> ExitCode {
        eprintln!("distomon {command}: {}", self.message);
        ExitCode::from(self.status)
    }
}

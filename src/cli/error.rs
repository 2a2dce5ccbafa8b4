//! Errors of subcommands: a message for the user and an exit status.

use std::process::ExitCode;

/// Error of a subcommand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CliError {
    /// The exit status.
    pub(super) status: u8,
    /// The text for the user.
    pub(super) message: String,
}

impl CliError {
    pub(super) fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Prints the message of `distomon COMMAND` to standard error and returns the exit status.
    pub(super) fn report(&self, command: &str) -> ExitCode {
        eprintln!("distomon {command}: {}", self.message);
        ExitCode::from(self.status)
    }
}

//! `distomon version`: the same line as `distomon --version`.

use std::process::ExitCode;

/// Show the version of this program
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Prints the version.
pub(super) fn run(_: &Args) -> ExitCode {
    super::print(&format!("distomon {}\n", crate::VERSION));
    ExitCode::SUCCESS
}

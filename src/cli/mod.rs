//! The command line: one file for each subcommand.

#![allow(
    clippy::doc_markdown,
    reason = "clap shows these comments to users as they stand, backticks included"
)]

mod check;
mod demo;
mod init;
mod key;
mod run;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status: the command was used wrongly (`EX_USAGE` of sysexits.h).
const EX_USAGE: u8 = 64;
/// Exit status: something that is needed is not there (`EX_UNAVAILABLE` of sysexits.h).
const EX_UNAVAILABLE: u8 = 69;
/// Exit status: an error inside of this program (`EX_SOFTWARE` of sysexits.h).
const EX_SOFTWARE: u8 = 70;
/// Exit status: the system refused something (`EX_OSERR` of sysexits.h).
const EX_OSERR: u8 = 71;
/// Exit status: an output file cannot be created (`EX_CANTCREAT` of sysexits.h).
const EX_CANTCREAT: u8 = 73;
/// Exit status: something is wrong with the configuration (`EX_CONFIG` of sysexits.h).
const EX_CONFIG: u8 = 78;

/// Every host of a network watches every other, signs what it saw, and anyone can check it.
#[derive(Debug, Parser)]
#[command(name = "distomon", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The options of all subcommands.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Directory with nodeconf.yml, or that file under another name
    #[arg(long, global = true, value_name = "DIR|FILE", default_value = "/etc/distomon/network")]
    pub config: PathBuf,
    /// Directory for keys, numbers and history [default: $STATE_DIRECTORY, else state in the configuration
    /// directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

impl Global {
    /// Where state lies: as asked for, else where systemd put it, else beside the configuration.
    pub fn state_dir(&self) -> PathBuf {
        let from_systemd = || {
            // systemd joins several directories by colons; ours is the first.
            let paths = std::env::var_os("STATE_DIRECTORY")?;
            std::env::split_paths(&paths).next().filter(|path| !path.as_os_str().is_empty())
        };
        let given = self.state.clone().or_else(from_systemd);
        given.unwrap_or_else(|| crate::config::locate(&self.config).0.join("state"))
    }

    /// Where systemd put credentials, if it did.
    pub fn credentials_dir(&self) -> Option<PathBuf> {
        std::env::var_os("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Demo(demo::Args),
    Init(init::Args),
    Key(key::Args),
    Run(run::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way as well. Nobody is left to tell if printing fails.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match command {
        Command::Check(args) => check::run(&args, &global),
        Command::Demo(args) => demo::run(&args, &global),
        Command::Init(args) => init::run(&args, &global),
        Command::Key(args) => key::run(&args, &global),
        Command::Run(args) => run::run(&args, &global),
    }
}

/// Prints `text` to standard output. Whoever closed it early has seen enough.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

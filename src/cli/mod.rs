//! The command line: one file for each subcommand.

#![allow(
    clippy::doc_markdown,
    reason = "clap shows these comments to users as they stand, backticks included"
)]

mod changes;
mod check;
mod client;
mod demo;
mod error;
mod explain;
mod init;
mod instance;
mod key;
mod password;
mod query;
mod run;
mod secret_file;
mod status;
mod styled_line;
mod time_arg;
mod token;
mod version;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Exit status: the command was used wrongly (`EX_USAGE` of sysexits.h).
const EX_USAGE: u8 = 64;
/// Exit status: an input file cannot be read (`EX_NOINPUT` of sysexits.h).
const EX_NOINPUT: u8 = 66;
/// Exit status: something that is needed is not there (`EX_UNAVAILABLE` of sysexits.h).
const EX_UNAVAILABLE: u8 = 69;
/// Exit status: an error inside of this program (`EX_SOFTWARE` of sysexits.h).
const EX_SOFTWARE: u8 = 70;
/// Exit status: the system refused something (`EX_OSERR` of sysexits.h).
const EX_OSERR: u8 = 71;
/// Exit status: an output file cannot be created (`EX_CANTCREAT` of sysexits.h).
const EX_CANTCREAT: u8 = 73;
/// Exit status: try again later (`EX_TEMPFAIL` of sysexits.h).
const EX_TEMPFAIL: u8 = 75;
/// Exit status: the other side answered what it should not (`EX_PROTOCOL` of sysexits.h).
const EX_PROTOCOL: u8 = 76;
/// Exit status: this user may not do that (`EX_NOPERM` of sysexits.h).
const EX_NOPERM: u8 = 77;
/// Exit status: something is wrong with the configuration (`EX_CONFIG` of sysexits.h).
const EX_CONFIG: u8 = 78;

/// The directory that is meant where none is named.
const DEFAULT_CONFIG: &str = "/etc/distomon/network";

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
    #[arg(long, global = true, value_name = "DIR|FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// Directory for keys, numbers and history [default: $STATE_DIRECTORY; else, for /etc/distomon/NAME,
    /// /var/lib/distomon/NAME if there is one; else state in the configuration directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

impl Global {
    /// Where state lies: as asked for, else where systemd puts it, else beside the configuration.
    pub fn state_dir(&self) -> PathBuf {
        let from_systemd = || {
            // systemd joins several directories by colons; ours is the first.
            let paths = std::env::var_os("STATE_DIRECTORY")?;
            std::env::split_paths(&paths).next().filter(|path| !path.as_os_str().is_empty())
        };
        let given = self.state.clone().or_else(from_systemd);
        given.or_else(|| self.of_service("/var/lib/distomon/", "")).unwrap_or_else(|| {
            let (dir, _) = crate::config::locate(&self.config);
            dir.join("state")
        })
    }

    /// Where systemd put credentials, if it did: for this process, else for the running service.
    pub fn credentials_dir(&self) -> Option<PathBuf> {
        let given = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty());
        given.map(PathBuf::from).or_else(|| self.of_service("/run/credentials/distomon@", ".service"))
    }

    /// What belongs to the service that runs with this configuration, so that an administrator's commands
    /// find what it finds. To see that it is there, one need not be allowed to look into it.
    fn of_service(&self, before: &str, after: &str) -> Option<PathBuf> {
        let name = instance::installed(&crate::config::locate(&self.config).0)?;
        let path = PathBuf::from(format!("{before}{name}{after}"));
        path.symlink_metadata().is_ok().then_some(path)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Changes(changes::Args),
    Check(check::Args),
    Demo(demo::Args),
    Explain(explain::Args),
    Init(init::Args),
    Key(key::Args),
    Password(password::Args),
    Run(run::Args),
    Status(status::Args),
    Token(token::Args),
    Version(version::Args),
}

/// The command line as `--help` shows it: what man pages and completions are made from.
pub fn command() -> clap::Command {
    Cli::command()
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
        Command::Changes(args) => changes::run(&args, &global),
        Command::Check(args) => check::run(&args, &global),
        Command::Demo(args) => demo::run(&args, &global),
        Command::Explain(args) => explain::run(&args, &global),
        Command::Init(args) => init::run(&args, &global),
        Command::Key(args) => key::run(&args, &global),
        Command::Password(args) => password::run(&args, &global),
        Command::Run(args) => run::run(&args, &global),
        Command::Status(args) => status::run(&args, &global),
        Command::Token(args) => token::run(&args, &global),
        Command::Version(args) => version::run(&args),
    }
}

/// Prints `text` to standard output. Whoever closed it early has seen enough.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

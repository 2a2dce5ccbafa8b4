//! The command line: one file for each subcommand.

#![allow(clippy::doc_markdown, reason = "clap shows these comments to users verbatim, backticks included")]

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

/// Exit status: the command line is invalid (`EX_USAGE` of sysexits.h).
const EX_USAGE: u8 = 64;
/// Exit status: an input file cannot be read (`EX_NOINPUT` of sysexits.h).
const EX_NOINPUT: u8 = 66;
/// Exit status: something required is not available (`EX_UNAVAILABLE` of sysexits.h).
const EX_UNAVAILABLE: u8 = 69;
/// Exit status: an internal error (`EX_SOFTWARE` of sysexits.h).
const EX_SOFTWARE: u8 = 70;
/// Exit status: the operating system returned an error (`EX_OSERR` of sysexits.h).
const EX_OSERR: u8 = 71;
/// Exit status: an output file cannot be created (`EX_CANTCREAT` of sysexits.h).
const EX_CANTCREAT: u8 = 73;
/// Exit status: a temporary failure, try again later (`EX_TEMPFAIL` of sysexits.h).
const EX_TEMPFAIL: u8 = 75;
/// Exit status: the other side sent an unexpected reply (`EX_PROTOCOL` of sysexits.h).
const EX_PROTOCOL: u8 = 76;
/// Exit status: this user lacks the permission (`EX_NOPERM` of sysexits.h).
const EX_NOPERM: u8 = 77;
/// Exit status: the configuration is invalid (`EX_CONFIG` of sysexits.h).
const EX_CONFIG: u8 = 78;

/// The default configuration directory.
const DEFAULT_CONFIG: &str = "/etc/distomon/network";

/// A distributed network monitor: every host probes the others and signs its observations
#[derive(Debug, Parser)]
#[command(name = "distomon", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of all subcommands.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// The directory with nodeconf.yml, or that file under another name
    #[arg(long, global = true, value_name = "DIR|FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The directory for keys and sequence numbers [default: $STATE_DIRECTORY; otherwise, for /etc/distomon/NAME,
    /// /var/lib/distomon/NAME if it exists; otherwise state/ in the configuration directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

impl Global {
    /// Returns the state directory: that of --state, of systemd, of the installed service, or in the configuration
    /// directory.
    pub fn state_dir(&self) -> PathBuf {
        let from_systemd = || {
            // systemd separates directories by colons; the state is in the first.
            let paths = std::env::var_os("STATE_DIRECTORY")?;
            std::env::split_paths(&paths).next().filter(|path| !path.as_os_str().is_empty())
        };
        let given = self.state.clone().or_else(from_systemd);
        given.or_else(|| self.of_service("/var/lib/distomon/", "")).unwrap_or_else(|| {
            let (dir, _) = crate::config::locate(&self.config);
            dir.join("state")
        })
    }

    /// Returns the directory of credentials of this process, or of the running service.
    pub fn credentials_dir(&self) -> Option<PathBuf> {
        let given = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty());
        given.map(PathBuf::from).or_else(|| self.of_service("/run/credentials/distomon@", ".service"))
    }

    /// Returns the existing path `before` + instance + `after` of the installed service with this configuration, so that
    /// commands of an administrator use the same files. The user need not have access to the directory itself.
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

/// Returns the definition of the command line, from which man pages and completions are generated.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Includes --help and --version. A failure to print cannot be reported.
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

/// Prints `text` to standard output. If the reader has closed it, the rest is not needed.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

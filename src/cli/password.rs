//! `distomon password`: shows or replaces the login password that an instance made for itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::error::CliError;
use super::{EX_CANTCREAT, EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE, Global, instance};
use crate::config::{self, ConfigErrors, LoginConfig, login};
use crate::mesh::id::is_name;

/// Show the login password that the service made
///
/// Where nodeconf.yml has no password, the service makes one at its first start and keeps it with its state, for
/// itself and root alone. The user name is admin. With --new another takes its place; once the service has
/// reloaded, the old one and the sessions that were opened with it end. Nothing but the password is printed to
/// standard output. Exit status 0, 64 for a name that is none, 69 where there is no password to show, 73 where
/// nothing can be written, 77 for state that this user may not read, 78 for a configuration with mistakes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instance, as network for distomon@network: short for --config /etc/distomon/INSTANCE
    instance: Option<String>,
    /// Make a new password first
    #[arg(long)]
    new: bool,
}

/// Prints the password.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let shown = of_instance(args, global).and_then(|global| password(args, &global));
    match shown {
        Ok(password) => {
            super::print(&format!("{}\n", *password));
            ExitCode::SUCCESS
        }
        Err(error) => error.report("password"),
    }
}

/// `global` for the instance that `args` names.
fn of_instance(args: &Args, global: &Global) -> Result<Global, CliError> {
    let mut config = global.config.clone();
    if let Some(name) = &args.instance {
        if !is_name(name) {
            let message =
                format!("{name}: expected the name of an instance; for its directory say --config {name}");
            return Err(CliError::new(EX_USAGE, message));
        }
        if config != Path::new(super::DEFAULT_CONFIG) {
            return Err(CliError::new(EX_USAGE, "expected an instance or --config, found both"));
        }
        config = PathBuf::from(instance::INSTALLED).join(name);
    }
    Ok(Global { config, state: global.state.clone() })
}

fn password(args: &Args, global: &Global) -> Result<zeroize::Zeroizing<String>, CliError> {
    let config = config::load(&global.config).map_err(|errors| refused(&errors))?;
    let state_dir = global.state_dir();
    let credentials_dir = global.credentials_dir();
    let login = login::load(config.login, &config.dir, credentials_dir.as_deref(), &state_dir);
    check_own(&login.map_err(|errors| refused(&errors))?, &config.dir)?;
    let kept = login::load_generated(&state_dir).map_err(|errors| refused(&errors))?;
    let Some(kept) = kept else {
        let message = format!(
            "there is no password yet: {} does not exist, the service makes it at its first start: {}",
            login::generated_path(&state_dir).display(),
            service(&config.dir, "start")
        );
        return Err(CliError::new(EX_UNAVAILABLE, message));
    };
    if !args.new {
        return Ok(kept.plain);
    }
    let new = login::regenerate(&state_dir).map_err(|error| {
        let path = login::generated_path(&state_dir);
        let status = match error.kind() {
            io::ErrorKind::PermissionDenied => EX_NOPERM,
            _ => EX_CANTCREAT,
        };
        CliError::new(status, format!("writing {}: {error}", path.display()))
    })?;
    eprintln!("until the service has reloaded, the old one holds: {}", service(&config.dir, "reload"));
    Ok(new.plain)
}

/// A password can be shown only if the instance made it itself.
fn check_own(login: &LoginConfig, dir: &Path) -> Result<(), CliError> {
    let dir = dir.display();
    let message = match login {
        LoginConfig::Generated(_) => return Ok(()),
        LoginConfig::Configured(password) if password.is_costly() => format!(
            "{dir}/nodeconf.yml has a login_password_hash, from which no password can be told: whoever set it \
             knows it; to have one made that can be shown, remove that key and reload the service"
        ),
        LoginConfig::Configured(_) => format!("the password is in {dir}/nodeconf.yml: login_password"),
        LoginConfig::Credential(_, path) => {
            format!("the password is in {}, where its administrator put it", path.display())
        }
        LoginConfig::Off => format!("nobody can log in: {dir}/nodeconf.yml says login: false"),
    };
    Err(CliError::new(EX_UNAVAILABLE, message))
}

/// How to have the service of `dir` do something.
fn service(dir: &Path, what: &str) -> String {
    match (instance::installed(dir), what) {
        (Some(name), _) => format!("systemctl {what} distomon@{name}"),
        (None, "start") => format!("distomon run --config {}", dir.display()),
        (None, _) => "send it SIGHUP".to_owned(),
    }
}

/// Mistakes of the configuration, or that this user may not read it.
fn refused(errors: &ConfigErrors) -> CliError {
    let text = errors.to_string();
    if errors.is_permission_denied() && !rustix::process::geteuid().is_root() {
        return CliError::new(EX_NOPERM, format!("{text}\ntry it with sudo"));
    }
    CliError::new(EX_CONFIG, text)
}

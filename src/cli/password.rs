//! `distomon password`: shows or replaces the login password that the service generated.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::error::CliError;
use super::{EX_CANTCREAT, EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE, Global, instance};
use crate::config::{self, ConfigErrors, LoginConfig, login};
use crate::mesh::id::is_name;

/// Show the login password that the service generated
///
/// If nodeconf.yml has no password, the service generates one at its first start and stores it in its state directory,
/// readable only by the service and root. The user is admin. --new replaces the password; after the next reload of the
/// service, the old password and its sessions are invalid. Standard output contains only the password. Exit status 0,
/// 64 for an invalid name, 69 without a generated password, 73 for a file that cannot be written, 77 for a lack of
/// permission, 78 for an invalid configuration.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instance, for example network for distomon@network; short for --config /etc/distomon/INSTANCE
    instance: Option<String>,
    /// Generate a new password first
    #[arg(long)]
    new: bool,
}

/// Prints the password.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let shown = for_instance(args, global).and_then(|global| password(args, &global));
    match shown {
        Ok(password) => {
            super::print(&format!("{}\n", *password));
            ExitCode::SUCCESS
        }
        Err(error) => error.report("password"),
    }
}

/// Returns `global` with the configuration of the instance in `args`.
fn for_instance(args: &Args, global: &Global) -> Result<Global, CliError> {
    let mut config = global.config.clone();
    if let Some(name) = &args.instance {
        if !is_name(name) {
            let message =
                format!("{name}: expected the name of an instance; for a directory, use --config {name}");
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
    let config = config::load(&global.config).map_err(|errors| config_error(&errors))?;
    let state_dir = global.state_dir();
    let credentials_dir = global.credentials_dir();
    let login = login::load(config.login, &config.dir, credentials_dir.as_deref(), &state_dir);
    check_generated(&login.map_err(|errors| config_error(&errors))?, &config.dir)?;
    let generated = login::load_generated(&state_dir).map_err(|errors| config_error(&errors))?;
    let Some(generated) = generated else {
        let message = format!(
            "no password yet: {} does not exist; the service generates it at its first start: {}",
            login::generated_path(&state_dir).display(),
            service_command(&config.dir, "start")
        );
        return Err(CliError::new(EX_UNAVAILABLE, message));
    };
    if !args.new {
        return Ok(generated.plain);
    }
    let new = login::regenerate(&state_dir).map_err(|error| {
        let path = login::generated_path(&state_dir);
        let status = match error.kind() {
            io::ErrorKind::PermissionDenied => EX_NOPERM,
            _ => EX_CANTCREAT,
        };
        CliError::new(status, format!("writing {}: {error}", path.display()))
    })?;
    eprintln!(
        "the old password is valid until the service reloads: {}",
        service_command(&config.dir, "reload")
    );
    Ok(new.plain)
}

/// Returns an error that names the source of the password unless the service generates it.
fn check_generated(login: &LoginConfig, dir: &Path) -> Result<(), CliError> {
    let dir = dir.display();
    let message = match login {
        LoginConfig::Generated(_) => return Ok(()),
        LoginConfig::Configured(password) if password.is_costly() => format!(
            "{dir}/nodeconf.yml has a login_password_hash, which does not reveal the password; to use a generated \
             password instead, remove that key and reload the service"
        ),
        LoginConfig::Configured(_) => format!("the password is in {dir}/nodeconf.yml: login_password"),
        LoginConfig::Credential(_, path) => {
            format!("the password is in the credential {}", path.display())
        }
        LoginConfig::Off => format!("login is disabled: {dir}/nodeconf.yml has login: false"),
    };
    Err(CliError::new(EX_UNAVAILABLE, message))
}

/// Returns the command that starts or reloads the service of `dir`.
fn service_command(dir: &Path, action: &str) -> String {
    match (instance::installed(dir), action) {
        (Some(name), _) => format!("systemctl {action} distomon@{name}"),
        (None, "start") => format!("distomon run --config {}", dir.display()),
        (None, _) => "send it SIGHUP".to_owned(),
    }
}

/// Converts errors of the configuration, with advice if this user lacks the permission to read it.
fn config_error(errors: &ConfigErrors) -> CliError {
    let text = errors.to_string();
    if errors.is_permission_denied() && !rustix::process::geteuid().is_root() {
        return CliError::new(EX_NOPERM, format!("{text}\nuse sudo"));
    }
    CliError::new(EX_CONFIG, text)
}

//! `distomon check`: validates the configuration and the keys.

use std::process::ExitCode;

use super::{EX_CONFIG, Global};
use crate::config::{self, Config, LoginConfig, Network, OwnKey};

/// Check the configuration and the keys without changing anything
///
/// Prints a line for each network, or every error of all files as path:line:column: key: message.
/// Exit status 0 if the configuration is valid, otherwise 78.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Prints the result and returns 0 or 78.
pub(super) fn run(_: &Args, global: &Global) -> ExitCode {
    let credentials = global.credentials_dir();
    match config::inspect(&global.config, credentials.as_deref(), &global.state_dir()) {
        Ok((config, keys)) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            super::print(&summary(&config, &keys));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(EX_CONFIG)
        }
    }
}

fn summary(config: &Config, keys: &[Option<OwnKey>]) -> String {
    let lines = config.networks.iter().zip(keys).map(|(network, key)| line(network, key.as_ref()));
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    let login = match &config.login {
        LoginConfig::Configured(password) if password.is_costly() => "password hash in nodeconf.yml",
        LoginConfig::Configured(_) => "password in nodeconf.yml",
        LoginConfig::Credential(..) => "password from a credential",
        LoginConfig::Generated(Some(_)) => "generated password (distomon password shows it)",
        LoginConfig::Generated(None) => "password generated at the first start (distomon password shows it)",
        LoginConfig::Off => "disabled",
    };
    lines.collect::<String>() + &format!("ok: listens on {}, login: {login}\n", listen.join(", "))
}

fn line(network: &Network, key: Option<&OwnKey>) -> String {
    let membership = &network.membership;
    let members = membership.members();
    let with_key = members.iter().filter(|member| !member.keys.is_empty()).count();
    let key = match key {
        Some(key) => format!("key {} in {}", key.keypair.public().fingerprint(), key.path.display()),
        None => "its key will be generated at the first start".into(),
    };
    format!(
        "ok: {}: this is {} of {} {}, {with_key} with a public key; {key}\n",
        membership.network_id(),
        membership.own().id,
        members.len(),
        if members.len() == 1 { "node" } else { "nodes" },
    )
}

//! The configured instance on this host: the address of its node, and tokens signed with its key, so that a user with
//! access to the key needs no password. This module only reads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::CliError;
use super::{EX_CONFIG, EX_NOPERM, EX_USAGE, Global, key};
use crate::config::{self, Config, ConfigErrors, LoginConfig, keys};
use crate::crypto::Keypair;
use crate::crypto::token::{self, Claims};

/// The parent directory of the configuration directories of installed instances.
pub(super) const INSTALLED: &str = "/etc/distomon";

/// A configured instance.
pub(super) struct Instance {
    config: Config,
    credentials_dir: Option<PathBuf>,
    state_dir: PathBuf,
}

impl Instance {
    /// Loads the configuration.
    pub(super) fn open(global: &Global) -> Result<Self, CliError> {
        let config = config::load(&global.config).map_err(|errors| config_error(&errors))?;
        Ok(Self { config, credentials_dir: global.credentials_dir(), state_dir: global.state_dir() })
    }

    /// Returns an error if login is disabled, since the node then accepts no token.
    pub(super) fn check_login(&self) -> Result<(), CliError> {
        if !matches!(self.config.login, LoginConfig::Off) {
            return Ok(());
        }
        let message = format!(
            "the node of {} has no login, so it accepts no token: remove login: false from its nodeconf.yml and \
             reload the service",
            self.config.dir.display()
        );
        Err(CliError::new(EX_CONFIG, message))
    }

    /// Returns the id of the network with the id or directory `name`.
    pub(super) fn network_id(&self, name: &str) -> Result<String, CliError> {
        let network =
            key::find_network(&self.config, name).map_err(|message| CliError::new(EX_USAGE, message))?;
        Ok(network.membership.network_id().to_string())
    }

    /// Returns a signer of tokens for `network`, or for all networks with the key of the first.
    pub(super) fn signer(&self, network: Option<&str>) -> Result<Signer, CliError> {
        let named = network.map(|name| key::find_network(&self.config, name)).transpose();
        let named = named.map_err(|message| CliError::new(EX_USAGE, message))?;
        let audience = match named {
            Some(network) => vec![network.membership.network_id().to_string()],
            None => {
                self.config.networks.iter().map(|each| each.membership.network_id().to_string()).collect()
            }
        };
        let Some(network) = named.or_else(|| self.config.networks.first()) else {
            return Err(CliError::new(EX_CONFIG, "the configuration has no network"));
        };
        let (dir, credentials) = (&self.config.dir, self.credentials_dir.as_deref());
        let membership = &network.membership;
        let found = keys::load(dir, credentials, &self.state_dir, membership);
        let Some(found) = found.map_err(|errors| config_error(&errors))? else {
            let message = format!(
                "{} in {} has no key yet: expected one in {}; start the service or run distomon key generate",
                membership.own().id,
                membership.network_id(),
                keys::state_path(&self.state_dir, membership.network_id(), &membership.own().id).display()
            );
            return Err(CliError::new(EX_CONFIG, message));
        };
        let (network_id, node_id) = (membership.network_id().to_string(), membership.own().id.to_string());
        Ok(Signer { keypair: found.keypair, network_id, node_id, audience })
    }

    /// Returns the URL of the node on this host.
    pub(super) fn url(&self) -> Result<String, CliError> {
        let address = local_address(&self.config.listen).ok_or_else(|| {
            let message =
                "`listen` in nodeconf.yml has port 0, any free one: give the address of the node with --url";
            CliError::new(EX_CONFIG, message)
        })?;
        Ok(format!("http://{address}"))
    }

    /// Returns the next step if the node does not answer.
    pub(super) fn advice(&self) -> String {
        advice(&self.config.dir)
    }
}

/// Signer of tokens with the key of this host's node in one network.
pub(super) struct Signer {
    keypair: Keypair,
    network_id: String,
    node_id: String,
    audience: Vec<String>,
}

impl Signer {
    /// Returns a token that expires after `lifetime_s` seconds.
    pub(super) fn token(&self, lifetime_s: u64) -> Result<String, CliError> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let kid = format!("{}/{}", self.network_id, self.node_id);
        let token =
            token::sign(&self.keypair, &kid, &Claims::new(&self.node_id, &self.audience, now_s, lifetime_s));
        if token.len() > token::MAX_TOKEN {
            let message = format!(
                "a token for {} networks exceeds the limit of {} bytes: select one network",
                self.audience.len(),
                token::MAX_TOKEN
            );
            return Err(CliError::new(EX_USAGE, message));
        }
        Ok(token)
    }
}

/// Returns the name of the installed instance with the configuration directory `dir`.
pub(super) fn installed(dir: &Path) -> Option<String> {
    let mut rest = dir.strip_prefix(INSTALLED).ok()?.components();
    match (rest.next(), rest.next()) {
        (Some(Component::Normal(name)), None) => name.to_str().map(str::to_owned),
        _ => None,
    }
}

/// Returns the address to use on this host: one that is reachable by loopback, if any.
fn local_address(listen: &[SocketAddr]) -> Option<SocketAddr> {
    let near = |address: &&SocketAddr| address.ip().is_unspecified() || address.ip().is_loopback();
    let mut address = *listen.iter().find(near).or_else(|| listen.first())?;
    if address.ip().is_unspecified() {
        // [::] also serves IPv4, and the host may lack IPv6.
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    (address.port() != 0).then_some(address)
}

fn advice(dir: &Path) -> String {
    match installed(dir) {
        Some(name) => format!("systemctl status distomon@{name}; journalctl -u distomon@{name}"),
        None => format!("start it: distomon run --config {}", dir.display()),
    }
}

/// Converts errors of the configuration, with advice if this user lacks the permission to read it.
fn config_error(errors: &ConfigErrors) -> CliError {
    let text = errors.to_string();
    if errors.is_permission_denied() && !rustix::process::geteuid().is_root() {
        let hint =
            "use sudo, or fetch a token with a password: distomon token --url URL --password-file FILE";
        return CliError::new(EX_NOPERM, format!("{text}\n{hint}"));
    }
    CliError::new(EX_CONFIG, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_loopback_addresses() {
        let check = |listen: &[&str], expected: Option<&str>| {
            let listen: Vec<SocketAddr> =
                listen.iter().map(|text| text.parse().expect("an address")).collect();
            assert_eq!(
                local_address(&listen).map(|address| address.to_string()).as_deref(),
                expected,
                "{listen:?}"
            );
        };
        check(&["[::]:8000"], Some("127.0.0.1:8000"));
        check(&["0.0.0.0:81"], Some("127.0.0.1:81"));
        check(&["10.0.0.1:8000"], Some("10.0.0.1:8000"));
        check(&["10.0.0.1:8000", "[::1]:8001"], Some("[::1]:8001"));
        check(&["10.0.0.1:8000", "127.0.0.3:8002"], Some("127.0.0.3:8002"));
        check(&["127.0.0.1:0"], None);
        check(&[], None);
    }

    #[test]
    fn advice_for_installed_and_other_instances() {
        let check = |dir: &str, name: Option<&str>, expected: &str| {
            assert_eq!(installed(Path::new(dir)).as_deref(), name, "{dir}");
            assert_eq!(advice(Path::new(dir)), expected, "{dir}");
        };
        let unit = "systemctl status distomon@lan; journalctl -u distomon@lan";
        check("/etc/distomon/lan", Some("lan"), unit);
        check("/etc/distomon/lan/", Some("lan"), unit);
        check("/etc/distomon", None, "start it: distomon run --config /etc/distomon");
        check("/etc/distomon/..", None, "start it: distomon run --config /etc/distomon/..");
        check("/srv/lan", None, "start it: distomon run --config /srv/lan");
    }
}

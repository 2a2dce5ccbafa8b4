//! The instance on this host, as its configuration tells: where its node answers, and tokens signed with its
//! key. Whoever may read the key needs no password. Nothing is written, and no key is made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::CliError;
use super::{EX_CONFIG, EX_NOPERM, EX_USAGE, Global, key};
use crate::config::{self, Config, ConfigErrors, LoginConfig, keys};
use crate::crypto::Keypair;
use crate::crypto::token::{self, Claims};

/// Where the package keeps the configuration of each instance.
pub(super) const INSTALLED: &str = "/etc/distomon";

/// A configured instance.
pub(super) struct Instance {
    config: Config,
    credentials_dir: Option<PathBuf>,
    state_dir: PathBuf,
}

impl Instance {
    /// Reads the configuration.
    pub(super) fn open(global: &Global) -> Result<Self, CliError> {
        let config = config::load(&global.config).map_err(|errors| unreadable(&errors))?;
        Ok(Self { config, credentials_dir: global.credentials_dir(), state_dir: global.state_dir() })
    }

    /// A node without a login takes no token, however well it is signed.
    pub(super) fn check_login(&self) -> Result<(), CliError> {
        if !matches!(self.config.login, LoginConfig::Off) {
            return Ok(());
        }
        let message = format!(
            "the node of {} has no login, so it takes no token: remove login: false from its nodeconf.yml and \
             reload it",
            self.config.dir.display()
        );
        Err(CliError::new(EX_CONFIG, message))
    }

    /// The id of the network that is called `name`, by its id or its directory.
    pub(super) fn network_id(&self, name: &str) -> Result<String, CliError> {
        let network = key::named(&self.config, name).map_err(|message| CliError::new(EX_USAGE, message))?;
        Ok(network.membership.network_id().to_string())
    }

    /// What signs tokens for `network` alone, or for all networks as the node of the first.
    pub(super) fn signer(&self, network: Option<&str>) -> Result<Signer, CliError> {
        let named = network.map(|name| key::named(&self.config, name)).transpose();
        let named = named.map_err(|message| CliError::new(EX_USAGE, message))?;
        let audience = match named {
            Some(network) => vec![network.membership.network_id().to_string()],
            None => {
                self.config.networks.iter().map(|each| each.membership.network_id().to_string()).collect()
            }
        };
        let Some(network) = named.or_else(|| self.config.networks.first()) else {
            return Err(CliError::new(EX_CONFIG, "the configuration names no network"));
        };
        let (dir, credentials) = (&self.config.dir, self.credentials_dir.as_deref());
        let membership = &network.membership;
        let found = keys::load(dir, credentials, &self.state_dir, membership);
        let Some(found) = found.map_err(|errors| unreadable(&errors))? else {
            let message = format!(
                "{} in {} has no key yet: expected one in {}; the node makes it at its first start, or \
                 distomon key generate does",
                membership.own().id,
                membership.network_id(),
                keys::state_path(&self.state_dir, membership.network_id(), &membership.own().id).display()
            );
            return Err(CliError::new(EX_CONFIG, message));
        };
        let (network_id, node_id) = (membership.network_id().to_string(), membership.own().id.to_string());
        Ok(Signer { keypair: found.keypair, network_id, node_id, audience })
    }

    /// Where the node answers on this host.
    pub(super) fn url(&self) -> Result<String, CliError> {
        let address = local(&self.config.listen).ok_or_else(|| {
            let message =
                "listen in nodeconf.yml leaves the port to chance: say where the node is with --url";
            CliError::new(EX_CONFIG, message)
        })?;
        Ok(format!("http://{address}"))
    }

    /// How to find out why the node does not answer.
    pub(super) fn advice(&self) -> String {
        advice(&self.config.dir)
    }
}

/// The key of this host's node in one network, to sign tokens.
pub(super) struct Signer {
    keypair: Keypair,
    network_id: String,
    node_id: String,
    audience: Vec<String>,
}

impl Signer {
    /// A token that ends after `lifetime_s`.
    pub(super) fn token(&self, lifetime_s: u64) -> Result<String, CliError> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let kid = format!("{}/{}", self.network_id, self.node_id);
        let token =
            token::sign(&self.keypair, &kid, &Claims::new(&self.node_id, &self.audience, now_s, lifetime_s));
        if token.len() > token::MAX_TOKEN {
            let message = format!(
                "a token for {} networks is longer than {} bytes, which no node takes: name one network",
                self.audience.len(),
                token::MAX_TOKEN
            );
            return Err(CliError::new(EX_USAGE, message));
        }
        Ok(token)
    }
}

/// The name of the instance whose configuration is in `dir`, if that is where the package has it.
pub(super) fn installed(dir: &Path) -> Option<String> {
    let mut rest = dir.strip_prefix(INSTALLED).ok()?.components();
    match (rest.next(), rest.next()) {
        (Some(Component::Normal(name)), None) => name.to_str().map(str::to_owned),
        _ => None,
    }
}

/// Which of the addresses to use on this host: one that answers on loopback, if any does.
fn local(listen: &[SocketAddr]) -> Option<SocketAddr> {
    let near = |address: &&SocketAddr| address.ip().is_unspecified() || address.ip().is_loopback();
    let mut address = *listen.iter().find(near).or_else(|| listen.first())?;
    if address.ip().is_unspecified() {
        // [::] serves IPv4 as well, and a host may lack IPv6.
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

/// Mistakes of the configuration, or that this user may not read it.
fn unreadable(errors: &ConfigErrors) -> CliError {
    let text = errors.to_string();
    if errors.is_permission_denied() && !rustix::process::geteuid().is_root() {
        let hint = "try it with sudo; or ask for a token with a password: distomon token --url URL \
                    --password-file FILE";
        return CliError::new(EX_NOPERM, format!("{text}\n{hint}"));
    }
    CliError::new(EX_CONFIG, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_address() {
        let check = |listen: &[&str], expected: Option<&str>| {
            let listen: Vec<SocketAddr> =
                listen.iter().map(|text| text.parse().expect("an address")).collect();
            assert_eq!(local(&listen).map(|address| address.to_string()).as_deref(), expected, "{listen:?}");
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
    fn what_to_do_about_silence() {
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

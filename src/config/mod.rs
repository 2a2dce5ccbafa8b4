//! The configuration of an instance: reading and checking its YAML files, finding the keys of its nodes.
//!
//! Everything here happens before anything runs. All mistakes of all files are found in one go; what is
//! returned without mistakes can be run as it is. Only [`keys`] and [`login`] ever write, and only secrets that
//! nobody else could make.

pub mod error;
mod fields;
mod file;
pub mod keys;
pub mod login;
mod network;
mod nodeconf;
mod secret_file;
pub mod subnet;
pub mod url;
mod yaml;

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use error::{ConfigError, ConfigErrors, Position};
pub use keys::OwnKey;
pub use login::Login;
pub use nodeconf::MAX_ADDRESSES;
pub use subnet::Subnet;
pub use url::NodeUrl;

use crate::mesh::id::NetworkId;
use crate::mesh::membership::Membership;
use error::Page;
use file::FileError;
use nodeconf::{NetworkEntry, Nodeconf};

/// The port to listen on when neither `listen` nor the node's own url names one; v0.1's port.
const DEFAULT_PORT: u16 = 8000;

/// A whole and sound configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that holds `networks/`.
    pub dir: PathBuf,
    /// Where to listen, at least one address: as configured, else on all addresses and the port of the
    /// own nodes' urls ([`NodeUrl::listen_port`]).
    pub listen: Vec<SocketAddr>,
    /// How one logs in.
    pub login: Login,
    /// Proxies, which may connect without limit and whose word about the caller's address counts.
    pub trusted_proxies: Vec<Subnet>,
    /// The networks in the order of nodeconf.yml, at least one.
    pub networks: Vec<Network>,
    /// What is allowed and yet surprising, one line each.
    pub warnings: Vec<String>,
}

/// A network of this instance.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its directory under `networks/`.
    pub name: String,
    /// Its nodes, seen from this host's.
    pub membership: Membership,
}

/// Reads the configuration at `source`: a directory with nodeconf.yml, or that file under any name.
pub fn load(source: &Path) -> Result<Config, ConfigErrors> {
    let Draft { config, errors } = Draft::read(source)?;
    if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
}

/// Reads the configuration and looks for the private keys of its nodes and the password, changing nothing. None
/// stands for a key that will be made at the first start. The memberships know the keys that were found.
pub fn inspect(
    source: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
) -> Result<(Config, Vec<Option<OwnKey>>), ConfigErrors> {
    let Draft { mut config, mut errors } = Draft::read(source)?;
    let mut keys = Vec::new();
    for network in &mut config.networks {
        match keys::look(&config.dir, credentials_dir, state_dir, &network.membership) {
            Ok(key) => {
                if let Some(key) = &key {
                    network.membership = key.membership.clone();
                    config.warnings.extend(key.warnings.iter().cloned());
                }
                keys.push(key);
            }
            Err(ConfigErrors(more)) => errors.extend(more),
        }
    }
    match login::look(std::mem::take(&mut config.login), &config.dir, credentials_dir, state_dir) {
        Ok(login) => config.login = login,
        Err(ConfigErrors(more)) => errors.extend(more),
    }
    if errors.is_empty() { Ok((config, keys)) } else { Err(ConfigErrors(errors)) }
}

/// As [`inspect`], and then makes the keys that are missing: only once nothing else is wrong.
pub fn prepare(
    source: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
) -> Result<(Config, Vec<OwnKey>), ConfigErrors> {
    let (Config { login, .. }, _) = inspect(source, credentials_dir, state_dir)?;
    let mut config = Config { login, ..load(source)? };
    let mut keys = Vec::new();
    let mut errors = Vec::new();
    for network in &mut config.networks {
        match keys::find(&config.dir, credentials_dir, state_dir, &network.membership) {
            Ok(key) => {
                network.membership = key.membership.clone();
                config.warnings.extend(key.warnings.iter().cloned());
                keys.push(key);
            }
            Err(ConfigErrors(more)) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok((config, keys)) } else { Err(ConfigErrors(errors)) }
}

/// The keys that nodeconf.yml may have, as the manual writes them: `networks[].name`.
pub fn nodeconf_keys() -> Vec<String> {
    let of_entry = nodeconf::MEMBERSHIP_KEYS.iter().map(|key| format!("networks[].{key}"));
    nodeconf::KEYS.iter().map(ToString::to_string).chain(of_entry).collect()
}

/// The keys that config.yml may have: `defaults.retry`, `node_config[].url`.
pub fn network_keys() -> Vec<String> {
    let defaults = network::DEFAULTS_KEYS.iter().map(|key| format!("defaults.{key}"));
    let of_node = network::NODE_KEYS.iter().map(|key| format!("node_config[].{key}"));
    network::KEYS.iter().map(ToString::to_string).chain(defaults).chain(of_node).collect()
}

/// The directory of the configuration at `source`, and its nodeconf.yml.
pub fn locate(source: &Path) -> (PathBuf, PathBuf) {
    if source.is_dir() {
        return (source.to_owned(), source.join("nodeconf.yml"));
    }
    let parent = source.parent().filter(|parent| !parent.as_os_str().is_empty());
    (parent.unwrap_or(Path::new(".")).to_owned(), source.to_owned())
}

/// What to do about a nodeconf.yml that cannot be read.
const CLOSED: &str = ": expected a file that the service may read, whose user owns nothing (chmod 644); a password \
    belongs into .private_keys/login_password beside it, which systemd hands over";

/// What was read, sound only if `errors` is empty.
struct Draft {
    config: Config,
    errors: Vec<ConfigError>,
}

impl Draft {
    /// Err only if there is no nodeconf.yml to begin with.
    fn read(source: &Path) -> Result<Self, ConfigErrors> {
        let (dir, path) = locate(source);
        let contents = file::read(&path, yaml::MAX_FILE).map_err(|error| {
            let hint = match error {
                FileError::Missing => {
                    ": expected a directory with nodeconf.yml, or that file; \
                                       \"distomon init\" makes one"
                }
                FileError::Io(ref error) if error.kind() == ErrorKind::PermissionDenied => CLOSED,
                _ => "",
            };
            ConfigErrors::whole_file(&path, format!("{error}{hint}"))
        })?;
        let mut page = Page::new(path);
        let open_to_others = is_open_to_others(&contents.metadata);
        let nodeconf = match parse(&contents.bytes, &mut page) {
            Some(root) => nodeconf::read(&root, open_to_others, &mut page),
            None => Nodeconf::default(),
        };
        let mut reading = Networks { nodeconf: page, pages: Vec::new(), sound: Vec::new(), ids: Vec::new() };
        for membership in &nodeconf.networks {
            reading.read(&dir, membership);
        }
        let Networks { nodeconf: mut page, pages, sound: networks, .. } = reading;
        let listen = listen(&nodeconf, &networks, &mut page);
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for page in std::iter::once(page).chain(pages) {
            let (more_errors, more_warnings) = page.into_sorted();
            errors.extend(more_errors);
            warnings.extend(more_warnings);
        }
        let Nodeconf { login, trusted_proxies, .. } = nodeconf;
        Ok(Self { config: Config { dir, listen, login, trusted_proxies, networks, warnings }, errors })
    }
}

/// The reading of all networks that a nodeconf.yml names.
struct Networks {
    nodeconf: Page,
    pages: Vec<Page>,
    sound: Vec<Network>,
    ids: Vec<(NetworkId, PathBuf)>,
}

impl Networks {
    fn read(&mut self, dir: &Path, entry: &NetworkEntry) {
        let dir = dir.join("networks").join(&entry.name);
        let mut page = Page::new(dir.join("config.yml"));
        let contents = match file::read(&page.path, yaml::MAX_FILE) {
            Ok(contents) => contents,
            Err(FileError::Missing) if !entry.local => return,
            Err(error) => {
                let message = format!("{}: {error}", page.path.display());
                self.nodeconf.error(entry.name_at, &format!("{}.name", entry.key), message);
                return;
            }
        };
        if let Some(root) = parse(&contents.bytes, &mut page) {
            let file = network::read(&root, &dir, &mut page);
            self.add(entry, file, &mut page);
        }
        self.pages.push(page);
    }

    fn add(&mut self, entry: &NetworkEntry, file: network::NetworkFile, page: &mut Page) {
        if let Some((id, at)) = &file.network_id {
            if let Some((_, other)) = self.ids.iter().find(|(other, _)| other == id) {
                let message =
                    format!("{id} is the network of {} already: each needs its own", other.display());
                page.error(*at, "network_id", message);
            } else {
                self.ids.push((id.clone(), page.path.clone()));
            }
        }
        let Some((me, at)) = &entry.node_id else { return };
        network::warn(&file, me, page);
        if !file.members.iter().any(|member| member.id == *me) {
            // A name that was not understood may have been this one: it was noted, and that is enough.
            if file.complete {
                let ids: Vec<_> = file.members.iter().map(|member| member.id.as_str()).collect();
                let (listed, near) = (ids.join(", "), fields::nearest(me.as_str(), &ids));
                let meant = match near {
                    Some(near) if listed.len() > 60 => format!("did you mean {near}?"),
                    _ => format!("it has {}", yaml::short(&listed)),
                };
                let message = format!("{me} is not in node_config of {}: {meant}", page.path.display());
                self.nodeconf.error(*at, &format!("{}.node_id", entry.key), message);
            }
            return;
        }
        if let Some((id, _)) = file.network_id {
            let membership = Membership::new(id, file.members, me)
                .map(|membership| membership.with_observers(file.observers));
            self.sound.extend(membership.map(|membership| Network { name: entry.name.clone(), membership }));
        }
    }
}

/// Where to listen: as `nodeconf` says, else at the port of the own urls, which must be one port.
fn listen(nodeconf: &Nodeconf, networks: &[Network], page: &mut Page) -> Vec<SocketAddr> {
    if !nodeconf.listen.is_empty() {
        return nodeconf.listen.clone();
    }
    let port = |network: &Network| {
        let url = NodeUrl::parse(network.membership.own().url.as_deref()?).ok()?;
        Some((network.name.clone(), url.listen_port()))
    };
    let ports: Vec<_> = networks.iter().filter_map(port).collect();
    if let (Some((name, first)), Some(at)) = (ports.first(), nodeconf.networks_at) {
        if let Some((other_name, other)) = ports.iter().find(|(_, port)| port != first) {
            let message = format!(
                "the own url has port {first} in {name} and port {other} in {other_name}: say where to listen \
                 (listen: \"[::]:{first}\")"
            );
            page.error(at, "listen", message);
        }
    }
    let port = ports.first().map_or(DEFAULT_PORT, |(_, port)| *port);
    vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]
}

fn parse(bytes: &[u8], page: &mut Page) -> Option<yaml::Node> {
    match std::str::from_utf8(bytes) {
        Ok(text) => yaml::parse(text, page),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let at = Position {
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            };
            page.error(at, "", "expected UTF-8 text, found other bytes");
            None
        }
    }
}

/// Whether users outside of the file's group may read it.
fn is_open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o004 != 0
}

//! The configuration of an instance: its YAML files, the keys of its nodes and its login password.
//!
//! All errors of all files are reported together. Only [`keys`] and [`login`] write files: the secrets that they generate,
//! and the permissions of keys of v0.1.

pub mod error;
mod fields;
mod file;
pub mod keys;
pub mod login;
mod network;
mod nodeconf;
mod secret_file;
pub mod url;
mod yaml;

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use error::{ConfigError, ConfigErrors, Position};
pub use keys::OwnKey;
pub use login::LoginConfig;
pub use nodeconf::MAX_LISTEN_ADDRESSES;
pub use url::NodeUrl;

use crate::mesh::id::{NetworkId, NodeId};
use crate::mesh::membership::Membership;
use crate::subnet::Subnet;
use error::Diagnostics;
use file::FileError;
use network::NetworkFile;
use nodeconf::{NetworkEntry, Nodeconf};

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that contains `networks/`.
    pub dir: PathBuf,
    /// The addresses to listen on, at least one: `listen`, or all addresses with the port of this host's urls
    /// ([`NodeUrl::listen_port`]).
    pub listen: Vec<SocketAddr>,
    /// The source of the login password.
    pub login: LoginConfig,
    /// The proxies that are trusted to name the client's address, and that are exempt from connection limits.
    pub trusted_proxies: Vec<Subnet>,
    /// The networks in the order of nodeconf.yml, at least one.
    pub networks: Vec<Network>,
    /// Warnings for the administrator, one line each.
    pub warnings: Vec<String>,
}

/// A network of this instance.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its directory under `networks/`.
    pub name: String,
    /// Its nodes, with this host's node as the own one.
    pub membership: Membership,
}

/// Reads the configuration at `source`: a directory with nodeconf.yml, or that file under any name.
pub fn load(source: &Path) -> Result<Config, ConfigErrors> {
    let Parsed { config, errors } = Parsed::read(source)?;
    if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
}

/// Reads the configuration, the private keys of its nodes and the login password, and changes nothing. Returns `None`
/// for a key that [`prepare`] would generate. The memberships contain the public keys of the private keys.
pub fn inspect(
    source: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
) -> Result<(Config, Vec<Option<OwnKey>>), ConfigErrors> {
    let parsed = Parsed::read(source)?;
    let (mut config, keys) = parsed.with_secrets(credentials_dir, state_dir)?;
    for (network, key) in config.networks.iter_mut().zip(&keys) {
        if let Some(key) = key {
            network.set_key(key, &mut config.warnings);
        }
    }
    Ok((config, keys))
}

/// Does what [`inspect`] does; if there are no errors, also generates missing keys and restricts the permissions of
/// keys of v0.1.
pub fn prepare(
    source: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
) -> Result<(Config, Vec<OwnKey>), ConfigErrors> {
    let parsed = Parsed::read(source)?;
    // An error in any key must be reported before the first file is written.
    let (mut config, _) = parsed.with_secrets(credentials_dir, state_dir)?;
    let mut keys = Vec::new();
    let mut errors = Vec::new();
    for network in &mut config.networks {
        match keys::load_or_create(&config.dir, credentials_dir, state_dir, &network.membership) {
            Ok(key) => {
                network.set_key(&key, &mut config.warnings);
                keys.push(key);
            }
            Err(ConfigErrors(more)) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok((config, keys)) } else { Err(ConfigErrors(errors)) }
}

impl Network {
    fn set_key(&mut self, key: &OwnKey, warnings: &mut Vec<String>) {
        self.membership = key.membership.clone();
        warnings.extend(key.warnings.iter().cloned());
    }
}

/// Returns the valid keys of nodeconf.yml, in the notation of the manual: `networks[].name`.
pub fn nodeconf_keys() -> Vec<String> {
    let of_entry = nodeconf::NETWORK_ENTRY_KEYS.iter().map(|key| format!("networks[].{key}"));
    nodeconf::KEYS.iter().map(ToString::to_string).chain(of_entry).collect()
}

/// Returns the valid keys of config.yml, in the notation of the manual: `defaults.retry`, `node_config[].url`.
pub fn network_keys() -> Vec<String> {
    let defaults = network::DEFAULTS_KEYS.iter().map(|key| format!("defaults.{key}"));
    let of_node = network::NODE_KEYS.iter().map(|key| format!("node_config[].{key}"));
    network::KEYS.iter().map(ToString::to_string).chain(defaults).chain(of_node).collect()
}

/// Returns the directory and the nodeconf.yml of the configuration at `source`.
pub fn locate(source: &Path) -> (PathBuf, PathBuf) {
    if source.is_dir() {
        return (source.to_owned(), source.join("nodeconf.yml"));
    }
    let parent = source.parent().filter(|parent| !parent.as_os_str().is_empty());
    (parent.unwrap_or(Path::new(".")).to_owned(), source.to_owned())
}

/// The advice for a nodeconf.yml that the service cannot read.
const UNREADABLE_HINT: &str = ": expected a file that the user of the service can read (chmod 644); put a password \
    into .private_keys/login_password beside it, which systemd loads for the service";

/// A configuration with its errors; it is valid if `errors` is empty.
struct Parsed {
    config: Config,
    errors: Vec<ConfigError>,
}

impl Parsed {
    /// Reads all files. Fails if nodeconf.yml cannot be read.
    fn read(source: &Path) -> Result<Self, ConfigErrors> {
        let (dir, path) = locate(source);
        let contents = file::read(&path, yaml::MAX_FILE).map_err(|error| {
            let hint = match &error {
                FileError::Missing => {
                    ": expected a directory with nodeconf.yml, or that file; create one with \"distomon init\""
                }
                FileError::Io(error) if error.kind() == ErrorKind::PermissionDenied => UNREADABLE_HINT,
                _ => "",
            };
            ConfigErrors::in_file(&path, format!("{error}{hint}")).with_io_kind(error.io_kind())
        })?;
        let mut diagnostics = Diagnostics::new(path);
        let open_to_others = is_open_to_others(&contents.metadata);
        let nodeconf = match parse(&contents.bytes, &mut diagnostics) {
            Some(root) => nodeconf::read(&root, open_to_others, &mut diagnostics),
            None => Nodeconf::default(),
        };
        let mut reader = NetworkReader {
            nodeconf: diagnostics,
            network_files: Vec::new(),
            networks: Vec::new(),
            ids: Vec::new(),
        };
        for entry in &nodeconf.networks {
            reader.read(&dir, entry);
        }
        let NetworkReader { nodeconf: mut diagnostics, network_files, networks, .. } = reader;
        let listen = listen(&nodeconf, &networks, &mut diagnostics);
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for diagnostics in std::iter::once(diagnostics).chain(network_files) {
            let (more_errors, more_warnings) = diagnostics.into_sorted();
            errors.extend(more_errors);
            warnings.extend(more_warnings);
        }
        let Nodeconf { login, trusted_proxies, .. } = nodeconf;
        Ok(Self { config: Config { dir, listen, login, trusted_proxies, networks, warnings }, errors })
    }

    /// Loads the private keys and the login password. Returns all errors, those of the files included.
    fn with_secrets(
        self,
        credentials_dir: Option<&Path>,
        state_dir: &Path,
    ) -> Result<(Config, Vec<Option<OwnKey>>), ConfigErrors> {
        let Self { mut config, mut errors } = self;
        let mut keys = Vec::new();
        for network in &config.networks {
            match keys::load(&config.dir, credentials_dir, state_dir, &network.membership) {
                Ok(key) => keys.push(key),
                Err(ConfigErrors(more)) => errors.extend(more),
            }
        }
        match login::load(std::mem::take(&mut config.login), &config.dir, credentials_dir, state_dir) {
            Ok(login) => config.login = login,
            Err(ConfigErrors(more)) => errors.extend(more),
        }
        if errors.is_empty() { Ok((config, keys)) } else { Err(ConfigErrors(errors)) }
    }
}

/// The reader of the networks that a nodeconf.yml lists.
struct NetworkReader {
    nodeconf: Diagnostics,
    /// The diagnostics of each config.yml.
    network_files: Vec<Diagnostics>,
    /// The networks without errors.
    networks: Vec<Network>,
    /// The ids of all networks with their files, to find duplicates.
    ids: Vec<(NetworkId, PathBuf)>,
}

impl NetworkReader {
    fn read(&mut self, dir: &Path, entry: &NetworkEntry) {
        let dir = dir.join("networks").join(&entry.name);
        let mut diagnostics = Diagnostics::new(dir.join("config.yml"));
        let contents = match file::read(&diagnostics.path, yaml::MAX_FILE) {
            Ok(contents) => contents,
            Err(FileError::Missing) if !entry.local => return,
            Err(error) => {
                self.nodeconf.extend(ConfigErrors(vec![ConfigError {
                    path: self.nodeconf.path.clone(),
                    at: Some(entry.name_at),
                    key: format!("{}.name", entry.key),
                    message: format!("{}: {error}", diagnostics.path.display()),
                    io_kind: error.io_kind(),
                }]));
                return;
            }
        };
        if let Some(root) = parse(&contents.bytes, &mut diagnostics) {
            let file = network::read(&root, &dir, &mut diagnostics);
            self.add(entry, file, &mut diagnostics);
        }
        self.network_files.push(diagnostics);
    }

    fn add(&mut self, entry: &NetworkEntry, file: NetworkFile, diagnostics: &mut Diagnostics) {
        if let Some((id, at)) = &file.network_id {
            if let Some((_, other)) = self.ids.iter().find(|(other, _)| other == id) {
                let message =
                    format!("duplicate network_id {id}, also in {}: expected a unique id", other.display());
                diagnostics.error(*at, "network_id", message);
            } else {
                self.ids.push((id.clone(), diagnostics.path.clone()));
            }
        }
        let Some((own_id, at)) = &entry.node_id else { return };
        network::warn(&file, own_id, diagnostics);
        if !file.members.iter().any(|member| member.id == *own_id) {
            // If a node has no valid name, it may be the own one. Its error is already recorded.
            if file.complete {
                let message = missing_node(own_id, &file, &diagnostics.path);
                self.nodeconf.error(*at, &format!("{}.node_id", entry.key), message);
            }
            return;
        }
        if let Some((id, _)) = file.network_id {
            let membership = Membership::new(id, file.members, own_id)
                .map(|membership| membership.with_observers(file.observers));
            self.networks
                .extend(membership.map(|membership| Network { name: entry.name.clone(), membership }));
        }
    }
}

fn missing_node(own_id: &NodeId, file: &NetworkFile, path: &Path) -> String {
    let ids: Vec<_> = file.members.iter().map(|member| member.id.as_str()).collect();
    let listed = ids.join(", ");
    let hint = match fields::nearest(own_id.as_str(), &ids) {
        Some(near) if listed.len() > 60 => format!("did you mean {near}?"),
        _ => format!("expected one of {}", yaml::excerpt(&listed)),
    };
    format!("{own_id} is not in node_config of {}: {hint}", path.display())
}

/// Returns the addresses to listen on: those of `nodeconf`, or all addresses with the port of this host's urls, which
/// must have the same port.
fn listen(nodeconf: &Nodeconf, networks: &[Network], diagnostics: &mut Diagnostics) -> Vec<SocketAddr> {
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
                "missing: this host's url has port {first} in {name} and port {other} in {other_name}: set the \
                 address to listen on (listen: \"[::]:{first}\")"
            );
            diagnostics.error(at, "listen", message);
        }
    }
    let port = ports.first().map_or(url::DEFAULT_PORT, |(_, port)| *port);
    vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]
}

fn parse(bytes: &[u8], diagnostics: &mut Diagnostics) -> Option<yaml::Node> {
    match std::str::from_utf8(bytes) {
        Ok(text) => yaml::parse(text, diagnostics),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let at = Position {
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            };
            diagnostics.error(at, "", "expected UTF-8 text, found invalid bytes");
            None
        }
    }
}

/// Returns whether users outside the group of the file can read it.
fn is_open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o004 != 0
}

//! `nodeconf.yml`, the settings of one host: its networks, addresses to listen on, login and trusted proxies.

use std::net::SocketAddr;

use super::error::{Diagnostics, Position};
use super::fields::{Field, Fields};
use super::login::LoginConfig;
use super::yaml::{Node, excerpt};
use crate::crypto::password::{MAX_PASSWORD, Password};
use crate::mesh::id::{BadName, NodeId, is_name};
use crate::subnet::Subnet;

/// The valid keys of the file.
pub(super) const KEYS: [&str; 6] =
    ["networks", "login_password", "login_password_hash", "login", "listen", "trusted_proxies"];
/// The valid keys of an entry of `networks`.
pub(super) const NETWORK_ENTRY_KEYS: [&str; 4] = ["name", "node_id", "config_type", "git_repo"];
/// The maximum number of networks of an instance.
const MAX_NETWORKS: usize = 64;
/// The maximum number of addresses to listen on, the same as `FileDescriptorStoreMax=` of the unit.
pub const MAX_LISTEN_ADDRESSES: usize = 16;
/// The maximum number of trusted proxies.
const MAX_TRUSTED_PROXIES: usize = 256;

/// The valid parts of a nodeconf.yml.
#[derive(Default)]
pub(super) struct Nodeconf {
    pub(super) networks: Vec<NetworkEntry>,
    pub(super) networks_at: Option<Position>,
    pub(super) login: LoginConfig,
    /// Empty if the key is missing.
    pub(super) listen: Vec<SocketAddr>,
    pub(super) trusted_proxies: Vec<Subnet>,
}

/// An entry of `networks`.
pub(super) struct NetworkEntry {
    /// The directory under `networks/`.
    pub(super) name: String,
    pub(super) name_at: Position,
    /// This host's node; `None` after an error.
    pub(super) node_id: Option<(NodeId, Position)>,
    /// Whether the files are managed by hand (`config_type: local`), so that they must exist.
    pub(super) local: bool,
    /// The key path: `networks[0]`.
    pub(super) key: String,
}

/// Reads the file with the root node `root`. `open_to_others`: other users can read it.
pub(super) fn read(root: &Node, open_to_others: bool, diagnostics: &mut Diagnostics) -> Nodeconf {
    let Some(fields) = Fields::open(&Field::root(root), &KEYS, diagnostics) else {
        return Nodeconf::default();
    };
    let networks = fields.require("networks", "a list of the networks of this host", diagnostics);
    Nodeconf {
        networks_at: networks.as_ref().map(|field| field.at),
        networks: networks.map(|field| network_entries(&field, diagnostics)).unwrap_or_default(),
        login: login(&fields, open_to_others, diagnostics),
        listen: fields.get("listen").map(|field| listen(&field, diagnostics)).unwrap_or_default(),
        trusted_proxies: fields
            .get("trusted_proxies")
            .map(|field| trusted_proxies(&field, diagnostics))
            .unwrap_or_default(),
    }
}

fn network_entries(field: &Field<'_>, diagnostics: &mut Diagnostics) -> Vec<NetworkEntry> {
    let expected = "a list of networks (\"- name: …\")";
    let Some(items) = field.list(expected, MAX_NETWORKS, diagnostics) else { return Vec::new() };
    if items.is_empty() {
        field.error("expected at least one network (\"- name: …\"), found an empty list", diagnostics);
    }
    let mut networks: Vec<NetworkEntry> = Vec::new();
    for item in items {
        let Some((network, name)) = network_entry(&item, diagnostics) else { continue };
        match networks.iter().find(|other| other.name == network.name) {
            Some(other) => {
                let message =
                    format!("duplicate network \"{}\", first in {}: remove one", other.name, other.key);
                name.error(message, diagnostics);
            }
            None => networks.push(network),
        }
    }
    networks
}

fn network_entry<'a>(item: &Field<'a>, diagnostics: &mut Diagnostics) -> Option<(NetworkEntry, Field<'a>)> {
    let fields = Fields::open(item, &NETWORK_ENTRY_KEYS, diagnostics)?;
    let local = is_local(&fields, diagnostics);
    let node_id = fields.require("node_id", "the name of this host's node in the network", diagnostics);
    let node_id = node_id.and_then(|field| Some((field.name(diagnostics)?, field.at)));
    let name = fields.require("name", "the name of the directory under networks/", diagnostics)?;
    let text = name.text_or_integer("the name of a directory under networks/", diagnostics)?;
    if !is_name(text) {
        name.error(format!("{BadName}, found \"{}\"", excerpt(text)), diagnostics);
        return None;
    }
    let network =
        NetworkEntry { name: text.to_owned(), name_at: name.at, node_id, local, key: item.key.clone() };
    Some((network, name))
}

/// Returns whether the files of the network are managed by hand. Records an error if they are to be fetched with git.
fn is_local(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> bool {
    let repository = fields.get_non_null("git_repo");
    let has_repository =
        repository.and_then(|field| field.text("the url of a repository", diagnostics)).is_some();
    let kind = fields.get("config_type");
    match kind.as_ref().map(|field| (field, field.text("local", diagnostics))) {
        Some((field, Some("git" | "github"))) => {
            let message = "this version cannot fetch configurations with git: expected local: clone the \
                           repository to networks/<name>";
            field.error(message, diagnostics);
            return false;
        }
        Some((field, Some(other))) if other != "local" => field.unexpected("local", diagnostics),
        _ if has_repository => {
            diagnostics
                .warn(format_args!("{} is ignored because config_type is local", fields.path("git_repo")));
        }
        _ => {}
    }
    true
}

fn login(fields: &Fields<'_>, open_to_others: bool, diagnostics: &mut Diagnostics) -> LoginConfig {
    let plain = fields.get("login_password");
    let hash = fields.get("login_password_hash");
    let login = fields.get("login").and_then(|field| field.boolean(diagnostics));
    if login == Some(false) {
        if let Some(field) = plain.or(hash) {
            field.error("conflicts with login: false: remove one of the two", diagnostics);
        }
        return LoginConfig::Off;
    }
    if let (Some(_), Some(hash)) = (&plain, &hash) {
        hash.error("expected login_password or login_password_hash, found both: remove one", diagnostics);
        return LoginConfig::default();
    }
    let configured = match (plain, hash) {
        (Some(field), _) => plain_password(&field, open_to_others, diagnostics),
        (None, Some(field)) => hashed_password(&field, diagnostics),
        (None, None) => None,
    };
    configured.map(LoginConfig::Configured).unwrap_or_default()
}

fn plain_password(
    field: &Field<'_>,
    open_to_others: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Password> {
    let text = field.secret("a password", diagnostics)?;
    if text.len() > MAX_PASSWORD {
        let found = text.len();
        field.error(
            format!("expected a password of at most {MAX_PASSWORD} bytes, found {found}"),
            diagnostics,
        );
    }
    if open_to_others {
        diagnostics.warn(
            "login_password is in plain text and other users can read this file: move it to \
             .private_keys/login_password (chmod 600)",
        );
    }
    Some(Password::from_plain(text))
}

fn hashed_password(field: &Field<'_>, diagnostics: &mut Diagnostics) -> Option<Password> {
    let text = field.secret("an argon2id hash (\"$argon2id$v=19$m=…\")", diagnostics)?;
    match Password::from_hash(text) {
        Ok(password) => Some(password),
        Err(error) => {
            field.error(error.to_string(), diagnostics);
            None
        }
    }
}

fn listen(field: &Field<'_>, diagnostics: &mut Diagnostics) -> Vec<SocketAddr> {
    let expected = "ADDRESS:PORT (\"[::]:8000\", \"127.0.0.1:8000\")";
    let items = field.one_or_more(expected, MAX_LISTEN_ADDRESSES, diagnostics).unwrap_or_default();
    if items.is_empty() && matches!(field.value, super::yaml::Value::List(_)) {
        field.error(
            format!("expected {expected}, found an empty list: remove listen to use the default"),
            diagnostics,
        );
    }
    let mut addresses = Vec::new();
    for item in items {
        let Some(text) = item.text(expected, diagnostics) else { continue };
        match text.parse() {
            Ok(address) if addresses.contains(&address) => {
                item.error(format!("duplicate address {address}: remove one"), diagnostics);
            }
            Ok(address) => addresses.push(address),
            Err(_) => item.unexpected(expected, diagnostics),
        }
    }
    addresses
}

fn trusted_proxies(field: &Field<'_>, diagnostics: &mut Diagnostics) -> Vec<Subnet> {
    let expected = "an IP address or a subnet (192.0.2.0/24, 2001:db8::/32)";
    let items = field.one_or_more(expected, MAX_TRUSTED_PROXIES, diagnostics).unwrap_or_default();
    let mut subnets = Vec::new();
    for item in items {
        let Some(text) = item.text(expected, diagnostics) else { continue };
        match text.parse::<Subnet>() {
            Ok(subnet) => subnets.push(subnet),
            Err(error) => item.error(format!("{error}, found \"{}\"", excerpt(text)), diagnostics),
        }
    }
    subnets
}

//! `nodeconf.yml`: what belongs to this host alone. Its networks, where it listens, how one logs in.

use std::net::SocketAddr;

use super::error::{Page, Position};
use super::fields::{Field, Fields};
use super::login::Login;
use super::subnet::Subnet;
use super::yaml::{Node, short};
use crate::crypto::password::{MAX_PASSWORD, Password};
use crate::mesh::id::{BadName, NodeId, is_name};

/// The keys of the file.
pub(super) const KEYS: [&str; 6] =
    ["networks", "login_password", "login_password_hash", "login", "listen", "trusted_proxies"];
/// The keys of one of its `networks`.
pub(super) const MEMBERSHIP_KEYS: [&str; 4] = ["name", "node_id", "config_type", "git_repo"];
/// The most networks of one instance.
const MAX_NETWORKS: usize = 64;
/// The most addresses to listen on; the unit's `FileDescriptorStoreMax=` is as many.
pub const MAX_ADDRESSES: usize = 16;
/// The most trusted proxies.
const MAX_PROXIES: usize = 256;

/// What nodeconf.yml says, as far as it makes sense.
#[derive(Default)]
pub(super) struct Nodeconf {
    pub(super) networks: Vec<NetworkEntry>,
    pub(super) networks_at: Option<Position>,
    pub(super) login: Login,
    /// Empty: not given.
    pub(super) listen: Vec<SocketAddr>,
    pub(super) trusted_proxies: Vec<Subnet>,
}

/// One of the networks that this host is in.
pub(super) struct NetworkEntry {
    /// The directory under `networks/`.
    pub(super) name: String,
    pub(super) name_at: Position,
    /// Who this host is in it. None: missing or bad, which was noted.
    pub(super) node_id: Option<(NodeId, Position)>,
    /// Whether its files are kept by hand, so that they must be there.
    pub(super) local: bool,
    /// The key path: `networks[0]`.
    pub(super) key: String,
}

/// Reads the file `root`, which others may read if `open_to_others`.
pub(super) fn read(root: &Node, open_to_others: bool, page: &mut Page) -> Nodeconf {
    let Some(fields) = Fields::open(&Field::root(root), &KEYS, page) else { return Nodeconf::default() };
    let networks = fields.need("networks", "a list of the networks of this host", page);
    Nodeconf {
        networks_at: networks.as_ref().map(|field| field.at),
        networks: networks.map(|field| network_entries(&field, page)).unwrap_or_default(),
        login: login(&fields, open_to_others, page),
        listen: fields.get("listen").map(|field| listen(&field, page)).unwrap_or_default(),
        trusted_proxies: fields.get("trusted_proxies").map(|field| proxies(&field, page)).unwrap_or_default(),
    }
}

fn network_entries(field: &Field<'_>, page: &mut Page) -> Vec<NetworkEntry> {
    let expected = "a list of networks (\"- name: …\")";
    let Some(items) = field.list(expected, MAX_NETWORKS, page) else { return Vec::new() };
    if items.is_empty() {
        field.error("expected at least one network (\"- name: …\"), found an empty list", page);
    }
    let mut networks: Vec<NetworkEntry> = Vec::new();
    for item in items {
        let Some((network, name)) = network_entry(&item, page) else { continue };
        match networks.iter().find(|other| other.name == network.name) {
            Some(other) => {
                let message = format!("\"{}\" is {} already: name each network once", other.name, other.key);
                name.error(message, page);
            }
            None => networks.push(network),
        }
    }
    networks
}

fn network_entry<'a>(item: &Field<'a>, page: &mut Page) -> Option<(NetworkEntry, Field<'a>)> {
    let fields = Fields::open(item, &MEMBERSHIP_KEYS, page)?;
    let local = is_local(&fields, page);
    let node_id = fields.need("node_id", "the name of this host's node in the network", page);
    let node_id = node_id.and_then(|field| Some((field.name(page)?, field.at)));
    let name = fields.need("name", "the name of the directory under networks/", page)?;
    let text = name.word("the name of a directory under networks/", page)?;
    if !is_name(text) {
        name.error(format!("{BadName}, found \"{}\"", short(text)), page);
        return None;
    }
    let network =
        NetworkEntry { name: text.to_owned(), name_at: name.at, node_id, local, key: item.key.clone() };
    Some((network, name))
}

/// Whether the network's files are kept by hand. Fetching them with git is refused.
fn is_local(fields: &Fields<'_>, page: &mut Page) -> bool {
    let repository = fields.get_some("git_repo");
    let has_repository = repository.and_then(|field| field.text("the url of a repository", page)).is_some();
    let kind = fields.get("config_type");
    match kind.as_ref().map(|field| (field, field.text("local", page))) {
        Some((field, Some("git" | "github"))) => {
            let message = "this version does not fetch configurations with git: clone the repository to \
                           networks/<name> yourself and write local";
            field.error(message, page);
            return false;
        }
        Some((field, Some(other))) if other != "local" => field.wrong("local", page),
        _ if has_repository => {
            page.warn(format_args!("{} is not used, since config_type is local", fields.path("git_repo")));
        }
        _ => {}
    }
    true
}

fn login(fields: &Fields<'_>, open_to_others: bool, page: &mut Page) -> Login {
    let plain = fields.get("login_password");
    let hash = fields.get("login_password_hash");
    let login = fields.get("login").and_then(|field| field.truth(page));
    if login == Some(false) {
        if let Some(field) = plain.or(hash) {
            field.error("expected no password beside login: false: remove one of the two", page);
        }
        return Login::Off;
    }
    if let (Some(_), Some(hash)) = (&plain, &hash) {
        hash.error("expected login_password or login_password_hash, found both: remove one", page);
        return Login::default();
    }
    let configured = match (plain, hash) {
        (Some(field), _) => plain_password(&field, open_to_others, page),
        (None, Some(field)) => hashed_password(&field, page),
        (None, None) => None,
    };
    configured.map(Login::Configured).unwrap_or_default()
}

fn plain_password(field: &Field<'_>, open_to_others: bool, page: &mut Page) -> Option<Password> {
    let text = field.secret("a password", page)?;
    if text.len() > MAX_PASSWORD {
        let found = text.len();
        field.error(format!("expected a password of at most {MAX_PASSWORD} bytes, found {found}"), page);
    }
    if open_to_others {
        page.warn(
            "login_password is in plain text and other users can read this file: put it into \
             .private_keys/login_password instead (chmod 600)",
        );
    }
    Some(Password::from_plain(text))
}

fn hashed_password(field: &Field<'_>, page: &mut Page) -> Option<Password> {
    let text = field.secret("an argon2id hash (\"$argon2id$v=19$m=…\")", page)?;
    match Password::from_hash(text) {
        Ok(password) => Some(password),
        Err(error) => {
            field.error(error.to_string(), page);
            None
        }
    }
}

fn listen(field: &Field<'_>, page: &mut Page) -> Vec<SocketAddr> {
    let expected = "ADDRESS:PORT (\"[::]:8000\", \"127.0.0.1:8000\")";
    let items = field.one_or_more(expected, MAX_ADDRESSES, page).unwrap_or_default();
    if items.is_empty() && matches!(field.value, super::yaml::Value::List(_)) {
        field.error(format!("expected {expected}, found an empty list: remove it for the default"), page);
    }
    let mut addresses = Vec::new();
    for item in items {
        let Some(text) = item.text(expected, page) else { continue };
        match text.parse() {
            Ok(address) if addresses.contains(&address) => {
                item.error(format!("{address} stands here twice: remove one"), page);
            }
            Ok(address) => addresses.push(address),
            Err(_) => item.wrong(expected, page),
        }
    }
    addresses
}

fn proxies(field: &Field<'_>, page: &mut Page) -> Vec<Subnet> {
    let expected = "an IP address or a subnet (192.0.2.0/24, 2001:db8::/32)";
    let items = field.one_or_more(expected, MAX_PROXIES, page).unwrap_or_default();
    let mut subnets = Vec::new();
    for item in items {
        let Some(text) = item.text(expected, page) else { continue };
        match text.parse::<Subnet>() {
            Ok(subnet) => subnets.push(subnet),
            Err(error) => item.error(format!("{error}, found \"{}\"", short(text)), page),
        }
    }
    subnets
}

//! `networks/<name>/config.yml` and the public keys beside it, which all nodes of a network share.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::error::{ConfigErrors, Diagnostics, Position};
use super::fields::{Field, Fields};
use super::file::{self, FileError};
use super::url::NodeUrl;
use super::yaml::{Node, Value};
use crate::crypto::PublicKey;
use crate::mesh::id::{NetworkId, NodeId};
use crate::mesh::membership::{MAX_RINGS, Member, Membership, ObserverPolicy};
use crate::mesh::wire::report::MAX_PAYLOAD;
use crate::mesh::wire::report_size::{envelope_bytes, largest_payload_bytes, max_payload_bytes};

/// The valid keys of the file.
pub(super) const KEYS: [&str; 4] = ["network_id", "defaults", "observers", "node_config"];
/// The valid keys of `defaults`.
pub(super) const DEFAULTS_KEYS: [&str; 3] = ["poll_rate", "retry", "timeout"];
/// The valid keys of a node.
pub(super) const NODE_KEYS: [&str; 7] =
    ["node_id", "url", "poll_rate", "retry", "timeout", "public_key", "site"];
/// The maximum number of nodes in a network: a message may contain a head for each of them.
const MAX_NODES: usize = 10_000;
/// The number of nodes above which a full mesh, with its quadratic cost, causes a warning.
const LARGE_FULL_MESH: usize = 64;
/// The number of rings below which the loss of one or two observers can leave a node without a quorum.
const MIN_REDUNDANT_RINGS: u32 = 5;
/// The maximum size of a file with a public key, in bytes.
const MAX_KEY_FILE: u64 = 16 << 10;
/// The maximum length of a `public_key`, in bytes.
const MAX_KEY_TEXT: usize = 1024;

/// The valid parts of a config.yml.
#[derive(Default)]
pub(super) struct NetworkFile {
    pub(super) network_id: Option<(NetworkId, Position)>,
    pub(super) members: Vec<Member>,
    pub(super) observers: ObserverPolicy,
    /// Whether all nodes have valid names, so that `members` is complete.
    pub(super) complete: bool,
}

/// The settings that `defaults` and nodes have in common.
#[derive(Clone, Copy)]
struct ProbeSettings {
    poll_rate_ms: u64,
    retry: u32,
    timeout_ms: u64,
}

impl ProbeSettings {
    const DEFAULT: Self = Self { poll_rate_ms: 10_000, retry: 2, timeout_ms: 5_000 };

    /// Returns the settings in `fields`, with `self` for those that are missing.
    fn with(self, fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Self {
        let mut time = |name: &str, range, default| {
            let seconds = fields.get(name).and_then(|field| field.number(range, " s", diagnostics));
            seconds.map_or(default, milliseconds)
        };
        let poll_rate_ms = time("poll_rate", 0.1..=86_400.0, self.poll_rate_ms);
        let timeout_ms = time("timeout", 0.1..=300.0, self.timeout_ms);
        let retry =
            fields.get("retry").and_then(|field| field.integer(0..=100, diagnostics)).unwrap_or(self.retry);
        Self { poll_rate_ms, retry, timeout_ms }
    }
}

fn milliseconds(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap_or(u64::MAX)
}

/// Reads the file with the root node `root` in the network directory `dir`.
pub(super) fn read(root: &Node, dir: &Path, diagnostics: &mut Diagnostics) -> NetworkFile {
    let Some(fields) = Fields::open(&Field::root(root), &KEYS, diagnostics) else {
        return NetworkFile::default();
    };
    let network_id = fields.require("network_id", "the name of the network", diagnostics);
    let network_id = network_id.and_then(|field| Some((field.name(diagnostics)?, field.at)));
    let defaults = defaults(&fields, diagnostics);
    let observed = fields.get_non_null("observers");
    let observers = observed.as_ref().and_then(|field| observers(field, diagnostics)).unwrap_or_default();
    let mut network = NetworkFile { network_id, members: Vec::new(), observers, complete: false };
    let Some(nodes) = fields.require("node_config", "a list of the network's nodes", diagnostics) else {
        return network;
    };
    let Some(items) = nodes.list("a list of nodes (\"- node_id: …\")", MAX_NODES, diagnostics) else {
        return network;
    };
    if items.is_empty() {
        nodes.error("expected at least one node (\"- node_id: …\"), found an empty list", diagnostics);
        return network;
    }
    let mut seen: HashMap<NodeId, Position> = HashMap::new();
    network.complete = true;
    for item in &items {
        let Some((member, at)) = member(item, defaults, dir, diagnostics) else {
            network.complete = false;
            continue;
        };
        if let Some(first) = seen.get(&member.id) {
            let message = format!(
                "duplicate node_id {}, first in line {}: expected a unique name",
                member.id, first.line
            );
            diagnostics.error(at, &format!("{}.node_id", item.key), message);
        } else {
            seen.insert(member.id.clone(), at);
            network.members.push(member);
        }
    }
    if network.complete {
        check_sizes(&network, &nodes, observed.as_ref(), diagnostics);
    }
    network
}

/// Checks that peers accept the largest report of the network, and that it fits beside the heads of all its nodes.
fn check_sizes(
    network: &NetworkFile,
    nodes: &Field<'_>,
    observed: Option<&Field<'_>>,
    diagnostics: &mut Diagnostics,
) {
    let count = network.members.len();
    let longest = network.members.iter().map(|member| &member.id).max_by_key(|id| id.as_str().len());
    let (Some((network_id, _)), Some(longest)) = (&network.network_id, longest) else { return };
    let membership = Membership::new(network_id.clone(), network.members.clone(), longest);
    let Some(membership) = membership else { return };
    let membership = membership.with_observers(network.observers);
    let observed_count = match network.observers {
        // Also nodes that have no key yet.
        ObserverPolicy::All => count - 1,
        ObserverPolicy::Rings(_) => {
            (0..count).map(|author| membership.observed_count(author)).max().unwrap_or(0)
        }
    };
    let largest = largest_payload_bytes(network_id, longest, observed_count);
    let (room, needed) = (membership.fill_bytes(), envelope_bytes(max_payload_bytes(observed_count)));
    if largest > MAX_PAYLOAD {
        let message = format!(
            "a report of these {count} nodes can reach {largest} bytes, and peers accept {MAX_PAYLOAD}: limit the \
             observers of each node (observers: 10)"
        );
        let (at, key) =
            observed.map_or((nodes.at, nodes.key.as_str()), |field| (field.at, field.key.as_str()));
        diagnostics.error(at, key, message);
    } else if needed > room {
        let message = format!(
            "beside the ids of {count} nodes, a message has room for {room} bytes, and a report can need {needed}: \
             shorten the ids"
        );
        nodes.error(message, diagnostics);
    }
}

/// Reads `all` or a number of rings.
fn observers(field: &Field<'_>, diagnostics: &mut Diagnostics) -> Option<ObserverPolicy> {
    if matches!(field.value, Value::Scalar { text, .. } if text == "all") {
        return Some(ObserverPolicy::All);
    }
    let Value::Scalar { text, .. } = field.value else {
        field.unexpected(&format!("all, or a number of rings from 1 to {MAX_RINGS}"), diagnostics);
        return None;
    };
    match text.parse() {
        Ok(rings) if (1..=MAX_RINGS).contains(&rings) => Some(ObserverPolicy::Rings(rings)),
        _ => {
            field.unexpected(&format!("all, or a number of rings from 1 to {MAX_RINGS}"), diagnostics);
            None
        }
    }
}

/// Records warnings about `file`, whose own node is `own_id`.
pub(super) fn warn(file: &NetworkFile, own_id: &NodeId, diagnostics: &mut Diagnostics) {
    let members = &file.members;
    let mut urls: HashMap<&str, &NodeId> = HashMap::new();
    let mut keys: HashMap<[u8; 32], &NodeId> = HashMap::new();
    for member in members {
        if member.keys.is_empty() && member.id != *own_id {
            diagnostics.warn(format_args!(
                "{0} has no public key and does not participate until it has one: add its public_key or pubkeys/{0}.pub",
                member.id
            ));
        }
        if let Some(other) = member.url.as_deref().and_then(|url| urls.insert(url, &member.id)) {
            diagnostics
                .warn(format_args!("{other} and {} have the same url: one node answers for both", member.id));
        }
        for key in &member.keys {
            if let Some(other) = keys.insert(*key.as_bytes(), &member.id) {
                diagnostics.warn(format_args!(
                    "{other} and {} have the same public key: they count as one voter",
                    member.id
                ));
            }
        }
    }
    match file.observers {
        ObserverPolicy::All if members.len() > LARGE_FULL_MESH => diagnostics.warn(format_args!(
            "{0} nodes all observe each other, so every host makes {1} exchanges in each poll_rate: limit the \
             observers of each node (observers: 10)",
            members.len(),
            members.len() - 1
        )),
        ObserverPolicy::Rings(rings) if rings < MIN_REDUNDANT_RINGS && members.len() > rings as usize + 1 => {
            diagnostics.warn(format_args!(
                "observers: {rings}: each node has at most {rings} observers, and a verdict requires two of them: \
                 10 are recommended"
            ));
        }
        _ => {}
    }
}

fn defaults(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> ProbeSettings {
    // The value is null if all entries below `defaults:` are commented out.
    let given = fields.get_non_null("defaults");
    let given = given.and_then(|field| Fields::open(&field, &DEFAULTS_KEYS, diagnostics));
    given.map_or(ProbeSettings::DEFAULT, |fields| ProbeSettings::DEFAULT.with(&fields, diagnostics))
}

/// Reads a node and returns it with the position of its name, or `None` if it has no valid name.
fn member(
    item: &Field<'_>,
    defaults: ProbeSettings,
    dir: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<(Member, Position)> {
    let fields = Fields::open(item, &NODE_KEYS, diagnostics)?;
    let id = fields.require("node_id", "the name of a node", diagnostics);
    let id = id.and_then(|field| Some((field.name::<NodeId>(diagnostics)?, field.at)));
    let url = fields.get_non_null("url").and_then(|field| url(&field, diagnostics));
    let ProbeSettings { poll_rate_ms, retry, timeout_ms } = defaults.with(&fields, diagnostics);
    let configured =
        fields.get_non_null("public_key").map(|field| (field.at, public_keys(&field, diagnostics)));
    let site = fields.get_non_null("site").and_then(|field| field.name(diagnostics));
    let (id, at) = id?;
    let from_file = key_from_file(&id, dir, diagnostics);
    let keys = match (configured, from_file) {
        (Some((at, keys)), Some(from_file)) => {
            if !keys.is_empty() && !keys.contains(&from_file) {
                let message = format!(
                    "does not match pubkeys/{id}.pub ({}): remove the wrong key",
                    from_file.fingerprint()
                );
                diagnostics.error(at, &fields.path("public_key"), message);
            }
            keys
        }
        (Some((_, keys)), None) => keys,
        (None, from_file) => from_file.into_iter().collect(),
    };
    Some((Member { id, url, poll_rate_ms, retry, timeout_ms, keys, site }, at))
}

fn url(field: &Field<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = field.text("a url (\"http://10.0.0.1:8000\")", diagnostics)?;
    match NodeUrl::parse(text) {
        Ok(url) => Some(url.as_str().to_owned()),
        Err(error) => {
            field.error(error.to_string(), diagnostics);
            None
        }
    }
}

/// Reads one key, or a list of two.
fn public_keys(field: &Field<'_>, diagnostics: &mut Diagnostics) -> Vec<PublicKey> {
    let expected = "an Ed25519 public key as base64 SubjectPublicKeyInfo (\"MCowBQYDK2VwAyEA…\")";
    let mut keys = Vec::new();
    for item in field.one_or_more(expected, 2, diagnostics).unwrap_or_default() {
        let Some(text) = item.text(expected, diagnostics) else { continue };
        if text.len() > MAX_KEY_TEXT {
            item.unexpected(expected, diagnostics);
            continue;
        }
        match PublicKey::from_base64_spki(text) {
            Ok(key) if keys.contains(&key) => item.error("duplicate public key: remove one", diagnostics),
            Ok(key) => keys.push(key),
            Err(error) => item.error(format!("{error}, found {}", item.value.describe()), diagnostics),
        }
    }
    keys
}

/// Reads the key in `pubkeys/<id>.pub`, if that exists.
fn key_from_file(id: &NodeId, dir: &Path, diagnostics: &mut Diagnostics) -> Option<PublicKey> {
    let path = dir.join("pubkeys").join(format!("{id}.pub"));
    let contents = match file::read(&path, MAX_KEY_FILE) {
        Ok(contents) => contents,
        Err(FileError::Missing) => return None,
        Err(error) => {
            let message = format!("public key of {id}: {error}");
            diagnostics.extend(ConfigErrors::in_file(&path, message).with_io_kind(error.io_kind()));
            return None;
        }
    };
    match PublicKey::from_pem(&String::from_utf8_lossy(&contents.bytes)) {
        Ok(key) => Some(key),
        Err(error) => {
            diagnostics.extend(ConfigErrors::in_file(&path, format!("public key of {id}: {error}")));
            None
        }
    }
}

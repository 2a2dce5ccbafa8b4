//! `networks/<name>/config.yml` and the public keys beside it: what all nodes of a network share.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::error::{Page, Position};
use super::fields::{Field, Fields};
use super::file::{self, FileError};
use super::url::NodeUrl;
use super::yaml::{Node, Value};
use crate::crypto::PublicKey;
use crate::mesh::id::{NetworkId, NodeId};
use crate::mesh::membership::{MAX_RINGS, Member, ObserverPolicy};

/// The keys of the file.
pub(super) const KEYS: [&str; 4] = ["network_id", "defaults", "observers", "node_config"];
/// The keys of its `defaults`.
pub(super) const DEFAULTS_KEYS: [&str; 3] = ["poll_rate", "retry", "timeout"];
/// The keys of one of its nodes.
pub(super) const NODE_KEYS: [&str; 7] =
    ["node_id", "url", "poll_rate", "retry", "timeout", "public_key", "site"];
/// The most nodes of a network: what each holds of all of them is named in one message.
const MAX_NODES: usize = 10_000;
/// The most nodes that can all observe each other: more observations do not fit into one report.
const MAX_MESHED: usize = 1_000;
/// From this size on, work that grows with the square of it is worth a warning.
const MANY_NODES: usize = 64;
/// With fewer rings, one lost observer or two may leave no quorum.
const FEW_RINGS: u32 = 5;
/// The largest file with a public key, in bytes.
const MAX_KEY_FILE: u64 = 16 << 10;
/// The longest text of a public key, in bytes.
const MAX_KEY_TEXT: usize = 1024;

/// What config.yml says, as far as it makes sense.
#[derive(Default)]
pub(super) struct NetworkFile {
    pub(super) network_id: Option<(NetworkId, Position)>,
    pub(super) members: Vec<Member>,
    pub(super) observers: ObserverPolicy,
    /// Whether the members are all there: each name was understood.
    pub(super) complete: bool,
}

/// How nodes are probed unless they say otherwise.
#[derive(Clone, Copy)]
struct Tempo {
    poll_rate_ms: u64,
    retry: u32,
    timeout_ms: u64,
}

impl Tempo {
    const DEFAULT: Self = Self { poll_rate_ms: 10_000, retry: 2, timeout_ms: 5_000 };

    /// What `fields` say of it, and `self` where they are silent.
    fn with(self, fields: &Fields<'_>, page: &mut Page) -> Self {
        let mut time = |name: &str, range, otherwise| {
            let seconds = fields.get(name).and_then(|field| field.number(range, " s", page));
            seconds.map_or(otherwise, milliseconds)
        };
        let poll_rate_ms = time("poll_rate", 0.1..=86_400.0, self.poll_rate_ms);
        let timeout_ms = time("timeout", 0.1..=300.0, self.timeout_ms);
        let retry = fields.get("retry").and_then(|field| field.count(0..=100, page)).unwrap_or(self.retry);
        Self { poll_rate_ms, retry, timeout_ms }
    }
}

fn milliseconds(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap_or(u64::MAX)
}

/// Reads the file `root` of the network directory `dir`.
pub(super) fn read(root: &Node, dir: &Path, page: &mut Page) -> NetworkFile {
    let Some(fields) = Fields::open(&Field::root(root), &KEYS, page) else {
        return NetworkFile::default();
    };
    let network_id = fields.need("network_id", "the name of the network", page);
    let network_id = network_id.and_then(|field| Some((field.name(page)?, field.at)));
    let tempo = defaults(&fields, page);
    let observed = fields.get_some("observers");
    let observers = observed.as_ref().and_then(|field| observers(field, page)).unwrap_or_default();
    let mut network = NetworkFile { network_id, members: Vec::new(), observers, complete: false };
    let Some(nodes) = fields.need("node_config", "a list of the network's nodes", page) else {
        return network;
    };
    let Some(items) = nodes.list("a list of nodes (\"- node_id: …\")", MAX_NODES, page) else {
        return network;
    };
    if items.is_empty() {
        nodes.error("expected at least one node (\"- node_id: …\"), found an empty list", page);
        return network;
    }
    let mut seen: HashMap<NodeId, Position> = HashMap::new();
    network.complete = true;
    for item in &items {
        let Some((member, at)) = member(item, tempo, dir, page) else {
            network.complete = false;
            continue;
        };
        if let Some(first) = seen.get(&member.id) {
            let message =
                format!("node {} is named in line {} already: each name once", member.id, first.line);
            page.error(at, &format!("{}.node_id", item.key), message);
        } else {
            seen.insert(member.id.clone(), at);
            network.members.push(member);
        }
    }
    if observers == ObserverPolicy::All && network.members.len() > MAX_MESHED {
        let message = format!(
            "{} nodes cannot all observe each other, at most {MAX_MESHED} can: let each be observed by some \
             (observers: 10)",
            network.members.len()
        );
        let (at, key) = observed.map_or((nodes.at, nodes.key.clone()), |field| (field.at, field.key));
        page.error(at, &key, message);
    }
    network
}

/// `all`, or the number of rings.
fn observers(field: &Field<'_>, page: &mut Page) -> Option<ObserverPolicy> {
    if matches!(field.value, Value::Scalar { text, .. } if text == "all") {
        return Some(ObserverPolicy::All);
    }
    let Value::Scalar { text, .. } = field.value else {
        field.wrong(&format!("all, or a number of rings from 1 to {MAX_RINGS}"), page);
        return None;
    };
    match text.parse() {
        Ok(rings) if (1..=MAX_RINGS).contains(&rings) => Some(ObserverPolicy::Rings(rings)),
        _ => {
            field.wrong(&format!("all, or a number of rings from 1 to {MAX_RINGS}"), page);
            None
        }
    }
}

/// Notes what is allowed in `file`, seen from `me`, and yet is hardly meant.
pub(super) fn warn(file: &NetworkFile, me: &NodeId, page: &mut Page) {
    let members = &file.members;
    let mut urls: HashMap<&str, &NodeId> = HashMap::new();
    let mut keys: HashMap<[u8; 32], &NodeId> = HashMap::new();
    for member in members {
        if member.keys.is_empty() && member.id != *me {
            page.warn(format_args!(
                "{0} has no public key and takes no part until it has one: add its public_key or pubkeys/{0}.pub",
                member.id
            ));
        }
        if let Some(other) = member.url.as_deref().and_then(|url| urls.insert(url, &member.id)) {
            page.warn(format_args!("{other} and {} have the same url: one node answers for both", member.id));
        }
        for key in &member.keys {
            if let Some(other) = keys.insert(*key.as_bytes(), &member.id) {
                page.warn(format_args!(
                    "{other} and {} have the same public key: they count as one voter",
                    member.id
                ));
            }
        }
    }
    match file.observers {
        ObserverPolicy::All if members.len() > MANY_NODES => page.warn(format_args!(
            "{0} nodes all observe each other: every host makes {1} exchanges in each poll_rate (observers: 10 lets \
             each be observed by ten)",
            members.len(),
            members.len() - 1
        )),
        ObserverPolicy::Rings(rings) if rings < FEW_RINGS && members.len() > rings as usize + 1 => {
            page.warn(format_args!(
                "observers: {rings}: each node is observed by {rings} at most, and a verdict needs two of them: \
                 10 are recommended"
            ));
        }
        _ => {}
    }
}

fn defaults(fields: &Fields<'_>, page: &mut Page) -> Tempo {
    // Nothing: all that stood below `defaults:` is commented out.
    let given = fields.get_some("defaults");
    let given = given.and_then(|field| Fields::open(&field, &DEFAULTS_KEYS, page));
    given.map_or(Tempo::DEFAULT, |fields| Tempo::DEFAULT.with(&fields, page))
}

/// One node and the place of its name; None if it has no good one.
fn member(item: &Field<'_>, tempo: Tempo, dir: &Path, page: &mut Page) -> Option<(Member, Position)> {
    let fields = Fields::open(item, &NODE_KEYS, page)?;
    let id = fields.need("node_id", "the name of a node", page);
    let id = id.and_then(|field| Some((field.name::<NodeId>(page)?, field.at)));
    let url = fields.get_some("url").and_then(|field| url(&field, page));
    let Tempo { poll_rate_ms, retry, timeout_ms } = tempo.with(&fields, page);
    let given = fields.get_some("public_key").map(|field| (field.at, public_keys(&field, page)));
    let site = fields.get_some("site").and_then(|field| field.name(page));
    let (id, at) = id?;
    let filed = filed_key(&id, dir, page);
    let keys = match (given, filed) {
        (Some((at, keys)), Some(filed)) => {
            if !keys.is_empty() && !keys.contains(&filed) {
                let message = format!(
                    "differs from pubkeys/{id}.pub ({}): remove the wrong one of the two",
                    filed.fingerprint()
                );
                page.error(at, &fields.path("public_key"), message);
            }
            keys
        }
        (Some((_, keys)), None) => keys,
        (None, filed) => filed.into_iter().collect(),
    };
    Some((Member { id, url, poll_rate_ms, retry, timeout_ms, keys, site }, at))
}

fn url(field: &Field<'_>, page: &mut Page) -> Option<String> {
    let text = field.text("a url (\"http://10.0.0.1:8000\")", page)?;
    match NodeUrl::parse(text) {
        Ok(url) => Some(url.as_str().to_owned()),
        Err(error) => {
            field.error(error.to_string(), page);
            None
        }
    }
}

/// The one key, or the two of a list.
fn public_keys(field: &Field<'_>, page: &mut Page) -> Vec<PublicKey> {
    let expected = "an Ed25519 public key as base64 SubjectPublicKeyInfo (\"MCowBQYDK2VwAyEA…\")";
    let mut keys = Vec::new();
    for item in field.one_or_more(expected, 2, page).unwrap_or_default() {
        let Some(text) = item.text(expected, page) else { continue };
        if text.len() > MAX_KEY_TEXT {
            item.wrong(expected, page);
            continue;
        }
        match PublicKey::from_base64_spki(text) {
            Ok(key) if keys.contains(&key) => item.error("this key stands here twice: remove one", page),
            Ok(key) => keys.push(key),
            Err(error) => item.error(format!("{error}, found {}", item.value.describe()), page),
        }
    }
    keys
}

/// The key in `pubkeys/<id>.pub`.
fn filed_key(id: &NodeId, dir: &Path, page: &mut Page) -> Option<PublicKey> {
    let path = dir.join("pubkeys").join(format!("{id}.pub"));
    let contents = match file::read(&path, MAX_KEY_FILE) {
        Ok(contents) => contents,
        Err(FileError::Missing) => return None,
        Err(error) => {
            page.file_error(&path, format!("public key of {id}: {error}"));
            return None;
        }
    };
    match PublicKey::from_pem(&String::from_utf8_lossy(&contents.bytes)) {
        Ok(key) => Some(key),
        Err(error) => {
            page.file_error(&path, format!("public key of {id}: {error}"));
            None
        }
    }
}

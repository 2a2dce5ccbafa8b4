//! Who belongs to a network and how each is to be probed: the part of the configuration that all nodes
//! share, in the form that the core works with.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::id::{NetworkId, NodeId};
use crate::crypto::PublicKey;

/// Four reports a second: one less than receivers take of an author (`intake::AUTHOR_RATE`).
const MIN_INTERVAL_MS: u64 = 250;

/// One node of the network, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, unique in the network.
    pub id: NodeId,
    /// Where its peers reach it: `http://` or `https://`, without a trailing slash. None: it only calls out.
    pub url: Option<String>,
    /// Time between probes of this node, in ms.
    pub poll_rate_ms: u64,
    /// How many failures in a row are tried again before the node counts as offline.
    pub retry: u32,
    /// Time for one whole exchange, in ms.
    pub timeout_ms: u64,
    /// The keys that may sign for it: none (takes no part yet), one, or two while one is rotated.
    pub keys: Vec<PublicKey>,
}

impl Member {
    /// The path of this node's exchanges as the client sees it: the url's path and `/mon/{network_id}`.
    pub fn exchange_path(&self, network_id: &NetworkId) -> String {
        let prefix = self.url.as_deref().map_or("", url_path);
        format!("{prefix}/mon/{network_id}")
    }
}

/// The path of an absolute `http://` or `https://` url, without a trailing slash.
fn url_path(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| after_scheme[at..].trim_end_matches('/'))
}

/// The members of a network in the order of their ids, seen from one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    network_id: NetworkId,
    members: Vec<Member>,
    me: usize,
    digest: String,
    voices: Vec<usize>,
}

impl Roster {
    /// A roster of `members`, in any order, seen from `me`. None if `me` is not among them or an id
    /// stands there twice.
    pub fn new(network_id: NetworkId, mut members: Vec<Member>, me: &NodeId) -> Option<Self> {
        members.sort_by(|a, b| a.id.cmp(&b.id));
        if members.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return None;
        }
        let me = members.binary_search_by(|member| member.id.cmp(me)).ok()?;
        let digest = digest(&members);
        let voices = voices(&members);
        Some(Self { network_id, members, me, digest, voices })
    }

    /// The network's name.
    pub fn network_id(&self) -> &NetworkId {
        &self.network_id
    }

    /// All members in the order of their ids; an index into this slice names a member elsewhere.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The index of this node itself.
    pub fn me(&self) -> usize {
        self.me
    }

    /// This node itself.
    pub fn own(&self) -> &Member {
        &self.members[self.me]
    }

    /// The index of the member `id`.
    pub fn index(&self, id: &str) -> Option<usize> {
        self.members.binary_search_by(|member| member.id.as_str().cmp(id)).ok()
    }

    /// The member `id`.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.index(id).map(|index| &self.members[index])
    }

    /// The longest time between two arrivals of a member's reports when nothing is lost, in ms: it hands
    /// them to each peer whenever it probes that peer, and each peer fetches them whenever it probes it.
    pub fn interval_ms(&self) -> u64 {
        let able = self.members.iter().filter(|member| !member.keys.is_empty());
        able.map(|member| member.poll_rate_ms).max().unwrap_or(0).max(MIN_INTERVAL_MS)
    }

    /// The longest time that one exchange with any member may take, in ms.
    pub fn longest_timeout_ms(&self) -> u64 {
        let able = self.members.iter().filter(|member| !member.keys.is_empty());
        able.map(|member| member.timeout_ms).max().unwrap_or(0)
    }

    /// For each member, the first of those that it shares a key with, itself if there is none: they speak
    /// with one voice.
    pub fn voices(&self) -> &[usize] {
        &self.voices
    }

    /// Whether two members share a key.
    pub fn has_shared_keys(&self) -> bool {
        self.voices.iter().enumerate().any(|(index, voice)| index != *voice)
    }

    /// How often this node reports, in ms: the shortest `poll_rate` among its peers, but no more often
    /// than receivers take reports.
    pub fn publish_ms(&self) -> u64 {
        let peers = self.members.iter().enumerate().filter(|(index, _)| *index != self.me);
        let able = peers.filter(|(_, member)| !member.keys.is_empty());
        able.map(|(_, member)| member.poll_rate_ms)
            .min()
            .unwrap_or(self.own().poll_rate_ms)
            .max(MIN_INTERVAL_MS)
    }

    /// Base64 of 8 bytes over the sorted node ids and keys: equal where two nodes' configurations name
    /// the same members with the same keys.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

fn voices(members: &[Member]) -> Vec<usize> {
    let mut first: HashMap<&[u8; 32], usize> = HashMap::new();
    let mut voices: Vec<usize> = (0..members.len()).collect();
    for (index, member) in members.iter().enumerate() {
        let known = member.keys.iter().filter_map(|key| first.get(key.as_bytes()).copied()).min();
        let voice = known.map_or(index, |other| voices[other]);
        voices[index] = voice;
        for key in &member.keys {
            first.entry(key.as_bytes()).or_insert(voice);
        }
    }
    voices
}

fn digest(sorted: &[Member]) -> String {
    let mut hash = Sha256::new();
    for member in sorted {
        hash.update(member.id.as_str());
        hash.update([0]);
        let mut keys: Vec<_> = member.keys.iter().map(PublicKey::as_bytes).collect();
        keys.sort_unstable();
        hash.update([u8::try_from(keys.len()).unwrap_or(u8::MAX)]);
        for key in keys {
            hash.update(key);
        }
    }
    STANDARD.encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_urls() {
        for (url, path) in [
            ("http://h:8000", ""),
            ("http://h:8000/", ""),
            ("https://h/prefix", "/prefix"),
            ("https://h/a/b/", "/a/b"),
        ] {
            assert_eq!(url_path(url), path, "{url}");
        }
    }
}

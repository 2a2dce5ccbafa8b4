//! Who belongs to a network and how each is to be probed: the part of the configuration that all nodes
//! share, in the form that the core works with.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::id::{NetworkId, NodeId};
pub use super::member::Member;
use super::rings::Rings;
pub use super::rings::{MAX_RINGS, ObserverPolicy};
use crate::crypto::PublicKey;

/// Four reports a second: one less than receivers take of an author (`intake::AUTHOR_RATE`).
const MIN_INTERVAL_MS: u64 = 250;

/// So many nodes report once in each `poll_rate`. In larger networks everybody reports less often, in
/// proportion, so that no node has more reports to check in a second; changes are told at once all the same.
pub const FULL_RATE_NODES: u64 = 1_000;

/// The members of a network in the order of their ids, seen from one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    network_id: NetworkId,
    members: Vec<Member>,
    indices: HashMap<NodeId, usize>,
    me: usize,
    digest: String,
    key_groups: Vec<usize>,
    /// Whether two members share a key.
    shared_keys: bool,
    keyed_count: usize,
    timing: Timing,
    observer_policy: ObserverPolicy,
    /// None where all observe all.
    rings: Option<Rings>,
    /// Whom this node observes, in ascending order.
    observed: Vec<usize>,
}

/// What follows from all members: times in ms, and with how many others this node exchanges reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Timing {
    max_poll_ms: u64,
    interval_ms: u64,
    publish_ms: u64,
    timeout_ms: u64,
    exchange_peers: usize,
}

impl Membership {
    /// A membership of `members`, in any order, seen from `me`, in which all observe all. None if `me` is not
    /// among them or an id stands there twice.
    pub fn new(network_id: NetworkId, mut members: Vec<Member>, me: &NodeId) -> Option<Self> {
        members.sort_by(|a, b| a.id.cmp(&b.id));
        if members.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return None;
        }
        let me = members.binary_search_by(|member| member.id.cmp(me)).ok()?;
        let voices = group_by_key(&members);
        let able = members.iter().filter(|member| !member.keys.is_empty()).count();
        let indices = members.iter().enumerate().map(|(index, member)| (member.id.clone(), index));
        let mut membership = Self {
            network_id,
            indices: indices.collect(),
            members,
            me,
            digest: String::new(),
            shared_keys: voices.iter().enumerate().any(|(index, voice)| index != *voice),
            key_groups: voices,
            keyed_count: able,
            timing: Timing::default(),
            observer_policy: ObserverPolicy::All,
            rings: None,
            observed: Vec::new(),
        };
        membership.observe(ObserverPolicy::All);
        Some(membership)
    }

    /// The same network, in which others observe whom.
    #[must_use]
    pub fn with_observers(mut self, observers: ObserverPolicy) -> Self {
        self.observe(observers);
        self
    }

    /// The same network once this node has a first key.
    #[must_use]
    pub fn with_own_key(&self, key: &PublicKey) -> Self {
        let mut members = self.members.clone();
        members[self.me].keys.push(key.clone());
        let me = &self.own().id;
        let membership =
            Self::new(self.network_id.clone(), members, me).expect("the same members make a membership");
        membership.with_observers(self.observer_policy)
    }

    fn observe(&mut self, observers: ObserverPolicy) {
        self.observer_policy = observers;
        self.rings = match observers {
            // So few are all observed by all.
            ObserverPolicy::Rings(rings) if (rings as usize) + 1 < self.keyed_count => {
                Some(Rings::new(&self.members, rings))
            }
            _ => None,
        };
        self.digest = digest(&self.members, observers);
        self.timing = self.compute_timing();
        self.observed = (0..self.members.len()).filter(|&target| self.observes(self.me, target)).collect();
    }

    fn compute_timing(&self) -> Timing {
        let able = self.members.iter().filter(|member| !member.keys.is_empty());
        let round_ms = able.clone().map(|member| member.poll_rate_ms).max().unwrap_or(0).max(MIN_INTERVAL_MS);
        let timeout_ms = able.map(|member| member.timeout_ms).max().unwrap_or(0);
        let peers = (0..self.members.len()).filter(|&peer| self.exchanges_with(peer));
        let partners = peers.clone().count();
        let quickest_ms = peers.map(|peer| self.members[peer].poll_rate_ms).min();
        let quickest_ms = quickest_ms.unwrap_or(self.own().poll_rate_ms).max(MIN_INTERVAL_MS);
        let stretch =
            |ms: u64| ms.saturating_mul((self.keyed_count as u64).max(FULL_RATE_NODES)) / FULL_RATE_NODES;
        let (interval_ms, publish_ms) = (stretch(round_ms), stretch(quickest_ms));
        Timing { max_poll_ms: round_ms, interval_ms, publish_ms, timeout_ms, exchange_peers: partners }
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
        self.indices.get(id).copied()
    }

    /// The member `id`.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.index(id).map(|index| &self.members[index])
    }

    /// How many members have a key, and so take part.
    pub fn keyed_count(&self) -> usize {
        self.keyed_count
    }

    /// Who observes whom, as configured.
    pub fn observer_policy(&self) -> ObserverPolicy {
        self.observer_policy
    }

    /// Whether `caller` is configured to probe `peer`.
    pub fn calls(&self, caller: usize, peer: usize) -> bool {
        let (one, other) = (&self.members[caller], &self.members[peer]);
        caller != peer
            && !one.keys.is_empty()
            && !other.keys.is_empty()
            && other.url.is_some()
            && self.rings.as_ref().is_none_or(|rings| rings.calls(caller, peer))
    }

    /// Whether `observer` is configured to observe `target`. Nobody probes a node without url: it is those
    /// that it calls who know of it.
    pub fn observes(&self, observer: usize, target: usize) -> bool {
        if self.members[target].url.is_some() {
            self.calls(observer, target)
        } else {
            self.calls(target, observer)
        }
    }

    /// Who is configured to observe `target`, in ascending order.
    pub fn observers(&self, target: usize) -> impl Iterator<Item = usize> + '_ {
        let probed = self.members[target].url.is_some();
        let listed = self.rings.as_ref().map(|rings| rings.partners(target, !probed));
        let some = 0..listed.map_or(self.members.len(), <[u32]>::len);
        some.map(move |at| listed.map_or(at, |listed| listed[at] as usize))
            // Rings list nobody else.
            .filter(move |&observer| listed.is_some() || self.observes(observer, target))
    }

    /// Whom this node is configured to observe, in ascending order.
    pub fn observed(&self) -> &[usize] {
        &self.observed
    }

    /// Whom this node is configured to probe, in ascending order.
    pub fn probed(&self) -> impl Iterator<Item = usize> + '_ {
        let listed = self.rings.as_ref().map(|rings| rings.partners(self.me, true));
        let some = 0..listed.map_or(self.members.len(), <[u32]>::len);
        some.map(move |at| listed.map_or(at, |listed| listed[at] as usize))
            .filter(move |&peer| self.calls(self.me, peer))
    }

    /// Whether this node exchanges reports with the member `peer`, in either direction.
    pub fn exchanges_with(&self, peer: usize) -> bool {
        self.calls(self.me, peer) || self.calls(peer, self.me)
    }

    /// The number of members that this node exchanges reports with, in either direction.
    pub fn exchange_peers(&self) -> usize {
        self.timing.exchange_peers
    }

    /// The longest time between two probes of any member, in ms.
    pub fn max_poll_ms(&self) -> u64 {
        self.timing.max_poll_ms
    }

    /// The longest time between two arrivals of a member's reports when nothing is lost, in ms: it hands
    /// them to each peer whenever it probes that peer, and each peer fetches them whenever it probes it.
    pub fn interval_ms(&self) -> u64 {
        self.timing.interval_ms
    }

    /// The longest time that one exchange with any member may take, in ms.
    pub fn max_timeout_ms(&self) -> u64 {
        self.timing.timeout_ms
    }

    /// For each member, the first of those that it shares a key with, itself if there is none: they speak
    /// with one voice.
    pub fn key_groups(&self) -> &[usize] {
        &self.key_groups
    }

    /// Whether two members share a key.
    pub fn has_shared_keys(&self) -> bool {
        self.shared_keys
    }

    /// How often this node reports, in ms: the shortest `poll_rate` among its peers, but no more often
    /// than receivers take reports, and less often in networks of more than [`UNHURRIED_NODES`].
    pub fn publish_ms(&self) -> u64 {
        self.timing.publish_ms
    }

    /// Base64 of 8 bytes over the sorted node ids and keys, and the number of rings if there are any: equal
    /// where two nodes' configurations name the same members with the same keys and observers.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

fn group_by_key(members: &[Member]) -> Vec<usize> {
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

fn digest(sorted: &[Member], observers: ObserverPolicy) -> String {
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
    if let ObserverPolicy::Rings(rings) = observers {
        hash.update(rings.to_be_bytes());
    }
    STANDARD.encode(&hash.finalize()[..8])
}

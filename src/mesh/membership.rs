//! The membership of a network: its nodes, their keys and probe settings, and which nodes observe which. All nodes
//! share this part of the configuration.

use std::collections::HashMap;

use super::config_digest::config_digest;
use super::id::{NetworkId, NodeId};
pub use super::member::Member;
use super::rings::Rings;
pub use super::rings::{MAX_RINGS, ObserverPolicy};
use super::wire::heads::heads_bytes;
use super::wire::message::fill_bytes;
use crate::crypto::PublicKey;

/// The shortest interval between reports, in ms. Four reports a second are one less than receivers verify of an author
/// ([`AUTHOR_REPORTS_PER_SECOND`](super::verify::AUTHOR_REPORTS_PER_SECOND)).
const MIN_INTERVAL_MS: u64 = 250;

/// The maximum number of nodes that report once in each `poll_rate`. In larger networks each node reports less often, in
/// proportion, so that the number of reports to verify in a second stays the same. Changes are still reported
/// immediately.
pub const FULL_RATE_NODES: u64 = 1_000;

/// The members of a network in the order of their ids, and which of them this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    network_id: NetworkId,
    members: Vec<Member>,
    indices: HashMap<NodeId, usize>,
    me: usize,
    digest: String,
    key_groups: Vec<usize>,
    /// Whether any two members share a key.
    shared_keys: bool,
    keyed_count: usize,
    timing: Timing,
    observer_policy: ObserverPolicy,
    /// None if all nodes observe all.
    rings: Option<Rings>,
    /// The members that this node observes, in ascending order.
    observed: Vec<usize>,
    /// For each member, the number of members that it observes.
    observed_counts: Vec<u32>,
    /// The room for reports in a message, in bytes.
    fill_bytes: usize,
}

/// Values derived from all members: times in ms, and the number of peers that this node exchanges reports with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Timing {
    max_poll_ms: u64,
    interval_ms: u64,
    publish_ms: u64,
    timeout_ms: u64,
    exchange_peers: usize,
}

impl Membership {
    /// Creates a membership in which all nodes observe all, for the node `me`. None if `me` is not one of `members`
    /// or two of them have the same id.
    pub fn new(network_id: NetworkId, mut members: Vec<Member>, me: &NodeId) -> Option<Self> {
        members.sort_by(|a, b| a.id.cmp(&b.id));
        if members.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return None;
        }
        let me = members.binary_search_by(|member| member.id.cmp(me)).ok()?;
        let key_groups = group_by_key(&members);
        let keyed_count = members.iter().filter(|member| !member.keys.is_empty()).count();
        let indices = members.iter().enumerate().map(|(index, member)| (member.id.clone(), index));
        let id_lengths = members.iter().map(|member| member.id.as_str().len());
        let mut membership = Self {
            fill_bytes: fill_bytes(heads_bytes(id_lengths)),
            network_id,
            indices: indices.collect(),
            members,
            me,
            digest: String::new(),
            shared_keys: key_groups.iter().enumerate().any(|(index, group)| index != *group),
            key_groups,
            keyed_count,
            timing: Timing::default(),
            observer_policy: ObserverPolicy::All,
            rings: None,
            observed: Vec::new(),
            observed_counts: Vec::new(),
        };
        membership.set_observers(ObserverPolicy::All);
        Some(membership)
    }

    /// The same members with another observer policy.
    #[must_use]
    pub fn with_observers(mut self, observers: ObserverPolicy) -> Self {
        self.set_observers(observers);
        self
    }

    /// The same members with `key` added to this node.
    #[must_use]
    pub fn with_own_key(&self, key: &PublicKey) -> Self {
        let mut members = self.members.clone();
        members[self.me].keys.push(key.clone());
        let me = &self.own().id;
        let membership =
            Self::new(self.network_id.clone(), members, me).expect("the same members are a membership");
        membership.with_observers(self.observer_policy)
    }

    fn set_observers(&mut self, observers: ObserverPolicy) {
        self.observer_policy = observers;
        self.rings = match observers {
            // A network with fewer nodes is fully connected by this number of rings.
            ObserverPolicy::Rings(rings) if (rings as usize) + 1 < self.keyed_count => {
                Some(Rings::new(&self.members, rings))
            }
            _ => None,
        };
        self.digest = config_digest(&self.network_id, &self.members, observers);
        self.timing = self.compute_timing();
        self.observed = (0..self.members.len()).filter(|&target| self.observes(self.me, target)).collect();
        self.observed_counts = self.count_observed();
    }

    fn count_observed(&self) -> Vec<u32> {
        let mut counts = vec![0; self.members.len()];
        if self.rings.is_some() {
            for target in 0..self.members.len() {
                for observer in self.observers(target) {
                    counts[observer] += 1;
                }
            }
            return counts;
        }
        // Counting pairs would take seconds for 10,000 nodes.
        let keyed = |member: &&Member| !member.keys.is_empty();
        let with_url = self.members.iter().filter(keyed).filter(|member| member.url.is_some()).count();
        for (count, member) in counts.iter_mut().zip(&self.members).filter(|(_, member)| keyed(member)) {
            let observed = if member.url.is_some() { self.keyed_count - 1 } else { with_url };
            *count = u32::try_from(observed).unwrap_or(u32::MAX);
        }
        counts
    }

    fn compute_timing(&self) -> Timing {
        let keyed = self.members.iter().filter(|member| !member.keys.is_empty());
        let max_poll_ms =
            keyed.clone().map(|member| member.poll_rate_ms).max().unwrap_or(0).max(MIN_INTERVAL_MS);
        let timeout_ms = keyed.map(|member| member.timeout_ms).max().unwrap_or(0);
        let peers = (0..self.members.len()).filter(|&peer| self.exchanges_with(peer));
        let exchange_peers = peers.clone().count();
        let min_poll_ms = peers.map(|peer| self.members[peer].poll_rate_ms).min();
        let min_poll_ms = min_poll_ms.unwrap_or(self.own().poll_rate_ms).max(MIN_INTERVAL_MS);
        let scale =
            |ms: u64| ms.saturating_mul((self.keyed_count as u64).max(FULL_RATE_NODES)) / FULL_RATE_NODES;
        let (interval_ms, publish_ms) = (scale(max_poll_ms), scale(min_poll_ms));
        Timing { max_poll_ms, interval_ms, publish_ms, timeout_ms, exchange_peers }
    }

    /// The name of the network.
    pub fn network_id(&self) -> &NetworkId {
        &self.network_id
    }

    /// All members in the order of their ids. Other types refer to a member by its index in this slice.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The index of this node.
    pub fn me(&self) -> usize {
        self.me
    }

    /// This node.
    pub fn own(&self) -> &Member {
        &self.members[self.me]
    }

    /// The index of the member `id`.
    pub fn index(&self, id: &str) -> Option<usize> {
        self.indices.get(id).copied()
    }

    /// The index of the member `id`, without a lookup if that is `expected` or the next one: lists of members are in the
    /// order of the membership, and most lack at most one member.
    pub(super) fn index_near(&self, expected: usize, id: &str) -> Option<usize> {
        let is_id = |&index: &usize| self.members.get(index).is_some_and(|member| member.id.as_str() == id);
        [expected, expected + 1].into_iter().find(is_id).or_else(|| self.index(id))
    }

    /// The member `id`.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.index(id).map(|index| &self.members[index])
    }

    /// The number of members that have a key and therefore participate.
    pub fn keyed_count(&self) -> usize {
        self.keyed_count
    }

    /// Whether `caller` is configured to probe `peer`.
    pub fn calls(&self, caller: usize, peer: usize) -> bool {
        let (calling, called) = (&self.members[caller], &self.members[peer]);
        caller != peer
            && !calling.keys.is_empty()
            && !called.keys.is_empty()
            && called.url.is_some()
            && self.rings.as_ref().is_none_or(|rings| rings.calls(caller, peer))
    }

    /// Whether `observer` is configured to observe `target`. A node without url cannot be probed: the nodes that it
    /// calls observe it.
    pub fn observes(&self, observer: usize, target: usize) -> bool {
        if self.members[target].url.is_some() {
            self.calls(observer, target)
        } else {
            self.calls(target, observer)
        }
    }

    /// The members configured to observe `target`, in ascending order.
    pub fn observers(&self, target: usize) -> impl Iterator<Item = usize> + '_ {
        let has_url = self.members[target].url.is_some();
        let listed = self
            .rings
            .as_ref()
            .map(|rings| if has_url { rings.callers_of(target) } else { rings.peers_of(target) });
        let positions = 0..listed.map_or(self.members.len(), <[u32]>::len);
        positions
            .map(move |at| listed.map_or(at, |listed| listed[at] as usize))
            // Rings list only observers.
            .filter(move |&observer| listed.is_some() || self.observes(observer, target))
    }

    /// The members that this node is configured to observe, in ascending order.
    pub fn observed(&self) -> &[usize] {
        &self.observed
    }

    /// The number of members that the member `observer` is configured to observe.
    pub fn observed_count(&self, observer: usize) -> usize {
        self.observed_counts[observer] as usize
    }

    /// The room for reports in a message of this network beside the heads of all members, in bytes; the same again for
    /// proofs.
    pub fn fill_bytes(&self) -> usize {
        self.fill_bytes
    }

    /// The members that this node is configured to probe, in ascending order.
    pub fn probed(&self) -> impl Iterator<Item = usize> + '_ {
        let listed = self.rings.as_ref().map(|rings| rings.peers_of(self.me));
        let positions = 0..listed.map_or(self.members.len(), <[u32]>::len);
        positions
            .map(move |at| listed.map_or(at, |listed| listed[at] as usize))
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

    /// The longest time between two arrivals of a member's reports if no message is lost, in ms. A member sends its
    /// report to a peer when it probes the peer, and a peer fetches the report when it probes the member.
    pub fn interval_ms(&self) -> u64 {
        self.timing.interval_ms
    }

    /// The longest timeout of an exchange with any member, in ms.
    pub fn max_timeout_ms(&self) -> u64 {
        self.timing.timeout_ms
    }

    /// For each member, the group of members that share a key with it, named by the index of the first of them. The
    /// members of a group have one vote together.
    pub fn key_groups(&self) -> &[usize] {
        &self.key_groups
    }

    /// Whether any two members share a key.
    pub fn has_shared_keys(&self) -> bool {
        self.shared_keys
    }

    /// The time between two reports of this node without a change, in ms: the shortest `poll_rate` among its peers, but
    /// at least 250 ms, and longer in networks of more than [`FULL_RATE_NODES`].
    pub fn publish_ms(&self) -> u64 {
        self.timing.publish_ms
    }

    /// How long a node holds a report before it sends it, without being asked, to a peer that lacks it: a quarter of
    /// [`Self::max_poll_ms`], in ms.
    pub(super) fn follow_up_wait_ms(&self) -> u64 {
        self.timing.max_poll_ms / 4
    }

    /// The digest of the configuration: [`config_digest`].
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

fn group_by_key(members: &[Member]) -> Vec<usize> {
    let mut first: HashMap<&[u8; 32], usize> = HashMap::new();
    let mut groups: Vec<usize> = (0..members.len()).collect();
    for (index, member) in members.iter().enumerate() {
        let known = member.keys.iter().filter_map(|key| first.get(key.as_bytes()).copied()).min();
        let group = known.map_or(index, |other| groups[other]);
        groups[index] = group;
        for key in &member.keys {
            first.entry(key.as_bytes()).or_insert(group);
        }
    }
    groups
}

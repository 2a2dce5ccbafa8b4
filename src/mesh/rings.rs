//! Observer rings for large networks: each node observes its successor in each of several rings, so that the work of a
//! node does not grow with the network (Rapid, Suresh et al. 2018, section 4.1).

use sha2::{Digest as _, Sha256};

use super::member::Member;

/// The maximum number of rings.
pub const MAX_RINGS: u32 = 64;

/// Which nodes observe which, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ObserverPolicy {
    /// Every node observes every other.
    #[default]
    All,
    /// Each node observes its successor in each of this number of rings: 1 to [`MAX_RINGS`].
    Rings(u32),
}

/// The rings of a network, by index into its membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rings {
    /// For each node, the nodes that it probes, in ascending order.
    peers: Vec<Box<[u32]>>,
    /// For each node, the nodes that probe it, in ascending order.
    callers: Vec<Box<[u32]>>,
}

impl Rings {
    /// Computes the rings of `members`. A ring, numbered from 0, orders the members that have a key by SHA-256 of
    /// `<ring>/<node_id>`. The successor of a node is the next one that has a url.
    pub(super) fn new(members: &[Member], rings: u32) -> Self {
        let keyed: Vec<usize> = (0..members.len()).filter(|&index| !members[index].keys.is_empty()).collect();
        let (mut peers, mut callers) = (vec![Vec::new(); members.len()], vec![Vec::new(); members.len()]);
        for ring in 0..rings {
            let mut order = keyed.clone();
            order.sort_by_cached_key(|&index| ring_position(ring, &members[index]));
            let mut successor = None;
            // Goes backwards twice, because the successor of the last node is at the front.
            for &node in order.iter().rev().chain(order.iter().rev()) {
                if let Some(next) = successor.filter(|next| *next != node) {
                    peers[node].push(to_u32(next));
                    callers[next].push(to_u32(node));
                }
                if members[node].url.is_some() {
                    successor = Some(node);
                }
            }
        }
        Self {
            peers: peers.into_iter().map(sorted).collect(),
            callers: callers.into_iter().map(sorted).collect(),
        }
    }

    /// Whether `caller` probes `peer`.
    pub(super) fn calls(&self, caller: usize, peer: usize) -> bool {
        self.peers[caller].binary_search(&to_u32(peer)).is_ok()
    }

    /// The nodes that `node` probes, in ascending order.
    pub(super) fn peers_of(&self, node: usize) -> &[u32] {
        &self.peers[node]
    }

    /// The nodes that probe `node`, in ascending order.
    pub(super) fn callers_of(&self, node: usize) -> &[u32] {
        &self.callers[node]
    }
}

fn ring_position(ring: u32, member: &Member) -> [u8; 32] {
    Sha256::digest(format!("{ring}/{}", member.id)).into()
}

fn to_u32(index: usize) -> u32 {
    u32::try_from(index).expect("a network has fewer than 2^32 nodes")
}

fn sorted(mut list: Vec<u32>) -> Box<[u32]> {
    list.sort_unstable();
    list.dedup();
    list.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mesh::membership::Membership;
    use crate::mesh::sample;

    fn membership(members: &[Member], rings: u32) -> Membership {
        let membership = sample::membership(members, 0).as_ref().clone();
        membership.with_observers(ObserverPolicy::Rings(rings))
    }

    /// The number of nodes that reports of node 0 can reach, over exchanges in either direction.
    fn connected_count(membership: &Membership) -> usize {
        let (mut known, mut open) = (BTreeSet::from([0]), vec![0]);
        while let Some(node) = open.pop() {
            for other in 0..membership.members().len() {
                if (membership.calls(node, other) || membership.calls(other, node)) && known.insert(other) {
                    open.push(other);
                }
            }
        }
        known.len()
    }

    #[test]
    fn every_node_observes_few_and_is_observed_by_few() {
        let membership = membership(&sample::members(300), 10);
        for node in 0..300 {
            let probed = (0..300).filter(|&peer| membership.calls(node, peer)).count();
            let observers: Vec<_> = membership.observers(node).collect();
            assert!((8..=10).contains(&probed), "{node} probes {probed}");
            assert!((8..=10).contains(&observers.len()), "{node} is observed by {}", observers.len());
            assert!(observers.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(
                observers.iter().all(|&observer| membership.observes(observer, node) && observer != node)
            );
        }
        assert_eq!(connected_count(&membership), 300);
    }

    #[test]
    fn all_nodes_compute_the_same_rings() {
        let members = sample::members(40);
        let views = [0, 17, 39].map(|me| {
            sample::membership(&members, me).as_ref().clone().with_observers(ObserverPolicy::Rings(3))
        });
        for (one, other) in (0..40).flat_map(|one| (0..40).map(move |other| (one, other))) {
            let calls = views.each_ref().map(|view| view.calls(one, other));
            assert!(calls == [true; 3] || calls == [false; 3], "{one} {other}");
        }
        // The first ring, by its definition: sha256("0/node-00") and so on.
        let mut order: Vec<usize> = (0..40).collect();
        order.sort_by_key(|&index| Sha256::digest(format!("0/{}", members[index].id)).to_vec());
        for pair in order.windows(2) {
            assert!(views[0].calls(pair[0], pair[1]));
        }
        assert!(views[0].calls(order[39], order[0]));
    }

    #[test]
    fn nodes_without_url_are_observed_by_the_nodes_they_call() {
        let mut members = sample::members(60);
        for member in members.iter_mut().step_by(2) {
            member.url = None;
        }
        members[5].keys.clear();
        let membership = membership(&members, 5);
        for node in (0..60).filter(|node| *node != 5) {
            let observers: Vec<_> = membership.observers(node).collect();
            assert!(observers.len() >= 3, "{node} is observed by {observers:?}");
            assert!(!observers.contains(&5), "a node without a key takes no part");
            for observer in observers {
                let (caller, peer) =
                    if members[node].url.is_some() { (observer, node) } else { (node, observer) };
                assert!(membership.calls(caller, peer) && members[peer].url.is_some());
            }
        }
        assert_eq!(membership.observers(5).count(), 0);
        assert_eq!(connected_count(&membership), 59);
    }

    #[test]
    fn in_a_small_network_all_nodes_observe_all() {
        let membership = membership(&sample::members(6), 5);
        assert!((0..6).all(|node| membership.observers(node).count() == 5));
    }

    #[test]
    fn the_digest_depends_on_the_number_of_rings() {
        let members = sample::members(30);
        let all = sample::membership(&members, 0);
        assert_ne!(all.digest(), membership(&members, 3).digest());
        assert_ne!(membership(&members, 4).digest(), membership(&members, 3).digest());
        assert_eq!(membership(&members, 4).with_observers(ObserverPolicy::All).digest(), all.digest());
    }
}

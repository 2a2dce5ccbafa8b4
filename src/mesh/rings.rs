//! Who observes whom in a large network: each node its successor in each of some rings, so that the work of a
//! node does not grow with the network (Rapid, Suresh et al. 2018, section 4.1).

use sha2::{Digest as _, Sha256};

use super::member::Member;

/// The most rings that may be configured.
pub const MAX_RINGS: u32 = 64;

/// Who observes whom, as configured. It never changes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ObserverPolicy {
    /// Everybody observes everybody.
    #[default]
    All,
    /// Each node observes its successor in each of so many rings, 1 to [`MAX_RINGS`].
    Rings(u32),
}

/// The rings of a network, by index into its membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rings {
    /// Whom each node probes, in ascending order.
    peers: Vec<Box<[u32]>>,
    /// Who probes each node, in ascending order.
    callers: Vec<Box<[u32]>>,
}

impl Rings {
    /// The rings of `members`. A ring orders those that have a key by SHA-256 of `<ring>/<node_id>`, the
    /// rings numbered from 0; the successor of a node is the next one that has a url.
    pub(super) fn new(members: &[Member], rings: u32) -> Self {
        let able: Vec<usize> = (0..members.len()).filter(|&index| !members[index].keys.is_empty()).collect();
        let (mut peers, mut callers) = (vec![Vec::new(); members.len()], vec![Vec::new(); members.len()]);
        for ring in 0..rings {
            let mut order = able.clone();
            order.sort_by_cached_key(|&index| place(ring, &members[index]));
            let mut successor = None;
            // Twice around, from the end: the successor of the last one stands at the front.
            for &node in order.iter().rev().chain(order.iter().rev()) {
                if let Some(next) = successor.filter(|next| *next != node) {
                    peers[node].push(short(next));
                    callers[next].push(short(node));
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
        self.peers[caller].binary_search(&short(peer)).is_ok()
    }

    /// Whom a node probes, or who probes it, in ascending order.
    pub(super) fn partners(&self, node: usize, probed: bool) -> &[u32] {
        if probed { &self.peers[node] } else { &self.callers[node] }
    }
}

fn place(ring: u32, member: &Member) -> [u8; 32] {
    Sha256::digest(format!("{ring}/{}", member.id)).into()
}

fn short(index: usize) -> u32 {
    u32::try_from(index).expect("no network has so many nodes")
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

    /// Those that reports of node 0 can come to, over exchanges in either direction.
    fn joined(membership: &Membership) -> usize {
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
    fn everybody_observes_few_and_is_observed_by_few() {
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
        assert_eq!(joined(&membership), 300);
    }

    #[test]
    fn all_nodes_reckon_the_same_rings() {
        let members = sample::members(40);
        let views = [0, 17, 39].map(|me| {
            sample::membership(&members, me).as_ref().clone().with_observers(ObserverPolicy::Rings(3))
        });
        for (one, other) in (0..40).flat_map(|one| (0..40).map(move |other| (one, other))) {
            let said = views.each_ref().map(|view| view.calls(one, other));
            assert!(said == [true; 3] || said == [false; 3], "{one} {other}");
        }
        // The first ring, reckoned by hand: sha256("0/node-00") and so on.
        let mut order: Vec<usize> = (0..40).collect();
        order.sort_by_key(|&index| Sha256::digest(format!("0/{}", members[index].id)).to_vec());
        for pair in order.windows(2) {
            assert!(views[0].calls(pair[0], pair[1]));
        }
        assert!(views[0].calls(order[39], order[0]));
    }

    #[test]
    fn who_cannot_be_probed_is_known_by_whom_it_calls() {
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
        assert_eq!(joined(&membership), 59);
    }

    #[test]
    fn few_nodes_are_all_observed_by_all() {
        let membership = membership(&sample::members(6), 5);
        assert!((0..6).all(|node| membership.observers(node).count() == 5));
    }

    #[test]
    fn another_number_of_rings_is_another_configuration() {
        let members = sample::members(30);
        let all = sample::membership(&members, 0);
        assert_ne!(all.digest(), membership(&members, 3).digest());
        assert_ne!(membership(&members, 4).digest(), membership(&members, 3).digest());
        assert_eq!(membership(&members, 4).with_observers(ObserverPolicy::All).digest(), all.digest());
    }
}

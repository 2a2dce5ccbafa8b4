//! What this node and its partners have told each other of their heads. In a large network most heads are the
//! same from one exchange to the next, so only those are written that have changed; here they are put
//! together again.
//!
//! A reply of a large network carries a `mark`, a number that only its writer understands. The next request
//! hands it back as `since`, and names only what has changed since the request that this reply answered. Its
//! reply then says `partial`, and names only what has changed since the mark. A node that was started anew
//! knows nothing of it, and names everything; then the other begins anew as well.

use std::collections::HashMap;

use crate::mesh::id::NodeId;
use crate::mesh::membership::{FULL_RATE_NODES, Membership};
use crate::mesh::snapshot::Snapshot;
use crate::mesh::wire::heads::Heads;

/// All correspondence of a node, by partner.
#[derive(Debug, Default)]
pub struct DeltaSync {
    partners: HashMap<NodeId, PartnerSync>,
}

/// What was told by and to one partner.
#[derive(Debug, Default)]
struct PartnerSync {
    /// All heads that it has named.
    peer_heads: Option<Heads>,
    /// What it said last, and what was told to it before that.
    base: Option<DeltaBase>,
}

/// Since when heads are to be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaBase {
    /// The partner's mark.
    pub mark: u64,
    /// The monotonic time in ms of the snapshot that this node told it of.
    pub snapshot_ms: u64,
}

/// Whether heads are worth this: in small networks all of them change between two exchanges.
fn is_large(membership: &Membership) -> bool {
    membership.keyed_count() as u64 > FULL_RATE_NODES
}

/// What a reply carries so that the next request can be short; None in a small network.
pub fn mark(snapshot: &Snapshot) -> Option<u64> {
    // What this snapshot lacks will have changed no earlier than it was taken.
    is_large(snapshot.membership()).then(|| snapshot.at().mono_ms)
}

impl DeltaSync {
    /// Since when a request to `partner` is to name heads; None for all of them.
    pub fn base_for(&self, partner: &NodeId, snapshot: &Snapshot) -> Option<DeltaBase> {
        let thread = self.partners.get(partner)?;
        thread.peer_heads.as_ref().filter(|theirs| theirs.matches(snapshot.membership()))?;
        thread.base
    }

    /// Takes the heads and the mark of `partner`'s reply to a request that named heads since `asked` and was
    /// written from `snapshot`. Gives back all of its heads.
    pub fn on_reply(
        &mut self,
        partner: &NodeId,
        snapshot: &Snapshot,
        asked: Option<DeltaBase>,
        heads: Heads,
        mark: Option<u64>,
    ) -> Heads {
        if !is_large(snapshot.membership()) {
            self.partners.remove(partner);
            return heads;
        }
        let thread = self.partners.entry(partner.clone()).or_default();
        // It names everything again where it could make nothing of what was left out.
        let understood = asked.is_none() || heads.is_partial();
        let told_ms = snapshot.at().mono_ms;
        let (heads, whole) = thread.complete(heads);
        thread.base =
            mark.filter(|_| understood && whole).map(|mark| DeltaBase { mark, snapshot_ms: told_ms });
        heads
    }

    /// Takes the heads of `partner`'s request, and gives back all of its heads; or what it named, and false,
    /// where those that it left out are not known here.
    pub fn on_request(&mut self, partner: &NodeId, snapshot: &Snapshot, heads: Heads) -> (Heads, bool) {
        let membership = snapshot.membership();
        let me = membership.me();
        let is_partner = membership
            .index(partner.as_str())
            .is_some_and(|index| membership.calls(index, me) || membership.calls(me, index));
        if !is_large(membership) || !is_partner {
            let whole = !heads.is_partial();
            return (heads, whole);
        }
        self.partners.entry(partner.clone()).or_default().complete(heads)
    }
}

impl PartnerSync {
    fn complete(&mut self, heads: Heads) -> (Heads, bool) {
        if !heads.is_partial() {
            self.peer_heads = Some(heads.without_ages());
            return (heads, true);
        }
        if let Some(known) = self.peer_heads.as_mut().filter(|known| known.matches(heads.membership())) {
            return (heads.merged_into(known), true);
        }
        self.peer_heads = None;
        (heads, false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mesh::id::{MAX_INTEGER, ReportId};
    use crate::mesh::sample;

    /// A snapshot of a network that is large enough.
    fn large() -> Snapshot {
        let mut member = sample::member(0);
        let members: Vec<_> = (0..1_001)
            .map(|number| {
                member.id = format!("node-{number:02}").parse().expect("a name");
                member.clone()
            })
            .collect();
        let membership =
            Membership::new(sample::network_id(), members, &sample::node_id(0)).expect("node 0 is there");
        let mut snapshot = sample::snapshot(2, &[]);
        snapshot.membership = Arc::new(membership);
        snapshot
    }

    fn heads(snapshot: &Snapshot, json: &str, partial: bool) -> Heads {
        Heads::parse(json, snapshot.membership(), partial).expect("heads")
    }

    fn seq(snapshot: &Snapshot, heads: &Heads, number: usize) -> Option<u64> {
        let index = snapshot.membership().index(sample::node_id(number).as_str()).expect("a member");
        heads.get(snapshot.membership(), index).map(|Head { id: ReportId { seq, .. }, .. }| *seq)
    }

    use crate::mesh::wire::heads::Head;

    const BOTH: &str = r#"{"node-01":[7,1,"AAAAAAAAAAA=",5],"node-02":[7,1,"AAAAAAAAAAA=",5]}"#;
    const NEXT: &str = r#"{"node-02":[7,2,"AAAAAAAAAAA=",5]}"#;

    #[test]
    fn what_was_named_before_is_remembered() {
        let snapshot = large();
        let peer = sample::node_id(5);
        let mut letters = DeltaSync::default();
        assert_eq!(letters.base_for(&peer, &snapshot), None, "nothing was said yet");
        letters.on_reply(&peer, &snapshot, None, heads(&snapshot, BOTH, false), Some(44));
        let since = letters.base_for(&peer, &snapshot);
        assert_eq!(since, Some(DeltaBase { mark: 44, snapshot_ms: snapshot.at().mono_ms }));
        let all = letters.on_reply(&peer, &snapshot, since, heads(&snapshot, NEXT, true), Some(45));
        assert_eq!((seq(&snapshot, &all, 1), seq(&snapshot, &all, 2)), (Some(1), Some(2)));
        assert_eq!(letters.base_for(&peer, &snapshot).map(|since| since.mark), Some(45));
        // It was started anew: it names everything, and is told everything.
        let all = letters.on_reply(&peer, &snapshot, since, heads(&snapshot, NEXT, false), Some(3));
        assert_eq!((seq(&snapshot, &all, 1), seq(&snapshot, &all, 2)), (None, Some(2)));
        assert_eq!(letters.base_for(&peer, &snapshot), None);
    }

    #[test]
    fn only_what_a_message_names_itself_is_known_to_be_young() {
        let snapshot = large();
        let peer = sample::node_id(5);
        let age_ms = |heads: &Heads, number: usize, seq: u64| {
            let index = snapshot.membership().index(sample::node_id(number).as_str()).expect("a member");
            heads.age_ms(snapshot.membership(), index, ReportId { epoch: 7, seq })
        };
        let first = heads(&snapshot, BOTH, false);
        assert_eq!((age_ms(&first, 1, 1), age_ms(&first, 1, 2)), (5, 0));
        let mut letters = DeltaSync::default();
        letters.on_reply(&peer, &snapshot, None, first, Some(44));
        let (next, _) = letters.on_request(&peer, &snapshot, heads(&snapshot, NEXT, true));
        assert_eq!((age_ms(&next, 1, 1), age_ms(&next, 2, 2)), (MAX_INTEGER, 5));
        let (unknown, _) = DeltaSync::default().on_request(&peer, &snapshot, heads(&snapshot, NEXT, true));
        assert_eq!((age_ms(&unknown, 1, 1), age_ms(&unknown, 2, 2)), (MAX_INTEGER, 5));
    }

    #[test]
    fn what_was_left_out_and_is_not_known_is_said_to_be() {
        let snapshot = large();
        let peer = sample::node_id(5);
        let mut letters = DeltaSync::default();
        let (named, whole) = letters.on_request(&peer, &snapshot, heads(&snapshot, NEXT, true));
        assert_eq!((seq(&snapshot, &named, 2), whole), (Some(2), false));
        let (_, whole) = letters.on_request(&peer, &snapshot, heads(&snapshot, BOTH, false));
        assert!(whole);
        let (all, whole) = letters.on_request(&peer, &snapshot, heads(&snapshot, NEXT, true));
        assert_eq!((seq(&snapshot, &all, 1), seq(&snapshot, &all, 2), whole), (Some(1), Some(2), true));
    }

    #[test]
    fn another_configuration_begins_anew() {
        let (old, new) = (large(), large());
        let peer = sample::node_id(5);
        let mut letters = DeltaSync::default();
        letters.on_reply(&peer, &old, None, heads(&old, BOTH, false), Some(44));
        assert_eq!(letters.base_for(&peer, &new), None);
        assert!(!letters.on_request(&peer, &new, heads(&new, NEXT, true)).1);
    }

    #[test]
    fn small_networks_name_everything() {
        let snapshot = sample::snapshot(8, &[]);
        let peer = sample::node_id(5);
        let mut letters = DeltaSync::default();
        assert_eq!(mark(&snapshot), None);
        letters.on_reply(&peer, &snapshot, None, heads(&snapshot, BOTH, false), Some(44));
        assert_eq!(letters.base_for(&peer, &snapshot), None);
        assert!(letters.partners.is_empty());
    }
}

//! Delta-encoded heads: in a large network most heads are the same from one exchange to the next, so messages name
//! only those that changed.
//!
//! A reply in a large network carries a `mark`, a number that only its author interprets. The next request returns it
//! as `since` and names only the heads that changed since the request that this reply answered. Its reply says
//! `partial` and names only the heads that changed since the mark. A node that restarted does not know the mark and
//! names everything; then the other does the same.

use std::sync::Arc;

use super::membership::{FULL_RATE_NODES, Membership};
use super::timestamps::Timestamps;
use super::wire::heads::Heads;

/// The base of a delta-encoded request, which names only the heads that changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaBase {
    /// The partner's mark.
    pub mark: u64,
    /// The time of the snapshot from which this node wrote the request that the mark answers: monotonic time in ms.
    pub snapshot_ms: u64,
}

/// The state of delta encoding with one partner.
#[derive(Debug, Clone, Default)]
pub struct PartnerSync {
    /// All heads that the partner has named.
    peer_heads: Option<Heads>,
    base: Option<DeltaBase>,
}

/// The heads of a reply, with what they answer.
#[derive(Debug)]
pub(crate) struct ReplyHeads {
    /// The base of the request; none if it named all heads.
    pub(crate) base: Option<DeltaBase>,
    /// The time of the snapshot from which the request was written: monotonic time in ms.
    pub(crate) snapshot_ms: u64,
    /// The heads that the reply names.
    pub(crate) heads: Heads,
    /// The reply's mark.
    pub(crate) mark: Option<u64>,
}

/// Whether heads are delta-encoded: not in small networks, where all of them change between two exchanges.
fn applies_to(membership: &Membership) -> bool {
    membership.keyed_count() as u64 > FULL_RATE_NODES
}

/// The mark of a reply written from a snapshot that was taken at `at`; none in a small network.
pub fn mark(membership: &Membership, at: Timestamps) -> Option<u64> {
    // Every change that the snapshot lacks happens at or after the time it was taken.
    applies_to(membership).then_some(at.mono_ms)
}

impl PartnerSync {
    /// The base of the next request to the partner; none if it names all heads.
    pub(crate) fn base(&self, membership: &Arc<Membership>) -> Option<DeltaBase> {
        self.peer_heads.as_ref().filter(|known| known.matches(membership))?;
        self.base
    }

    /// Applies the heads of a reply, and returns all of the partner's heads.
    pub(crate) fn on_reply(&mut self, membership: &Arc<Membership>, reply: ReplyHeads) -> Heads {
        if !applies_to(membership) {
            *self = Self::default();
            return reply.heads;
        }
        // The partner names everything again if it did not understand the request's `since`.
        let understood = reply.base.is_none() || reply.heads.is_partial();
        let (heads, complete) = self.complete(reply.heads);
        let base = |mark| DeltaBase { mark, snapshot_ms: reply.snapshot_ms };
        self.base = reply.mark.filter(|_| understood && complete).map(base);
        heads
    }

    /// Completes the heads `named` in a request of the member `partner`; false if omitted heads are not known here.
    /// Changes nothing: the event loop applies the heads by `on_request`.
    pub fn completed(&self, membership: &Membership, partner: usize, named: Heads) -> (Heads, bool) {
        if !applies_to(membership) || !membership.exchanges_with(partner) {
            let complete = !named.is_partial();
            return (named, complete);
        }
        self.clone().complete(named)
    }

    /// Applies the heads of a request of the member `partner`, and returns all of the partner's heads that are known.
    pub(crate) fn on_request(&mut self, membership: &Membership, partner: usize, named: Heads) -> Heads {
        if !applies_to(membership) || !membership.exchanges_with(partner) {
            return named;
        }
        self.complete(named).0
    }

    /// Completes the heads `named` in a message, and stores them; false if omitted heads are not known here.
    fn complete(&mut self, named: Heads) -> (Heads, bool) {
        if !named.is_partial() {
            self.peer_heads = Some(named.without_ages());
            return (named, true);
        }
        if let Some(known) = self.peer_heads.as_mut().filter(|known| known.matches(named.membership())) {
            return (named.merged_into(known), true);
        }
        self.peer_heads = None;
        (named, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::id::{MAX_INTEGER, ReportId};
    use crate::mesh::sample;
    use crate::mesh::wire::heads::Head;

    const BOTH: &str = r#"{"node-01":[7,1,"AAAAAAAAAAA=",5],"node-02":[7,1,"AAAAAAAAAAA=",5]}"#;
    const NEXT: &str = r#"{"node-02":[7,2,"AAAAAAAAAAA=",5]}"#;
    /// The time of the snapshot from which requests are written.
    const SNAPSHOT_MS: u64 = 10_000;

    /// The members of a network that is large enough for delta-encoded heads.
    fn large() -> Arc<Membership> {
        let mut member = sample::member(0);
        let members: Vec<_> = (0..1_001)
            .map(|number| {
                member.id = format!("node-{number:02}").parse().expect("a name");
                member.clone()
            })
            .collect();
        let membership = Membership::new(sample::network_id(), members, &sample::node_id(0));
        Arc::new(membership.expect("node 0 is a member"))
    }

    fn heads(membership: &Arc<Membership>, json: &str, partial: bool) -> Heads {
        Heads::parse(json, membership, partial).expect("heads")
    }

    fn index(membership: &Membership, number: usize) -> usize {
        membership.index(sample::node_id(number).as_str()).expect("a member")
    }

    fn seq(membership: &Arc<Membership>, heads: &Heads, number: usize) -> Option<u64> {
        let head = heads.get(membership, index(membership, number));
        head.map(|Head { id: ReportId { seq, .. }, .. }| *seq)
    }

    fn reply(base: Option<DeltaBase>, heads: Heads, mark: u64) -> ReplyHeads {
        ReplyHeads { base, snapshot_ms: SNAPSHOT_MS, heads, mark: Some(mark) }
    }

    /// Completes the heads of a request as an I/O thread does, then applies them as the event loop does.
    fn request(sync: &mut PartnerSync, membership: &Arc<Membership>, named: Heads) -> (Heads, bool) {
        let partner = index(membership, 5);
        let completed = sync.completed(membership, partner, named.clone());
        sync.on_request(membership, partner, named);
        completed
    }

    #[test]
    fn heads_named_earlier_complete_a_partial_reply() {
        let members = large();
        let mut sync = PartnerSync::default();
        assert_eq!(sync.base(&members), None, "no exchange yet");
        sync.on_reply(&members, reply(None, heads(&members, BOTH, false), 44));
        let base = sync.base(&members);
        assert_eq!(base, Some(DeltaBase { mark: 44, snapshot_ms: SNAPSHOT_MS }));
        let all = sync.on_reply(&members, reply(base, heads(&members, NEXT, true), 45));
        assert_eq!((seq(&members, &all, 1), seq(&members, &all, 2)), (Some(1), Some(2)));
        assert_eq!(sync.base(&members).map(|base| base.mark), Some(45));
        // The partner restarted: it names everything, and so does the next request.
        let all = sync.on_reply(&members, reply(base, heads(&members, NEXT, false), 3));
        assert_eq!((seq(&members, &all, 1), seq(&members, &all, 2)), (None, Some(2)));
        assert_eq!(sync.base(&members), None);
    }

    #[test]
    fn only_heads_named_in_the_message_have_a_known_age() {
        let members = large();
        let age_ms = |heads: &Heads, number: usize, seq: u64| {
            heads.age_ms(&members, index(&members, number), ReportId { epoch: 7, seq })
        };
        let first = heads(&members, BOTH, false);
        assert_eq!((age_ms(&first, 1, 1), age_ms(&first, 1, 2)), (5, 0));
        let mut sync = PartnerSync::default();
        sync.on_reply(&members, reply(None, first, 44));
        let (next, _) = request(&mut sync, &members, heads(&members, NEXT, true));
        assert_eq!((age_ms(&next, 1, 1), age_ms(&next, 2, 2)), (MAX_INTEGER, 5));
        let (unknown, _) = request(&mut PartnerSync::default(), &members, heads(&members, NEXT, true));
        assert_eq!((age_ms(&unknown, 1, 1), age_ms(&unknown, 2, 2)), (MAX_INTEGER, 5));
    }

    #[test]
    fn omitted_heads_that_are_not_known_make_a_request_incomplete() {
        let members = large();
        let mut sync = PartnerSync::default();
        let (named, complete) = request(&mut sync, &members, heads(&members, NEXT, true));
        assert_eq!((seq(&members, &named, 2), complete), (Some(2), false));
        let (_, complete) = request(&mut sync, &members, heads(&members, BOTH, false));
        assert!(complete);
        let (all, complete) = request(&mut sync, &members, heads(&members, NEXT, true));
        assert_eq!((seq(&members, &all, 1), seq(&members, &all, 2), complete), (Some(1), Some(2), true));
    }

    #[test]
    fn another_configuration_starts_over() {
        let (old, new) = (large(), large());
        let mut sync = PartnerSync::default();
        sync.on_reply(&old, reply(None, heads(&old, BOTH, false), 44));
        assert_eq!(sync.base(&new), None);
        assert!(!request(&mut sync, &new, heads(&new, NEXT, true)).1);
    }

    #[test]
    fn small_networks_name_all_heads() {
        let members = sample::membership(&sample::members(8), 0);
        let mut sync = PartnerSync::default();
        assert_eq!(mark(&members, Timestamps::default()), None);
        sync.on_reply(&members, reply(None, heads(&members, BOTH, false), 44));
        assert_eq!(sync.base(&members), None);
        assert!(sync.peer_heads.is_none());
    }
}

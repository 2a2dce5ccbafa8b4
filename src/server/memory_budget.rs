//! The memory budget: bounds the memory of request bodies in total, and that of bodies and replies for each owner.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use super::resource_owner::ResourceOwner;

/// The sizes of a budget, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BudgetSizes {
    /// All bodies together.
    pub(super) total: usize,
    /// All bodies and replies of one owner.
    pub(super) share: usize,
    /// The bodies of one owner that are accepted even if the others use up `total`, so that they cannot block
    /// small requests.
    pub(super) exempt: usize,
}

/// The memory of the request bodies that are being received or processed, and of the replies that are being written.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    sizes: BudgetSizes,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    /// All bodies.
    total: usize,
    /// Bodies and replies of each owner with at least one byte.
    by_owner: HashMap<ResourceOwner, usize>,
}

impl MemoryBudget {
    pub(super) fn new(sizes: BudgetSizes) -> Self {
        Self { sizes, usage: Mutex::default() }
    }

    /// Returns the reservation of a request of `owner`, with 0 bytes.
    pub(super) fn reservation(&self, owner: ResourceOwner) -> MemoryReservation<'_> {
        MemoryReservation { budget: self, owner, body_bytes: 0, reply_bytes: 0 }
    }

    /// Adds `bytes` of a body to the usage of `owner`, unless that exceeds a limit.
    fn try_add_body(&self, owner: &ResourceOwner, bytes: usize) -> bool {
        let mut usage = self.usage.lock();
        let of_owner = usage.by_owner.get(owner).copied().unwrap_or(0).saturating_add(bytes);
        let total = usage.total.saturating_add(bytes);
        let BudgetSizes { total: max_total, share, exempt } = self.sizes;
        let is_allowed = of_owner <= share && (total <= max_total || of_owner <= exempt);
        if is_allowed && bytes > 0 {
            usage.total = total;
            usage.by_owner.insert(owner.clone(), of_owner);
        }
        is_allowed
    }

    /// Adds `bytes` of a reply to the usage of `owner`, unless that exceeds its share. Other owners have no influence:
    /// those that do not read their replies must not cause the replies of others to be rejected.
    fn try_add_reply(&self, owner: &ResourceOwner, bytes: usize) -> bool {
        let mut usage = self.usage.lock();
        let of_owner = usage.by_owner.get(owner).copied().unwrap_or(0).saturating_add(bytes);
        let is_allowed = of_owner <= self.sizes.share;
        if is_allowed && bytes > 0 {
            usage.by_owner.insert(owner.clone(), of_owner);
        }
        is_allowed
    }

    fn release(&self, owner: &ResourceOwner, body_bytes: usize, reply_bytes: usize) {
        if body_bytes + reply_bytes == 0 {
            return;
        }
        let mut usage = self.usage.lock();
        usage.total -= body_bytes;
        if let Entry::Occupied(mut of_owner) = usage.by_owner.entry(owner.clone()) {
            *of_owner.get_mut() -= body_bytes + reply_bytes;
            if *of_owner.get() == 0 {
                of_owner.remove();
            }
        }
    }
}

/// The part of the budget that one request uses until this is dropped: first its body, then its reply.
#[derive(Debug)]
pub(super) struct MemoryReservation<'a> {
    budget: &'a MemoryBudget,
    owner: ResourceOwner,
    body_bytes: usize,
    reply_bytes: usize,
}

impl MemoryReservation<'_> {
    /// Extends the reservation to a body of `bytes`; returns false, without a change, if that exceeds a limit.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let allowed = self.budget.try_add_body(&self.owner, bytes.saturating_sub(self.body_bytes));
        if allowed {
            self.body_bytes = self.body_bytes.max(bytes);
        }
        allowed
    }

    /// Releases the body.
    pub(super) fn release_body(&mut self) {
        self.budget.release(&self.owner, std::mem::take(&mut self.body_bytes), 0);
    }

    /// Reserves `bytes` for the reply; returns false, without a change, if that exceeds the share of the owner.
    pub(super) fn try_add_reply(&mut self, bytes: usize) -> bool {
        let allowed = self.budget.try_add_reply(&self.owner, bytes);
        if allowed {
            self.reply_bytes += bytes;
        }
        allowed
    }

    pub(super) fn owner(&self) -> &ResourceOwner {
        &self.owner
    }
}

impl Drop for MemoryReservation<'_> {
    fn drop(&mut self) {
        self.budget.release(&self.owner, self.body_bytes, self.reply_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::limits::{Limits, MAX_BODY_BYTES, MAX_EXCHANGE_BODY_BYTES};
    use crate::server::resource_owner::SenderId;

    fn owner(name: &str) -> ResourceOwner {
        ResourceOwner::Sender(SenderId::new(name))
    }

    #[test]
    fn bodies_are_limited_in_total_and_for_each_owner() {
        // The bodies in use, then the owner and size of the next one, and whether it is allowed.
        for (in_use, next, bytes, expected) in [
            (&[][..], "a", 20, true),
            (&[], "a", 21, false),
            (&[("a", 10), ("a", 5)], "a", 5, true),
            (&[("a", 10), ("a", 5)], "a", 6, false),
            (&[("a", 20)], "b", 20, true),
            (&[("a", 20), ("b", 20)], "c", 10, true),
            (&[("a", 20), ("b", 20)], "c", 11, false),
            (&[("a", 20), ("b", 20), ("c", 10)], "d", 2, true),
            (&[("a", 20), ("b", 20), ("c", 10)], "d", 3, false),
            (&[("a", 20), ("b", 20), ("c", 9), ("d", 1)], "d", 1, true),
            (&[("a", 20), ("b", 20), ("c", 9), ("d", 1)], "d", 2, false),
        ] {
            let budget = MemoryBudget::new(BudgetSizes { total: 50, share: 20, exempt: 2 });
            let mut reservations = Vec::new();
            for (name, bytes) in in_use {
                let mut reservation = budget.reservation(owner(name));
                assert!(reservation.grow_to(*bytes), "{in_use:?}");
                reservations.push(reservation);
            }
            assert_eq!(budget.reservation(owner(next)).grow_to(bytes), expected, "{in_use:?} {next} {bytes}");
        }
    }

    #[test]
    fn replies_are_limited_for_each_owner_only() {
        let budget = MemoryBudget::new(BudgetSizes { total: 20, share: 20, exempt: 2 });
        let (mut body, mut reply) = (budget.reservation(owner("a")), budget.reservation(owner("a")));
        assert!(body.grow_to(5));
        assert!(!reply.try_add_reply(16) && reply.try_add_reply(15) && !reply.try_add_reply(1));
        let mut other = budget.reservation(owner("b"));
        assert!(!other.grow_to(16) && other.grow_to(15), "replies leave the total to bodies");
        other.release_body();
        assert!(body.grow_to(5) && !body.grow_to(6), "a reply leaves its owner less for bodies");
        assert!(other.grow_to(15) && other.try_add_reply(5) && !other.try_add_reply(1));
        let mut third = budget.reservation(owner("c"));
        assert!(!third.grow_to(3) && third.try_add_reply(20), "a full total does not affect replies");
        body.release_body();
        assert!(reply.try_add_reply(5));
    }

    #[test]
    fn an_honest_peer_is_never_beyond_its_share() {
        let limits = Limits::default();
        let budget = MemoryBudget::new(BudgetSizes {
            total: limits.body_bytes,
            share: limits.bytes_per_owner,
            exempt: MAX_BODY_BYTES,
        });
        // All others use up the total.
        let mut others = Vec::new();
        for name in 0..limits.body_bytes / MAX_EXCHANGE_BODY_BYTES {
            let mut other = budget.reservation(owner(&format!("other-{name}")));
            assert!(other.grow_to(MAX_EXCHANGE_BODY_BYTES));
            others.push(other);
        }
        // Two exchanges at a time, each with the largest message.
        let (mut first, mut second) = (budget.reservation(owner("a")), budget.reservation(owner("a")));
        assert!(
            first.try_add_reply(MAX_EXCHANGE_BODY_BYTES) && second.try_add_reply(MAX_EXCHANGE_BODY_BYTES)
        );
    }

    #[test]
    fn dropped_reservations_are_released() {
        let budget = MemoryBudget::new(BudgetSizes { total: 50, share: 20, exempt: 2 });
        let mut first = budget.reservation(owner("a"));
        assert!(first.grow_to(5) && first.grow_to(15) && !first.grow_to(21) && first.grow_to(20));
        let mut second = budget.reservation(owner("a"));
        assert!(!second.grow_to(1));
        drop(first);
        assert!(second.grow_to(10) && second.try_add_reply(10));
        drop(second);
        drop(budget.reservation(owner("b")));
        let usage = budget.usage.lock();
        assert_eq!((usage.total, usage.by_owner.len()), (0, 0));
    }
}

//! The body budget: bounds the memory of request bodies in total and for each owner.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use super::resource_owner::ResourceOwner;

/// The sizes of a budget, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BudgetSizes {
    /// All bodies together.
    pub(super) total: usize,
    /// All bodies of one owner.
    pub(super) share: usize,
    /// The bodies of one owner that are accepted even if the others use up `total`, so that they cannot block
    /// small requests.
    pub(super) exempt: usize,
}

/// The memory of all request bodies that are being received or processed.
#[derive(Debug)]
pub(super) struct BodyBudget {
    sizes: BudgetSizes,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    total: usize,
    /// Owners with at least one byte.
    by_owner: HashMap<ResourceOwner, usize>,
}

impl BodyBudget {
    pub(super) fn new(sizes: BudgetSizes) -> Self {
        Self { sizes, usage: Mutex::default() }
    }

    /// Returns the reservation of a body of `owner`, with 0 bytes.
    pub(super) fn reservation(&self, owner: ResourceOwner) -> BodyReservation<'_> {
        BodyReservation { budget: self, owner, bytes: 0 }
    }

    /// Adds `bytes` to the usage of `owner`, unless that exceeds a limit.
    fn try_add(&self, owner: &ResourceOwner, bytes: usize) -> bool {
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

    fn release(&self, owner: &ResourceOwner, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut usage = self.usage.lock();
        usage.total -= bytes;
        if let Entry::Occupied(mut of_owner) = usage.by_owner.entry(owner.clone()) {
            *of_owner.get_mut() -= bytes;
            if *of_owner.get() == 0 {
                of_owner.remove();
            }
        }
    }
}

/// The part of the budget that one body uses until this is dropped.
#[derive(Debug)]
pub(super) struct BodyReservation<'a> {
    budget: &'a BodyBudget,
    owner: ResourceOwner,
    bytes: usize,
}

impl BodyReservation<'_> {
    /// Extends the reservation to `bytes`; returns false, without a change, if that exceeds a limit.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let allowed = self.budget.try_add(&self.owner, bytes.saturating_sub(self.bytes));
        if allowed {
            self.bytes = self.bytes.max(bytes);
        }
        allowed
    }

    pub(super) fn owner(&self) -> &ResourceOwner {
        &self.owner
    }
}

impl Drop for BodyReservation<'_> {
    fn drop(&mut self) {
        self.budget.release(&self.owner, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let budget = BodyBudget::new(BudgetSizes { total: 50, share: 20, exempt: 2 });
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
    fn dropped_reservations_are_released() {
        let budget = BodyBudget::new(BudgetSizes { total: 50, share: 20, exempt: 2 });
        let mut first = budget.reservation(owner("a"));
        assert!(first.grow_to(5) && first.grow_to(15) && !first.grow_to(21) && first.grow_to(20));
        let mut second = budget.reservation(owner("a"));
        assert!(!second.grow_to(1));
        drop(first);
        assert!(second.grow_to(20));
        drop(second);
        drop(budget.reservation(owner("b")));
        let usage = budget.usage.lock();
        assert_eq!((usage.total, usage.by_owner.len()), (0, 0));
    }
}

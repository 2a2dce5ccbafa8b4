//! The capacity for exchanges: how many requests of peers are processed at the same time.
//!
//! Processing is work of the processor alone, so more of it at the same time only makes all replies late, until the
//! senders have given up. A request beyond the capacity costs a small part of the work: its sender learns that this node
//! is busy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The number of requests that are answered at the same time, for each processor core.
const ANSWERS_PER_CORE: usize = 4;

/// The number of heads that are verified at the same time, for each processor core.
const HEADS_PER_CORE: usize = 8;

/// The capacity of one listener.
#[derive(Debug)]
pub(super) struct ExchangeCapacity {
    answers: Slots,
    heads: Slots,
}

#[derive(Debug)]
struct Slots {
    used: AtomicUsize,
    max: usize,
}

/// A part of the capacity that one request uses until this is dropped.
#[derive(Debug)]
pub(super) struct ExchangeSlot<'a>(&'a AtomicUsize);

impl Default for ExchangeCapacity {
    fn default() -> Self {
        Self::of_cores(thread::available_parallelism().map_or(1, usize::from))
    }
}

impl ExchangeCapacity {
    fn of_cores(cores: usize) -> Self {
        let slots = |max| Slots { used: AtomicUsize::new(0), max };
        Self { answers: slots(cores * ANSWERS_PER_CORE), heads: slots(cores * HEADS_PER_CORE) }
    }

    /// Begins to verify a head; none if there is no capacity.
    pub(super) fn try_verify(&self) -> Option<ExchangeSlot<'_>> {
        self.heads.try_take()
    }

    /// Begins to answer a request whose head is verified; none if there is no capacity.
    pub(super) fn try_answer(&self) -> Option<ExchangeSlot<'_>> {
        self.answers.try_take()
    }
}

impl Slots {
    fn try_take(&self) -> Option<ExchangeSlot<'_>> {
        let take = |used| (used < self.max).then_some(used + 1);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.ok().map(|_| ExchangeSlot(&self.used))
    }
}

impl Drop for ExchangeSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_grows_with_the_cores_and_is_used_again() {
        for (cores, answers, heads) in [(1, 4, 8), (2, 8, 16)] {
            let capacity = ExchangeCapacity::of_cores(cores);
            let mut slots: Vec<_> = (0..100).map_while(|_| capacity.try_answer()).collect();
            assert_eq!(slots.len(), answers, "{cores} cores");
            let verified = (0..100).map_while(|_| capacity.try_verify()).collect::<Vec<_>>();
            assert_eq!(verified.len(), heads, "answers do not use the capacity for heads");
            slots.pop();
            let again = capacity.try_answer();
            assert!(again.is_some() && capacity.try_answer().is_none());
        }
    }
}

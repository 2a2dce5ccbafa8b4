//! The capacity for exchanges: how many requests of peers are processed at the same time.
//!
//! Processing is work of the processor alone, so more of it at the same time only makes all replies late, until the
//! senders have given up. A request beyond the capacity costs a small part of the work: its sender learns that this node
//! is busy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use super::resource_owner::SenderId;

/// The number of requests that are answered at the same time, for each processor core. One sender has half of them at
/// most.
const ANSWERS_PER_CORE: usize = 4;

/// The number of heads that are verified at the same time, for each processor core.
const HEADS_PER_CORE: usize = 8;

/// The capacity of one listener.
#[derive(Debug)]
pub(super) struct ExchangeCapacity {
    answers: Mutex<Answers>,
    heads: AtomicUsize,
    max_answers: usize,
    max_heads: usize,
}

/// The requests that are being answered.
#[derive(Debug, Default)]
struct Answers {
    total: usize,
    by_sender: HashMap<SenderId, usize>,
}

/// The capacity to answer one request, until this is dropped.
#[derive(Debug)]
pub(super) struct AnswerSlot<'a> {
    answers: &'a Mutex<Answers>,
    sender: &'a SenderId,
}

/// The capacity to verify one head, until this is dropped.
#[derive(Debug)]
pub(super) struct HeadSlot<'a>(&'a AtomicUsize);

impl Default for ExchangeCapacity {
    fn default() -> Self {
        Self::of_cores(thread::available_parallelism().map_or(1, usize::from))
    }
}

impl ExchangeCapacity {
    fn of_cores(cores: usize) -> Self {
        Self {
            answers: Mutex::default(),
            heads: AtomicUsize::new(0),
            max_answers: cores * ANSWERS_PER_CORE,
            max_heads: cores * HEADS_PER_CORE,
        }
    }

    /// Returns the capacity to verify a head; none if all is in use.
    pub(super) fn try_take_head_slot(&self) -> Option<HeadSlot<'_>> {
        let take = |used| (used < self.max_heads).then_some(used + 1);
        let taken = self.heads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.ok().map(|_| HeadSlot(&self.heads))
    }

    /// Returns the capacity to answer a request of `sender`; none if all is in use, or half of it by this sender.
    pub(super) fn try_take_answer_slot<'a>(&'a self, sender: &'a SenderId) -> Option<AnswerSlot<'a>> {
        let mut answers = self.answers.lock();
        let of_sender = answers.by_sender.get(sender).copied().unwrap_or(0);
        if answers.total >= self.max_answers || of_sender >= self.max_answers / 2 {
            return None;
        }
        answers.total += 1;
        answers.by_sender.insert(sender.clone(), of_sender + 1);
        Some(AnswerSlot { answers: &self.answers, sender })
    }
}

impl Drop for HeadSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for AnswerSlot<'_> {
    fn drop(&mut self) {
        let mut answers = self.answers.lock();
        answers.total -= 1;
        if let Some(of_sender) = answers.by_sender.get_mut(self.sender) {
            *of_sender -= 1;
            if *of_sender == 0 {
                answers.by_sender.remove(self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_grows_with_the_cores_and_is_used_again() {
        let senders = ["a", "b", "c"].map(SenderId::new);
        for (cores, answers, heads) in [(1, 4, 8), (2, 8, 16)] {
            let capacity = ExchangeCapacity::of_cores(cores);
            let take =
                |sender| (0..100).map_while(|_| capacity.try_take_answer_slot(sender)).collect::<Vec<_>>();
            let mut of_first = take(&senders[0]);
            assert_eq!(of_first.len(), answers / 2, "{cores} cores, one sender");
            let of_second = take(&senders[1]);
            assert_eq!((of_second.len(), take(&senders[2]).len()), (answers / 2, 0));
            let verified: Vec<_> = (0..100).map_while(|_| capacity.try_take_head_slot()).collect();
            assert_eq!(verified.len(), heads, "answers do not use the capacity for heads");
            of_first.pop();
            assert!(capacity.try_take_answer_slot(&senders[2]).is_some());
            drop((of_first, of_second));
            assert_eq!(take(&senders[2]).len(), answers / 2);
            assert!(capacity.answers.lock().by_sender.is_empty());
        }
    }
}

//! Token buckets: limits on a rate that allow bursts.

use std::time::{Duration, Instant};

/// A token bucket: each event uses a token, and one token returns per `refill`.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenBucket {
    pub(super) capacity: u32,
    pub(super) refill: Duration,
}

/// The level of a bucket, represented by the time at which it is full again.
#[derive(Debug, Clone, Copy)]
pub(super) struct BucketLevel {
    full_at: Instant,
}

impl BucketLevel {
    /// Creates the level of a bucket that is full at `now`.
    pub(super) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    pub(super) fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }
}

impl TokenBucket {
    /// Returns how long to wait for a token; `None` if there is one.
    pub(super) fn wait(self, level: BucketLevel, now: Instant) -> Option<Duration> {
        let until_full = level.full_at.saturating_duration_since(now);
        until_full.checked_sub(self.refill * (self.capacity - 1)).filter(|wait| !wait.is_zero())
    }

    /// Uses a token, even if the bucket is empty.
    pub(super) fn take(self, level: &mut BucketLevel, now: Instant) {
        level.full_at = level.full_at.max(now) + self.refill;
    }

    /// Uses a token if there is one; otherwise fails with how long to wait for it.
    pub(super) fn try_take(self, level: &mut BucketLevel, now: Instant) -> Result<(), Duration> {
        if let Some(wait) = self.wait(*level, now) {
            return Err(wait);
        }
        self.take(level, now);
        Ok(())
    }

    pub(super) fn give_back(self, level: &mut BucketLevel) {
        level.full_at = level.full_at.checked_sub(self.refill).unwrap_or(level.full_at);
    }
}

//! The heartbeat of a loop, which the watchdog checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time at which a loop last ran. Clones share one value.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Creates a heartbeat with the current time.
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(monotonic_ms())))
    }

    /// Records the current time.
    pub fn beat(&self) {
        self.0.store(monotonic_ms(), Ordering::Relaxed);
    }

    /// Returns the time of the last beat, in ms of `CLOCK_MONOTONIC`.
    pub fn last_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns the time since the last beat, without time in which the machine was suspended.
    pub fn age(&self) -> Duration {
        Duration::from_millis(monotonic_ms().saturating_sub(self.last_ms()))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns `CLOCK_MONOTONIC` in ms.
pub fn monotonic_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}

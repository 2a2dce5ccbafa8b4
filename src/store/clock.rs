//! The monotonic clock and the wall clock of this process.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::mesh::Timestamps;

/// The monotonic clock and the wall clock. Monotonic time is 1 ms when this is created.
///
/// Monotonic time is `CLOCK_BOOTTIME`, which includes the time that the machine is suspended, so that reports age during
/// a suspension. `CLOCK_MONOTONIC`, and therefore [`Instant`](std::time::Instant), does not (`clock_gettime(2)`).
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start_ms: u64,
}

impl Clock {
    /// Creates a clock that starts now.
    pub fn start() -> Self {
        Self { start_ms: boot_ms() }
    }

    /// The current time of both clocks.
    pub fn now(&self) -> Timestamps {
        Timestamps { mono_ms: self.mono_ms(), wall_ms: wall_us() / 1000 }
    }

    /// Monotonic time in ms.
    pub fn mono_ms(&self) -> u64 {
        boot_ms() - self.start_ms + 1
    }
}

/// Time since the machine booted, in ms.
fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// The wall clock: Unix time in µs, 0 for times before 1970.
pub fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

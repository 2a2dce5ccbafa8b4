//! The two clocks of this process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::mesh::Now;

/// Reads both clocks. Monotonic time counts from when the clock was made, from 1 ms on.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// This moment, by both clocks.
    pub fn now(&self) -> Now {
        Now { mono_ms: self.mono_ms(), wall_ms: wall_us() / 1000 }
    }

    /// Monotonic time in ms.
    pub fn mono_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The wall clock: Unix time in µs, 0 for times before 1970.
pub fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

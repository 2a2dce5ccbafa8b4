//! One moment by the two clocks of a host.

/// One moment by the monotonic clock and the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// Monotonic time in ms since a fixed moment; it keeps running while the machine is suspended.
    pub mono_ms: u64,
    /// The wall clock: Unix time in ms.
    pub wall_ms: u64,
}

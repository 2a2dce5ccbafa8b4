//! One moment by the two clocks of a host.

/// One moment by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// A clock that never goes back and keeps running while the machine sleeps, in ms since some fixed moment.
    pub mono_ms: u64,
    /// The wall clock: Unix time in ms.
    pub wall_ms: u64,
}

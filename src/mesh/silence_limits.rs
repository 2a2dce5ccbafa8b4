//! How long a node may be silent: the time limits that publishing, isolation and verdicts share.

use super::membership::Membership;

/// For how long a node that announced its stop counts as stopped, in ms.
pub const LEAVE_GRACE_MS: u64 = 600_000;

/// Limits on silence, in ms. I is [`Membership::interval_ms`], T is [`Membership::max_timeout_ms`]. Those in brackets
/// apply to a node whose newest report says that it is overloaded.
#[derive(Debug, Clone, Copy)]
pub struct SilenceLimits {
    /// 1.5 I + 0.75 T: down beyond it if a quorum was refused at every attempt.
    pub refused_ms: u64,
    /// 2 I + 1.75 T (4 I + 2 T): down beyond it if a quorum of votes is unrefuted.
    pub unrefuted_ms: u64,
    /// 2.5 I: the author of an older report does not vote.
    pub fresh_ms: u64,
    /// 4 I + 2 T (8 I + 4 T): the author of an older report is not alive.
    pub alive_ms: u64,
    /// I: a witness has reported at least this much later than the silent node.
    pub witness_ms: u64,
}

impl SilenceLimits {
    /// The limits for `membership`.
    pub fn of(membership: &Membership) -> Self {
        let (i, t) = (membership.interval_ms(), membership.max_timeout_ms());
        Self {
            refused_ms: i * 3 / 2 + t * 3 / 4,
            unrefuted_ms: i * 2 + t * 7 / 4,
            fresh_ms: i * 5 / 2,
            alive_ms: i * 4 + t * 2,
            witness_ms: i,
        }
    }

    /// The limits for a node of `membership` whose newest report says that it is overloaded. They last until the node is
    /// silent for that long: only a newer report extends them again.
    pub fn of_overloaded(membership: &Membership) -> Self {
        let (i, t) = (membership.interval_ms(), membership.max_timeout_ms());
        Self { unrefuted_ms: i * 4 + t * 2, alive_ms: i * 8 + t * 4, ..Self::of(membership) }
    }
}

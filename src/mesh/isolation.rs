//! The rule by which a node counts as isolated. Each node applies it to itself and, in verdicts, to every voter.

use super::wire::observation::ProbeStatus;

/// Whether more than half of these observations are offline. Callers omit peers that were never seen or were stopped on
/// purpose, since they show nothing about the observer's own uplink.
pub(super) fn is_isolated(observed: impl Iterator<Item = ProbeStatus>) -> bool {
    let (mut count, mut offline) = (0, 0);
    for status in observed {
        count += 1;
        offline += usize::from(status == ProbeStatus::Offline);
    }
    offline * 2 > count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolated_only_when_more_than_half_are_offline() {
        use ProbeStatus::{Offline, Online, Unknown};
        for (observed, expected) in [
            (&[][..], false),
            (&[Offline][..], true),
            (&[Offline, Online], false),
            (&[Offline, Unknown], false),
            (&[Offline, Offline, Online], true),
            (&[Offline, Offline, Online, Unknown], false),
        ] {
            assert_eq!(is_isolated(observed.iter().copied()), expected, "{observed:?}");
        }
    }
}

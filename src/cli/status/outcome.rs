//! The outcome of `distomon status`: its exit status.

use super::view::{ProbeStatus, View};

/// The maximum age of a snapshot of the node on this host: the greater of this time in ms and
/// [`MAX_AGE_INTERVALS`].
const MAX_AGE_MS: u64 = 60_000;
/// The maximum age of a snapshot in report intervals.
const MAX_AGE_INTERVALS: u64 = 3;

/// Outcome of one or more snapshots; the greatest of several applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Every node is up.
    AllUp,
    /// The queried node is isolated or has stopped evaluating, or the state of a node is unknown.
    Unknown,
    /// A node is not up, or its key signs different reports.
    Problem,
}

impl Outcome {
    /// Returns the exit status.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::AllUp => 0,
            Self::Problem => 1,
            Self::Unknown => 2,
        }
    }
}

impl View {
    /// Returns the status of node `id` as the queried node observes it. The queried node itself is online.
    pub(super) fn status(&self, id: &str) -> ProbeStatus {
        if id == self.node_id {
            return ProbeStatus::Online;
        }
        self.nodes.get(id).map_or(ProbeStatus::Unknown, |node| node.status)
    }

    /// Returns the number of nodes that the queried node finds online, itself included.
    pub(super) fn online(&self) -> usize {
        self.nodes.keys().filter(|id| self.status(id) == ProbeStatus::Online).count()
    }

    /// Returns whether the queried node has stopped evaluating. `now_ms` is Unix time in ms, if the node has the same
    /// clock as this host.
    pub(super) fn is_stale(&self, now_ms: Option<u64>) -> bool {
        let own = self.data.get(&self.node_id);
        let interval_ms = own.and_then(|report| report.interval_ms).unwrap_or(0);
        let max_age_ms = interval_ms.saturating_mul(MAX_AGE_INTERVALS).max(MAX_AGE_MS);
        let is_old = |now_ms: u64| self.generated_at.is_some_and(|at| now_ms.saturating_sub(at) > max_age_ms);
        now_ms.is_some_and(is_old) || own.is_some_and(|report| report.fresh == Some(false))
    }

    /// Returns the outcome. A conflict or a duplicate key is a problem even if the queried node is isolated; other
    /// outcomes are unknown then.
    pub(super) fn outcome(&self, now_ms: Option<u64>) -> Outcome {
        let any = |status| self.nodes.keys().any(|id| self.status(id) == status);
        let has_verdict = |statuses: &[&str]| {
            self.verdicts.values().any(|verdict| statuses.contains(&verdict.status.as_str()))
        };
        if self.nodes.is_empty() || self.is_stale(now_ms) {
            Outcome::Unknown
        } else if self.twin || self.data.values().any(|report| report.conflict) {
            Outcome::Problem
        } else if self.isolated {
            Outcome::Unknown
        } else if has_verdict(&["down", "degraded", "stopped", "conflict"]) {
            Outcome::Problem
        } else if has_verdict(&["unknown", "never seen"]) {
            Outcome::Unknown
        } else if !self.verdicts.is_empty() {
            Outcome::AllUp
        } else if any(ProbeStatus::Offline) {
            Outcome::Problem
        } else if any(ProbeStatus::Unknown) {
            Outcome::Unknown
        } else {
            Outcome::AllUp
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let check = |json: &str, now_ms: Option<u64>, expected: u8| {
            let view: View = serde_json::from_str(json).expect(json);
            assert_eq!(view.outcome(now_ms).code(), expected, "{json}");
        };
        let two = |more: &str, b: &str| {
            format!(
                r#"{{"node_id":"a","generated_at":1000000,"nodes":{{"a":{{"status":"unknown"}},"b":{b}}}{more}}}"#
            )
        };
        let (up, down, open) = (r#"{"status":"online"}"#, r#"{"status":"offline"}"#, "{}");
        check(&two("", up), None, 0);
        check(&two("", down), None, 1);
        check(&two("", open), None, 2);
        check("{}", None, 2);
        check(&two(r#","isolated":true"#, up), None, 2);
        check(&two(r#","isolated":true"#, down), None, 2);
        check(&two(r#","twin":true"#, up), None, 1);
        check(&two(r#","data":{"b":{"conflict":true}}"#, up), None, 1);
        check(&two(r#","data":{"b":{"conflict":true}},"isolated":true"#, up), None, 1);
        check(&two(r#","data":{"a":{"fresh":false}}"#, up), None, 2);
        check(&two(r#","data":{"b":{"fresh":false}}"#, up), None, 0);
        check(&two("", down), Some(1_060_000), 1);
        check(&two("", down), Some(1_060_001), 2);
        check(&two("", up), Some(0), 0);
        let verdict =
            |word: &str| format!(r#","verdicts":{{"a":{{"status":"up"}},"b":{{"status":"{word}"}}}}"#);
        for (word, code) in [
            ("up", 0),
            ("degraded", 1),
            ("down", 1),
            ("stopped", 1),
            ("conflict", 1),
            ("unknown", 2),
            ("never seen", 2),
        ] {
            check(&two(&verdict(word), down), None, code);
        }
        let slow = r#","data":{"a":{"interval_ms":30000}}"#;
        check(&two(slow, down), Some(1_090_000), 1);
        check(&two(slow, down), Some(1_090_001), 2);
        assert_eq!([Outcome::AllUp, Outcome::Problem].iter().max(), Some(&Outcome::Problem));
        assert_eq!([Outcome::Unknown, Outcome::Problem].iter().max(), Some(&Outcome::Problem));
    }
}

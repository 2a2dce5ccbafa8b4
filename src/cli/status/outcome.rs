//! Whether all is well, in one word: the exit status of `distomon status`.

use super::view::{Status, View};

/// How far the snapshot of a node on this host may lie behind, in ms: at least this, and at least so many of
/// the intervals at which it reports.
const LAG_MS: u64 = 60_000;
const LAG_INTERVALS: u64 = 3;

/// What a snapshot comes to. The greater of two decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Every node is online, and none contradicts itself.
    AllUp,
    /// The node that was asked is no witness, or has not heard enough.
    Unknown,
    /// A node is offline, or signs contradictions.
    Problem,
}

impl Outcome {
    /// The exit status.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::AllUp => 0,
            Self::Problem => 1,
            Self::Unknown => 2,
        }
    }
}

impl View {
    /// How the node that answered finds node `id`: itself it finds online, since it answers.
    pub(super) fn status(&self, id: &str) -> Status {
        if id == self.node_id {
            return Status::Online;
        }
        self.nodes.get(id).map_or(Status::Unknown, |node| node.status)
    }

    /// How many nodes it finds online, itself included.
    pub(super) fn online(&self) -> usize {
        self.nodes.keys().filter(|id| self.status(id) == Status::Online).count()
    }

    /// Whether the node that answered has stopped observing. `now_ms`: Unix time in ms, if its clock is this
    /// host's.
    pub(super) fn is_stale(&self, now_ms: Option<u64>) -> bool {
        let own = self.data.get(&self.node_id);
        let interval_ms = own.and_then(|report| report.interval_ms).unwrap_or(0);
        let lag_ms = interval_ms.saturating_mul(LAG_INTERVALS).max(LAG_MS);
        let behind = |now_ms: u64| self.generated_at.is_some_and(|at| now_ms.saturating_sub(at) > lag_ms);
        now_ms.is_some_and(behind) || own.is_some_and(|report| report.fresh == Some(false))
    }

    /// What it comes to. A node without a connection of its own cannot tell who is down.
    pub(super) fn outcome(&self, now_ms: Option<u64>) -> Outcome {
        let any = |status| self.nodes.keys().any(|id| self.status(id) == status);
        let concludes =
            |words: &[&str]| self.verdicts.values().any(|verdict| words.contains(&verdict.status.as_str()));
        if self.nodes.is_empty() || self.is_stale(now_ms) {
            Outcome::Unknown
        } else if self.twin || self.data.values().any(|report| report.conflict) {
            Outcome::Problem
        } else if self.isolated {
            Outcome::Unknown
        } else if concludes(&["down", "degraded", "stopped", "conflict"]) {
            Outcome::Problem
        } else if concludes(&["unknown", "never seen"]) {
            Outcome::Unknown
        } else if !self.verdicts.is_empty() {
            Outcome::AllUp
        } else if any(Status::Offline) {
            Outcome::Problem
        } else if any(Status::Unknown) {
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

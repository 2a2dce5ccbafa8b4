//! The announcement of a node that it stops.

use serde::{Deserialize, Serialize};

use super::lenient;

/// The announcement in a node's last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveNotice {
    /// Why it stops.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub kind: LeaveKind,
    /// When it expects to be back, in ms after the report; none if it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub expect_ms: Option<u64>,
}

/// Why a node stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaveKind {
    /// The service restarts.
    Restart,
    /// The service stops. Also the meaning of a kind that this release does not know.
    #[default]
    Stop,
    /// The host shuts down or reboots.
    Shutdown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kind_is_a_stop() {
        let notice = |kind, expect_ms| LeaveNotice { kind, expect_ms };
        for (json, expected) in [
            (r#"{"kind":"restart","expect_ms":3000}"#, notice(LeaveKind::Restart, Some(3_000))),
            (r#"{"kind":"shutdown"}"#, notice(LeaveKind::Shutdown, None)),
            (r#"{"kind":"stop"}"#, notice(LeaveKind::Stop, None)),
            (r#"{"kind":"hibernate","expect_ms":"soon","until":[{}]}"#, notice(LeaveKind::Stop, None)),
            (r#"{"kind":{"a":1},"expect_ms":1e999}"#, notice(LeaveKind::Stop, None)),
            ("{}", notice(LeaveKind::Stop, None)),
        ] {
            assert_eq!(serde_json::from_str::<LeaveNotice>(json).expect("an object"), expected, "{json}");
        }
        let json = serde_json::to_string(&notice(LeaveKind::Restart, Some(5))).expect("plain members");
        assert_eq!(json, r#"{"kind":"restart","expect_ms":5}"#);
    }
}

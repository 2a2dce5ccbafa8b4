//! The parts that this command shows of the replies to `GET /view` and `GET /view/{network_id}`. Values that are missing,
//! unknown or of an unexpected type are ignored, so that nodes of other versions can be queried. No text is sanitized
//! yet.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// List of the networks of a process.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Overview {
    pub(super) networks: Vec<NetworkEntry>,
}

/// Network in the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetworkEntry {
    pub(super) network_id: String,
}

/// Snapshot of a network by the queried node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct View {
    pub(super) network_id: String,
    /// The queried node.
    pub(super) node_id: String,
    /// The time of the snapshot by the clock of the queried node: Unix time in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) generated_at: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) isolated: bool,
    /// Another process signs with this node's key.
    #[serde(deserialize_with = "lenient")]
    pub(super) twin: bool,
    /// The digest of the configuration.
    #[serde(deserialize_with = "lenient")]
    pub(super) config: Option<String>,
    /// The summary in one sentence.
    #[serde(deserialize_with = "lenient")]
    pub(super) headline: Option<String>,
    pub(super) data: BTreeMap<String, Report>,
    pub(super) nodes: BTreeMap<String, NodeEntry>,
    pub(super) verdicts: BTreeMap<String, Verdict>,
}

/// Verdict of the queried node on a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Verdict {
    #[serde(deserialize_with = "lenient")]
    pub(super) status: String,
    /// The start of this status by the clock of the queried node: Unix time in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) since: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) cause: Option<String>,
}

/// Latest report of an observer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are those of the JSON object")]
pub(super) struct Report {
    #[serde(deserialize_with = "lenient")]
    pub(super) node_version: Option<String>,
    pub(super) ping_data: BTreeMap<String, Observation>,
    #[serde(deserialize_with = "lenient")]
    pub(super) age_ms: Option<u64>,
    /// The interval of its reports in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) interval_ms: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) fresh: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    pub(super) isolated: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) overloaded: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) leaving: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) config: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) conflict: bool,
}

/// Observation of a target.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Observation {
    #[serde(deserialize_with = "lenient")]
    pub(super) status: ProbeStatus,
    /// The round-trip time without processing in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) response_time: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) clock_offset_ms: Option<i64>,
}

/// Node as the queried node observes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeEntry {
    #[serde(deserialize_with = "lenient")]
    pub(super) status: ProbeStatus,
    /// The start of this status by the clock of the queried node: Unix time in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) since: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) error: Option<String>,
    /// Its keys, or their number.
    keys: Value,
}

impl NodeEntry {
    /// Returns whether the node certainly has no public key, and so does not participate.
    pub(super) fn is_without_key(&self) -> bool {
        match &self.keys {
            Value::Array(keys) => keys.is_empty(),
            keys => keys.as_u64() == Some(0),
        }
    }
}

/// Status of a node by probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProbeStatus {
    Online,
    Offline,
    #[default]
    #[serde(other)]
    Unknown,
}

/// Deserializes a value, or returns the default for an unexpected type.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Returns whether a value is neither null nor false.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(!matches!(Value::deserialize(deserializer)?, Value::Null | Value::Bool(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unexpected_values_are_ignored() {
        let check = |json: &str, expected: (ProbeStatus, Option<u64>, bool)| {
            let node: NodeEntry = serde_json::from_str(json).expect(json);
            assert_eq!((node.status, node.since, node.is_without_key()), expected, "{json}");
        };
        check("{}", (ProbeStatus::Unknown, None, false));
        check(r#"{"status":"online","since":5,"keys":1,"new":[]}"#, (ProbeStatus::Online, Some(5), false));
        check(r#"{"status":"offline","since":-5,"keys":0}"#, (ProbeStatus::Offline, None, true));
        check(r#"{"status":"resting","since":null,"keys":[]}"#, (ProbeStatus::Unknown, None, true));
        check(r#"{"status":7,"keys":["a"]}"#, (ProbeStatus::Unknown, None, false));

        let check = |json: &str, expected: bool| {
            let report: Report = serde_json::from_str(json).expect(json);
            assert_eq!(report.conflict, expected, "{json}");
        };
        check("{}", false);
        check(r#"{"conflict":false}"#, false);
        check(r#"{"conflict":null}"#, false);
        check(r#"{"conflict":true}"#, true);
        check(r#"{"conflict":{"seq":7}}"#, true);
    }
}

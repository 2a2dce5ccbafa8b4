//! What `GET /view` and `GET /view/{network_id}` say, as far as it is shown. Read with patience: what is
//! missing, unknown or of another type than expected is as if it were not there, so that a node of another
//! version can be looked at. Nothing of it is fit for a terminal yet.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The networks of a process, in short.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Overview {
    pub(super) networks: Vec<Entry>,
}

/// A network among them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) network_id: String,
}

/// A network's snapshot, as one node has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct View {
    pub(super) network_id: String,
    /// The node that answered.
    pub(super) node_id: String,
    /// When it did, by its clock: Unix time in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) generated_at: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) isolated: bool,
    /// Another process signs with this node's key.
    #[serde(deserialize_with = "lenient")]
    pub(super) twin: bool,
    /// The digest of its configuration.
    #[serde(deserialize_with = "lenient")]
    pub(super) config: Option<String>,
    /// The answer in one sentence.
    #[serde(deserialize_with = "lenient")]
    pub(super) headline: Option<String>,
    pub(super) data: BTreeMap<String, Report>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) verdicts: BTreeMap<String, Verdict>,
}

/// What the node that answered concludes of a node, from all reports.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Verdict {
    #[serde(deserialize_with = "lenient")]
    pub(super) status: String,
    /// Since when, by the clock of the node that answered: Unix time in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) since: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) cause: Option<String>,
}

/// What an observer says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    #[serde(deserialize_with = "lenient")]
    pub(super) node_version: Option<String>,
    pub(super) ping_data: BTreeMap<String, Finding>,
    #[serde(deserialize_with = "lenient")]
    pub(super) age_ms: Option<u64>,
    /// The time between its reports, as it says.
    #[serde(deserialize_with = "lenient")]
    pub(super) interval_ms: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) fresh: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    pub(super) isolated: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) leaving: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) config: Option<String>,
    #[serde(deserialize_with = "present")]
    pub(super) conflict: bool,
}

/// What it says of a target.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Finding {
    #[serde(deserialize_with = "lenient")]
    pub(super) status: Status,
    /// The network's share of an exchange, in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) response_time: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) clock_offset_ms: Option<i64>,
}

/// What the node that answered says of a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    #[serde(deserialize_with = "lenient")]
    pub(super) status: Status,
    /// Since when, by the clock of the node that answered: Unix time in ms.
    #[serde(deserialize_with = "lenient")]
    pub(super) since: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) error: Option<String>,
    /// How many keys it has, or which.
    keys: Value,
}

impl Node {
    /// Whether it is known that it has no public key, and so takes no part.
    pub(super) fn is_without_key(&self) -> bool {
        match &self.keys {
            Value::Array(keys) => keys.is_empty(),
            keys => keys.as_u64() == Some(0),
        }
    }
}

/// Whether a node answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Online,
    Offline,
    #[default]
    #[serde(other)]
    Unknown,
}

/// The value if it has the type that is expected, else what stands for none.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Whether there is something: neither null nor false.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(!matches!(Value::deserialize(deserializer)?, Value::Null | Value::Bool(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience() {
        let check = |json: &str, expected: (Status, Option<u64>, bool)| {
            let node: Node = serde_json::from_str(json).expect(json);
            assert_eq!((node.status, node.since, node.is_without_key()), expected, "{json}");
        };
        check("{}", (Status::Unknown, None, false));
        check(r#"{"status":"online","since":5,"keys":1,"new":[]}"#, (Status::Online, Some(5), false));
        check(r#"{"status":"offline","since":-5,"keys":0}"#, (Status::Offline, None, true));
        check(r#"{"status":"resting","since":null,"keys":[]}"#, (Status::Unknown, None, true));
        check(r#"{"status":7,"keys":["a"]}"#, (Status::Unknown, None, false));

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

//! Names of nodes, networks, instances and sites, and the ids of reports.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The maximum length of a name, in bytes.
pub const MAX_NAME: usize = 64;

/// Whether `text` is a valid name of a node, network, instance or site: 1 to 64 of `a-z A-Z 0-9 . _ -`, starting with
/// a letter or digit. Names become file names and parts of URL paths, so no other character is allowed.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=MAX_NAME).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A text that [`is_name`] rejects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 64 of a-z A-Z 0-9 . _ - starting with a letter or digit")]
pub struct BadName;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(BadName) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a node, unique in its network.
    NodeId
}
name! {
    /// The name of a network.
    NetworkId
}

name! {
    /// The name of a group of nodes that can fail together: a data centre, a rack, a provider.
    Site
}

/// The largest integer that every JSON parser represents exactly: 2^53 − 1 (RFC 8259, section 6).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The id of a report, unique among those of its author, ordered by `epoch`, then by `seq`; (0, 0) for no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReportId {
    /// The epoch of the author's process, larger at each start: 1 to 2^53 − 1.
    pub epoch: u64,
    /// The sequence number of the report in its epoch: 1 to 2^53 − 1.
    pub seq: u64,
}

impl ReportId {
    /// Whether a node whose newest report has this id refutes an observer that had its report `head` when it declared the
    /// node offline: the id has a later epoch, or is more than one report past `head`.
    pub fn refutes(self, head: Self) -> bool {
        self.epoch > head.epoch || (self.epoch == head.epoch && self.seq > head.seq + 1)
    }
}

impl fmt::Display for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.epoch, self.seq)
    }
}

impl Serialize for ReportId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.epoch, self.seq).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ReportId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (epoch, seq) = <(u64, u64)>::deserialize(deserializer)?;
        if epoch > MAX_INTEGER || seq > MAX_INTEGER {
            return Err(serde::de::Error::custom("integer larger than 2^53 - 1"));
        }
        Ok(Self { epoch, seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let longest = "a".repeat(64);
        for valid in ["a", "node-1", "0.b_c-D", &longest] {
            assert!(is_name(valid), "{valid}");
        }
        let too_long = "a".repeat(65);
        for invalid in ["", ".hidden", "-x", "_x", "a/b", "a b", "ä", "a\0", "..", &too_long] {
            assert!(!is_name(invalid), "{invalid:?}");
        }
    }

    #[test]
    fn report_ids_order_by_epoch_first() {
        assert!(ReportId { epoch: 2, seq: 1 } > ReportId { epoch: 1, seq: 9 });
        assert!(serde_json::from_str::<ReportId>("[9007199254740992,1]").is_err());
    }
}

//! Members of reports and messages whose names and sizes are fixed, but which this release neither writes nor reads.
//! They are relayed within the signed reports.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::Base64Bytes;

/// The maximum number of receivers in `can_send`.
pub(super) const MAX_RECEIVERS: usize = 32;

/// A JSON value of at most `MAX` bytes.
#[derive(Clone)]
pub struct ReservedJson<const MAX: usize>(Box<RawValue>);

impl<const MAX: usize> ReservedJson<MAX> {
    /// The JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl<const MAX: usize> PartialEq for ReservedJson<MAX> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<const MAX: usize> fmt::Debug for ReservedJson<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl<const MAX: usize> Serialize for ReservedJson<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for ReservedJson<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        if raw.get().len() > MAX {
            return Err(serde::de::Error::custom(format!("more than {MAX} bytes")));
        }
        Ok(Self(raw.to_owned()))
    }
}

/// The alert receivers that a node can send to, at most 32, each by the first 6 bytes of a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiverHashes(pub Vec<Base64Bytes<6>>);

impl<'de> Deserialize<'de> for ReceiverHashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hashes = Vec::<Base64Bytes<6>>::deserialize(deserializer)?;
        if hashes.len() > MAX_RECEIVERS {
            return Err(serde::de::Error::custom(format!("more than {MAX_RECEIVERS} receivers")));
        }
        Ok(Self(hashes))
    }
}

/// The size and the Merkle root of a log of a node's own reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// The number of entries.
    pub size: u64,
    /// The Merkle root (RFC 6962, section 2.1).
    pub root: Base64Bytes<32>,
}

//! How the process before this one ended, by the state that it saved.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mesh::id::{MAX_INTEGER, ReportId};

/// The end of the previous process of a node: `[epoch, seq, clean]` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorRun {
    /// Its newest report that it saved; it may have published later ones before it crashed.
    pub report: ReportId,
    /// Whether it announced its stop.
    pub clean: bool,
}

impl Serialize for PriorRun {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.report.epoch, self.report.seq, self.clean).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PriorRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (epoch, seq, clean) = <(u64, u64, bool)>::deserialize(deserializer)?;
        if epoch.max(seq) > MAX_INTEGER {
            return Err(serde::de::Error::custom("integer larger than 2^53 - 1"));
        }
        Ok(Self { report: ReportId { epoch, seq }, clean })
    }
}

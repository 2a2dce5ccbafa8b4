//! The end of the process that ran a node before.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mesh::id::{MAX_INTEGER, ReportId};

/// The newest report of a node's previous process, and whether that process announced its stop: `[epoch, seq, clean]` on
/// the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorRun {
    /// The newest report that is known to have been published; a process that crashed may have published later ones.
    pub report: ReportId,
    /// Whether that report announced the stop; otherwise the process crashed or was killed.
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

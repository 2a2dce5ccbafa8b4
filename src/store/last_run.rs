//! The file `last_run`: what this node used and published last.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::durable_file;
use crate::mesh::id::{MAX_INTEGER, ReportId};
use crate::mesh::wire::prior_run::PriorRun;

/// The maximum size of the file, in bytes.
const MAX_BYTES: u64 = 1024;

/// The last epoch of a node, and its newest report.
///
/// The epoch is a second copy, in case that the file `epoch` is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct LastRun {
    /// The last epoch; 0 before the first one.
    pub(super) epoch: u64,
    /// The newest report that was published, as far as it was saved; perhaps of an earlier epoch.
    pub(super) report: Option<ReportId>,
    /// Whether that report announced a stop.
    pub(super) clean: bool,
}

impl LastRun {
    /// Reads the file; none if it does not exist.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let bytes = match durable_file::read(path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let last: Self = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if last.epoch > MAX_INTEGER {
            return Err(invalid(format!("an epoch larger than {MAX_INTEGER}")));
        }
        Ok(Some(last))
    }

    /// Replaces the file.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        durable_file::replace(path, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    /// The previous process by this file and by `head`, this node's report in `heads.json`. It stopped cleanly only if the
    /// newest of the two reports announced that: a newer head means that the process ended between the two writes, and an
    /// epoch that is newer than the report means that a later process crashed before a report of it was saved.
    pub(super) fn prior(&self, head: Option<ReportId>) -> Option<PriorRun> {
        let report = self.report.max(head)?;
        let clean = self.clean && self.report == Some(report) && self.epoch <= report.epoch;
        Some(PriorRun { report, clean })
    }

    /// The largest epoch that the file names.
    pub(super) fn largest_epoch(&self) -> u64 {
        self.epoch.max(self.report.map_or(0, |report| report.epoch))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id(seq: u64) -> ReportId {
        ReportId { epoch: 7, seq }
    }

    #[test]
    fn prior_run_is_the_newest_report_of_both_files() {
        let last = LastRun { epoch: 7, report: Some(id(5)), clean: true };
        let prior = |seq, clean| Some(PriorRun { report: id(seq), clean });
        for (last, head, expected) in [
            (last, None, prior(5, true)),
            (last, Some(id(4)), prior(5, true)),
            (last, Some(id(5)), prior(5, true)),
            (last, Some(id(6)), prior(6, false)),
            (LastRun { clean: false, ..last }, Some(id(5)), prior(5, false)),
            // A process that started after the clean stop crashed.
            (LastRun { epoch: 8, ..last }, None, prior(5, false)),
            (LastRun { epoch: 8, ..last }, Some(id(5)), prior(5, false)),
            (LastRun { epoch: 6, ..last }, Some(id(5)), prior(5, true)),
            (LastRun::default(), Some(id(6)), prior(6, false)),
            (LastRun::default(), None, None),
        ] {
            assert_eq!(last.prior(head), expected, "{last:?} {head:?}");
        }
    }

    #[test]
    fn damaged_file_is_an_error_and_a_missing_one_is_not() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("last_run");
        assert_eq!(LastRun::read(&path).expect("no file"), None);
        let last = LastRun { epoch: MAX_INTEGER, report: Some(id(5)), clean: true };
        last.write(&path).expect("written");
        assert_eq!(LastRun::read(&path).expect("a file"), Some(last));
        let (large, blank) = (r#"{"epoch":9007199254740992,"report":null,"clean":false}"#, " ".repeat(1025));
        for damaged in
            ["", "{", "7", r#"{"epoch":1}"#, r#"{"epoch":1,"report":[1],"clean":true}"#, large, &blank]
        {
            fs::write(&path, damaged).expect("written");
            assert!(LastRun::read(&path).is_err(), "{damaged:?}");
        }
    }
}

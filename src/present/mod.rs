//! Texts and views of a snapshot that JSON replies, the command line, the journal and the dashboard share.
//!
//! | file | contents |
//! | --- | --- |
//! | [`summary`] | a network, or a node, in one sentence |
//! | [`explanation`] | the steps that lead to a verdict, as sentences |
//! | [`causes`] | causes of a verdict as text |
//! | [`journal`] | the lines about notices and verdicts |
//! | [`json`] | the bodies of `/view`, `/explain` and `/changes` |
//! | [`verdict_view`] | a current or past verdict with the data that it was reached from |
//! | [`own_observation`] | this node's observation of a member |
//! | [`timestamp`], [`duration`] | times and durations as text |

pub mod causes;
pub mod duration;
pub mod explanation;
pub mod journal;
pub mod json;
pub mod own_observation;
pub mod summary;
pub mod timestamp;
pub mod verdict_view;

//! Texts and views of a snapshot that JSON, the command line, the journal and the dashboard share.

pub mod causes;
pub mod journal;
pub mod summary;
pub mod timestamp;

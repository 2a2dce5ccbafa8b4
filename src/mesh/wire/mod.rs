//! The wire format between nodes: observations, signed reports, heads and messages.
//!
//! The format only grows. A later release may add members, words and flags, and may change the type of an optional
//! member: readers ignore what they do not know. What is not covered by that rule needs another [`PROTOCOL_VERSION`].

mod base64_bytes;
mod canonical_report;
pub mod equivocation;
pub mod heads;
pub mod held;
pub mod leave;
mod lenient;
pub mod message;
pub mod observation;
pub mod prior_run;
pub mod report;
pub mod report_size;
mod reserved;

pub use base64_bytes::Base64Bytes;

/// The version of the protocol, in every report and message. Nodes with different versions do not exchange reports.
pub const PROTOCOL_VERSION: u32 = 2;

//! What nodes send each other: observations, signed reports, heads and the messages that carry them.

pub mod equivocation;
pub mod heads;
pub mod message;
pub mod observation;
pub mod report;

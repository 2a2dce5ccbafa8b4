//! The wire format between nodes: observations, signed reports, heads and messages.

pub mod equivocation;
pub mod heads;
pub mod message;
pub mod observation;
pub mod prior_run;
pub mod report;

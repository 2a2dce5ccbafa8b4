//! Composes messages: selects the reports that the peer lacks, and writes the bodies of requests and replies.

pub mod compose;
pub mod missing;
pub mod round_robin;

#[cfg(test)]
mod tests;

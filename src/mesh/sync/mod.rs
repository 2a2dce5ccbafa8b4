//! Composes messages: selects the reports that the peer lacks, and writes the bodies of requests and replies.

pub mod compose;
pub mod missing;

#[cfg(test)]
mod tests;

//! Composes messages: which reports the peer lacks, and the bodies of requests and replies.

pub mod compose;
pub mod missing;

#[cfg(test)]
mod tests;

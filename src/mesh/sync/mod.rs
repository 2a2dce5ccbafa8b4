//! What two nodes exchange: which reports the other lacks, and the bodies of messages.

pub mod compose;
pub mod missing;

#[cfg(test)]
mod tests;

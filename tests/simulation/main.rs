//! Whole networks of the core in memory, under virtual time: real keys, seals and messages, but no
//! sockets and no HTTP signatures, and links that delay, lose and cut as told.
//!
//! `DISTOMON_SEED=<n>` replays one seed; a failing run says which it was.

mod detection;
mod doubts;
mod hunt;
mod hunter;
mod identity;
mod interruption;
mod liar;
mod link;
mod liveness;
mod machine;
mod membership;
mod network;
mod rings;
mod rollout;
pub(crate) mod sample;
mod scenario;
mod spreading;
mod truth;
mod verdicts;

/// The seeds that each scenario is run with.
fn seeds() -> Vec<u64> {
    match std::env::var("DISTOMON_SEED") {
        Ok(text) => vec![text.parse().expect("DISTOMON_SEED is a number")],
        Err(_) => vec![1, 2],
    }
}

//! The IO-free core: what a node knows, what it does next, and why.
//!
//! [`Engine::step`] applies an [`Event`] at a given time and returns [`Effect`]s. This module has no thread, socket,
//! file, clock or source of randomness: the same code runs under real threads and under virtual time.
//!
//! The design follows SWIM (Das, Gupta, Motivala 2002: probing from many nodes), Lifeguard (Dadgar, Phillips, Currey
//! 2017: a node's awareness of its health, and no votes of nodes that may be isolated), Rapid (Suresh et al. 2018:
//! observers on several rings, and the agreement of most of them before a verdict), `PeerReview` (Haeberlen, Kouznetsov,
//! Druschel 2007: signed statements that prove equivocation) and boolean tomography (Duffield 2006: locating a fault by
//! which nodes reach each other).

pub mod config_digest;
pub mod delta_sync;
pub mod engine;
pub mod id;
mod isolation;
pub mod member;
pub mod member_state;
pub mod member_states;
pub mod membership;
pub mod report_ages;
pub mod report_table;
mod rings;
#[cfg(test)]
mod sample;
pub mod silence_limits;
pub mod snapshot;
pub mod sync;
pub mod timestamps;
pub mod verdict;
pub mod verify;
pub mod wire;

pub use engine::event::{Effect, Event};
pub use engine::{Engine, EngineInit, Signer, StartEpoch};
pub use snapshot::Snapshot;
pub use timestamps::Timestamps;

//! The IO-free core: what a node knows, what it does next, and why.
//!
//! [`Mesh::step`] takes the time and an [`Event`] and returns [`Effect`]s. No thread, socket, file, clock
//! or randomness of its own is found here: the same code runs under real threads and under virtual time.
//!
//! Ideas come from SWIM (Das, Gupta, Motivala 2002: probing from many places), Lifeguard (Dadgar, Phillips,
//! Currey 2017: doubt about oneself), Rapid (Suresh et al. 2018: observers on several rings, and agreement of
//! most before anything is said), `PeerReview` (Haeberlen, Kouznetsov, Druschel 2007: signed, chained statements
//! that convict an equivocator), and boolean tomography (Duffield 2006: naming what is broken by who does not
//! reach whom).

mod call;
pub mod delta_sync;
mod ingest;
mod config_mismatch;
mod self_health;
pub mod event;
mod heads;
pub mod id;
pub mod verify;
pub mod message;
pub mod observation;
pub mod snapshot;
mod equivocation;
mod publisher;
pub mod report;
mod rings;
pub mod membership;
#[cfg(test)]
mod sample;
pub mod member_states;
mod engine;
mod peer_state;
pub mod verdict;

pub use event::{Effect, Event};
pub use snapshot::{Snapshot, Timestamps};
pub use engine::{Engine, EngineInit, Signer};

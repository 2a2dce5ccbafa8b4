//! The IO-free core: what a node knows, what it does next, and why.
//!
//! [`Engine::step`] takes the time and an [`Event`] and returns [`Effect`]s. No thread, socket, file, clock
//! or randomness of its own is found here: the same code runs under real threads and under virtual time.
//!
//! Ideas come from SWIM (Das, Gupta, Motivala 2002: probing from many places), Lifeguard (Dadgar, Phillips,
//! Currey 2017: doubt about oneself), Rapid (Suresh et al. 2018: observers on several rings, and agreement of
//! most before anything is said), `PeerReview` (Haeberlen, Kouznetsov, Druschel 2007: signed, chained statements
//! that convict an equivocator), and boolean tomography (Duffield 2006: naming what is broken by who does not
//! reach whom).

pub mod delta_sync;
pub mod engine;
pub mod id;
mod isolation;
pub mod member;
pub mod member_state;
pub mod member_states;
pub mod membership;
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
pub use engine::{Engine, EngineInit, Signer};
pub use snapshot::Snapshot;
pub use timestamps::Timestamps;

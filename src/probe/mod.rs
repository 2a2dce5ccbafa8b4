//! The calls to peers: one thread for each peer, and the exchange that it carries out.
//!
//! What to call when is decided in [`crate::mesh`]; here a call is made, its reply checked, and its end
//! told to the collector.

mod exchange;
mod http_client;
mod peers;

pub use peers::PeerWorkers;

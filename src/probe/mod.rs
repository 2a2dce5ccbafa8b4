//! Calls to peers: one thread for each peer, and the exchange that it carries out.
//!
//! [`crate::mesh`] decides when to call which peer. This module makes the call, verifies the reply and sends the result
//! to the event loop.

mod exchange;
mod http_client;
mod peers;

pub use peers::PeerWorkers;

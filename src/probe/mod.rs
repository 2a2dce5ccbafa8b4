//! Calls to peers: the thread of each peer, and the exchanges that it makes.
//!
//! [`crate::mesh`] decides when to call which peer. This module makes the call, verifies the reply and sends the result
//! to the event loop.

mod earlier_release;
mod exchange;
mod http_client;
mod http_reply;
mod peer_url;
mod peers;
mod reply_signature;
mod tls;

pub use peers::PeerWorkers;

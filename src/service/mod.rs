//! The service around the mesh: the journal, the service manager, signals.
//!
//! What systemd expects of a `Type=notify` service lives here, and works as well without systemd. Protocol
//! and decisions do not.

mod network;
pub mod notify;
pub mod run;
pub mod signals;
mod sockets;
mod status;
pub mod watchdog;

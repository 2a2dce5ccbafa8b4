//! The service around the mesh: the journal, the service manager, signals.
//!
//! What systemd expects of a `Type=notify` service lives here, and works as well without systemd. Protocol
//! and decisions do not.

pub mod journal;
pub mod notify;
pub mod signals;
pub mod watchdog;

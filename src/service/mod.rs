//! The process around the networks: start and stop, reload, signals, and the protocol of a `Type=notify` service of
//! systemd, which is optional. Protocols between nodes and verdicts are in other modules.

pub mod lifecycle;
mod network;
pub mod notify;
pub mod signals;
mod socket_activation;
mod status_line;
pub mod watchdog;

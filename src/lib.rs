//! Distomon, a distributed network monitor.
//!
//! Every host of a network runs a node. Nodes probe each other, sign what they saw, share it, and so
//! any node can answer who is up, who could reach whom, and since when.
//!
//! The map of the house, from the core outwards:
//!
//! | module | what lives there | what does not |
//! | --- | --- | --- |
//! | [`mesh`] | reports, observations, schedule, the step function | threads, sockets, files, clocks, randomness |
//! | [`moment`] | times as text | clocks |
//! | [`journal`] | the logger, the ids of journal messages, the limit on repeated lines | the texts of the lines |
//! | [`crypto`] | keys, DSSE envelopes, HTTP message signatures, tokens, password hashes | any idea of nodes or networks |
//! | [`config`] | reading and checking the two YAML files, finding keys | anything that runs |
//! | [`store`] | the collector thread, the snapshot, the state directory | decisions |
//! | [`monitor`] | the peers' threads and their exchanges | decisions |
//! | [`server`] | the listener, the routes, login, dashboard | state of the mesh, except to read it |
//! | [`service`] | wiring, systemd, signals, reload, the journal | protocol |
//! | [`cli`] | one file for each subcommand | logic that another module could own |
//!
//! One way only: `mesh` and `crypto` know none of the others; `store` knows `mesh`; `monitor` and
//! `server` talk to `store`; `service` puts them together; `cli` starts `service`.

pub mod cli;
pub mod config;
pub mod crypto;
pub mod dashboard;
pub mod journal;
pub mod mesh;
pub mod present;
pub mod probe;
pub mod server;
pub mod service;
pub mod store;

/// The version of this program, as reports and `distomon version` show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

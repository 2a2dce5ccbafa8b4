//! Distomon, a distributed network monitor.
//!
//! Every host of a network runs a node. Nodes probe each other, sign what they observed and share it, so that any node
//! can answer which nodes are up, which links work, and since when.
//!
//! The modules, from the command line down to the core:
//!
//! | module | contains | does not contain |
//! | --- | --- | --- |
//! | [`cli`] | one file for each subcommand | logic that another module could own |
//! | [`service`] | start, reload and stop; systemd, signals, watchdog | protocol |
//! | [`server`] | the listener, the routes, authentication | state of the mesh, except to read it |
//! | [`dashboard`] | the pages | requests, logins, sockets |
//! | [`present`] | texts and views that JSON, command line, journal and dashboard share | HTML, terminal codes |
//! | [`probe`] | the peers' threads and their exchanges | decisions |
//! | [`store`] | the event loop, the published snapshot, the state directory | decisions |
//! | [`config`] | reading and checking the two YAML files, finding keys | anything that runs |
//! | [`mesh`] | the protocol and the verdicts, free of IO | threads, sockets, files, clocks, randomness |
//! | [`crypto`] | keys, DSSE envelopes, HTTP message signatures, tokens, password hashes | nodes, networks |
//! | [`subnet`] | a subnet of IP addresses, for `config`, `service` and `server` | configuration |
//! | [`threads`] | threads whose panic ends the process | which threads there are |
//! | [`journal`] | the logger, message ids, the limit on repeated lines | the texts of the lines |
//! | `deadline_stream` | a socket whose reads and writes have deadlines, for `server` and `probe` | HTTP |
//! | `durable_file` | atomic file writes, for `store`, `config` and `server` | file formats |
//!
//! Imports go one way: `cli` → `service` → {`server`, `probe`} → `store` → `mesh` → `crypto`; `server` → `dashboard` →
//! {`present`, `store`}; `present` → `mesh`; {`cli`, `service`} → `config` → {`mesh`, `crypto`}. A module may also import
//! any module that comes later on its path. `cli`, `service` and `server` take texts from `present` too; `journal`,
//! `threads`, `deadline_stream`, `durable_file` and `subnet` import no other module, and neither `mesh` nor `crypto` imports them.

pub mod cli;
pub mod config;
pub mod crypto;
pub mod dashboard;
mod deadline_stream;
mod durable_file;
pub mod journal;
pub mod mesh;
pub mod present;
pub mod probe;
pub mod server;
pub mod service;
pub mod store;
pub mod subnet;
pub mod threads;

/// The version of this program, as reports and `distomon version` show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

//! End-to-end tests: processes of the built program that exchange reports over real sockets.

mod basics;
mod damaged_state;
mod fair_shares;
mod host;
mod invalid_reports;
mod invalid_requests;
mod links;
mod logout;
mod network;
mod overload;
mod password;
mod rogue_peer;
mod service;
mod starvation;
mod v0_compat;
mod verdict_history;
mod wait;
mod watcher;

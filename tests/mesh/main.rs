//! Real nodes: processes of the built program that talk over real sockets.

mod basics;
mod crowd;
mod exchanges;
mod heritage;
mod impostor;
mod links;
mod network;
mod password;
mod past;
mod reports;
mod service;
mod watcher;

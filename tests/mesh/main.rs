//! Real nodes: processes of the built program that talk over real sockets.

mod basics;
mod network;
mod watcher;

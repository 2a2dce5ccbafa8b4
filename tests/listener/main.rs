//! The listener over real sockets, with a small handler behind it.

mod bind_addresses;
mod client;
mod echo_server;
mod many_clients;
mod memory_budget;
mod request_syntax;
mod shutdown;
mod socket_activation;
mod timeouts;

//! The HTTP server of a node: the listener with its limits, the routes behind it, and authentication.
//!
//! | file | contents |
//! | --- | --- |
//! | [`listener`] | listening sockets, start and stop |
//! | `bind_address` | addresses to listen on |
//! | `accept_loop` | the thread that accepts connections |
//! | `worker_pool` | the threads that serve connections |
//! | `connection` | one connection and its requests |
//! | `connection_limiter` | which clients may be connected concurrently |
//! | `memory_budget` | the memory of request bodies and replies, in total and for each owner |
//! | `resource_owner`, `sender_addresses` | against whose share a connection counts; known addresses of senders |
//! | `exchange_rate`, `token_bucket` | the rate of exchanges of each sender; limits on rates |
//! | `read_buffer`, [`request_head`] | received bytes, and the strict parser of request heads |
//! | `reply` | the serialization of a `rouille::Response` |
//! | [`limits`] | bounds on sizes, counts and times |
//! | `client_address`, `recent_clients` | client prefixes, trusted proxies, and the prefixes that logged in recently |
//! | `listener_counters` | rejected connections and requests, and their log |
//! | [`heartbeat`] | the heartbeat of the accept loop |
//! | [`handler`] | the trait between the listener and the routes |
//! | [`routes`], `api_route` | the handler of each path; the paths of the JSON interface |
//! | [`served_instance`] | the nodes and the login that the routes serve |
//! | [`exchange`] | `POST /mon/{network_id}`, the exchange between nodes |
//! | `health` | `GET /healthz` |
//! | [`auth`], [`login_limiter`] | passwords, tokens and cookies; the limit on login attempts |
//! | `login_form` | `POST /login` and `POST /logout` |
//! | `dashboard_routes` | login, cookies and HTTP around the pages of the dashboard |
//! | `page_reply`, `redirect` | replies with pages; redirects within this site |
//! | `etag`, `gzip` | conditional requests; compressed bodies |
//! | [`view`] | a network's snapshot as JSON |
//! | [`mod@problem`] | error bodies |
//!
//! rouille's own listener has neither limits nor timeouts, so only its request and response types are used.

mod accept_loop;
mod api_route;
pub mod auth;
mod bind_address;
mod client_address;
mod connection;
mod connection_limiter;
mod dashboard_routes;
mod etag;
pub mod exchange;
mod exchange_capacity;
mod exchange_rate;
#[cfg(test)]
mod fixture;
mod gzip;
pub mod handler;
mod health;
pub mod heartbeat;
pub mod limits;
pub mod listener;
mod listener_counters;
mod login_form;
pub mod login_limiter;
mod memory_budget;
mod page_reply;
pub mod problem;
mod read_buffer;
mod recent_clients;
mod redirect;
mod reply;
pub mod request_head;
mod resource_owner;
pub mod routes;
mod sender_addresses;
pub mod served_instance;
mod token_bucket;
pub mod view;
mod worker_pool;

pub use bind_address::BindAddress;
pub use handler::{Admission, Handler};
pub use heartbeat::Heartbeat;
pub use limits::Limits;
pub use listener::{InheritedSockets, ListenError, Listener, ListenerHandle};
pub use problem::problem;
pub use request_head::{ReceivedRequest, RequestHead};
pub use resource_owner::SenderId;
pub use routes::Routes;
pub use served_instance::ServedInstance;

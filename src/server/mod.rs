//! The HTTP side of a node: the listener with its limits, the routes behind it, and what guards the login.
//!
//! | file | noun |
//! | --- | --- |
//! | [`listener`] | the accept loop, start and stop, the trait that routes implement |
//! | `connection` | one connection: its requests, one after the other |
//! | [`head`] | the head of one request, read strictly |
//! | `reply` | a `rouille::Response` as bytes |
//! | `wire` | a socket whose reads and writes end in time |
//! | `gate` | who may be connected at the same time |
//! | [`limits`] | every number of the above |
//! | `address` | what counts as one address; proxies |
//! | [`heartbeat`] | the sign that the accept loop turns |
//! | `counters` | what was turned away, for the journal |
//! | [`attempts`] | login attempts: how many, from where, how many hashes at once |
//! | [`login`] | passwords, tokens, cookies, and what they open |
//! | [`view`] | a network's snapshot as JSON |
//! | [`dashboard`] | a network's snapshot as pages for people |
//! | [`mod@problem`] | error bodies |
//!
//! rouille's own listener has no limits and no timeouts, so only its router, request and response are
//! used.

mod client_address;
mod connection;
mod connection_limiter;
pub mod exchange;
#[cfg(test)]
pub(crate) mod fixture;
pub mod head;
mod health;
pub mod heartbeat;
pub mod instance;
pub mod limits;
pub mod listener;
mod listener_counters;
pub mod login;
pub mod login_limiter;
pub mod problem;
mod recent_clients;
mod reply;
pub mod routes;
pub mod view;
mod wire;

pub use head::Head;
pub use heartbeat::Heartbeat;
pub use instance::Instance;
pub use limits::Limits;
pub use listener::{Admission, Bind, Inherited, Listener, ListenerHandle, Service};
pub use login_limiter::LoginLimiter;
pub use problem::problem;
pub use routes::Routes;

//! The state that the threads of a network share: the snapshot that all of them read, the queue of events, and the state
//! directory. Only the thread of [`event_loop`] replaces the snapshot.
//!
//! [`crate::mesh`] decides; this module carries out its decisions.

pub mod clock;
pub mod drop_counters;
mod epoch_file;
pub mod event_loop;
#[cfg(test)]
pub(crate) mod fixture;
mod last_run;
pub mod network_handle;
pub mod nonce_file;
pub mod nonce_store;
pub mod published;
mod report_verifier;
mod state_files;
pub mod state_writer;
pub mod trends;

pub use network_handle::NetworkHandle;
pub use published::SnapshotPublisher;
pub use state_files::{StateError, StateFiles};

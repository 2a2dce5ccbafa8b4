//! What a network's threads share: the snapshot that everyone reads, the channel that everyone tells, and
//! the state directory. The collector thread, which alone changes the snapshot, lives in [`collector`].
//!
//! Decisions are made in [`crate::mesh`]; here they are only carried out.

pub mod clock;
pub mod drop_counters;
pub mod event_loop;
pub mod network_handle;
pub mod nonce_store;
mod state_files;
pub mod state_writer;
pub mod trends;

pub use network_handle::NetworkHandle;
pub use state_files::{StateError, StateFiles};

//! What a network's threads share: the picture that everyone reads, the channel that everyone tells, and
//! the state directory. The collector thread, which alone changes the picture, lives in [`collector`].
//!
//! Decisions are made in [`crate::mesh`]; here they are only carried out.

pub mod clock;
pub mod collector;
mod files;
pub mod keeper;
pub mod limit;
pub mod node;
pub mod nonces;
pub mod tally;
pub mod trend;

pub use files::{StateError, StateFiles};
pub use node::NetworkHandle;

//! The IO-free core: what a node knows, what it does next, and why.
//!
//! [`Mesh::step`](state::Mesh) takes the time and an [`Event`](event::Event) and returns
//! [`Effect`](event::Effect)s. No thread, socket, file, clock or randomness of its own is found here:
//! the same code runs under real threads and under virtual time.

pub mod id;
pub mod roster;

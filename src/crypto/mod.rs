//! Keys, DSSE envelopes, HTTP message signatures, login tokens and password hashes.
//!
//! Bytes and names go in, bytes and verdicts on signatures come out; no idea of networks lives here.

pub mod key;

pub use key::{KeyError, Keypair, PublicKey};

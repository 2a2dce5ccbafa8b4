//! Keys, DSSE envelopes, HTTP message signatures, login tokens and password hashes.
//!
//! Bytes and names go in, bytes and verdicts on signatures come out; no idea of networks lives here.
//! What one key signs in one form cannot pass for another: an envelope's signed bytes start with
//! `DSSEv1`, an HTTP message's with `"@`, a token's with base64 of `{`.

pub mod content_digest;
pub mod dsse;
pub mod http_signature;
pub mod key;
pub mod nonce;
pub mod password;
mod structured_field;
pub mod token;

pub use content_digest::{content_digest, digest_matches};
pub use key::{KeyError, Keypair, PublicKey};
pub use nonce::Nonce;

/// The longest key id taken from a peer or a client, in bytes: enough for two names and a slash.
pub const MAX_KEY_ID: usize = 256;

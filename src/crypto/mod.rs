//! Keys, DSSE envelopes, HTTP message signatures, login tokens and password hashes.
//!
//! Functions over bytes and texts, without nodes or networks. One key signs envelopes, HTTP messages and tokens, and the
//! signature of one is never valid for another: the signed bytes of an envelope start with `DSSEv1`, those of an HTTP
//! message with `"@`, those of a token with the base64 of `{`.

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

/// The maximum length of a key id, in bytes, which fits two names and a slash.
pub const MAX_KEY_ID: usize = 256;

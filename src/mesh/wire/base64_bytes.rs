//! Byte strings of a fixed length, in standard base64 on the wire.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A byte string of `N` bytes; in JSON its standard base64 with padding (RFC 4648, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base64Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Base64Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl<const N: usize> Serialize for Base64Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Base64Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_ref()).map_err(serde::de::Error::custom)?;
        let bytes = bytes.try_into().map_err(|_| serde::de::Error::custom(format!("expected {N} bytes")))?;
        Ok(Self(bytes))
    }
}

//! Reads optional members leniently, so that a later release may change what it puts there: a member of an unknown type,
//! form or range counts as missing, and the rest of the message stays valid.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::mesh::id::MAX_INTEGER;

/// Reads any JSON value: none if it is not a `T`. For `deserialize_with`.
pub(super) fn option<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// Reads any JSON value: none if it is not an integer from 0 to 2^53 − 1. For `deserialize_with`.
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(option(deserializer)?.filter(|value| *value <= MAX_INTEGER))
}

/// Reads any JSON value: the default if it is not a `T`. For `deserialize_with`.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(option(deserializer)?.unwrap_or_default())
}

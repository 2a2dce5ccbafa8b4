//! Reads optional members leniently, so that a later release may change what it puts there: a member of an unknown type,
//! form or range counts as missing, and the rest of the message stays valid.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::mesh::id::{MAX_INTEGER, ReportId};

/// Reads any JSON value: none if it is not a `T`. For `deserialize_with`.
pub(super) fn option<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// Reads any JSON value: none if it is not an integer from 0 to 2^53 − 1. For `deserialize_with`.
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(LenientValue::deserialize(deserializer)?.integer())
}

/// A JSON value of one of the types that observations have, or [`LenientValue::Other`].
pub(super) enum LenientValue<'de> {
    Unsigned(u64),
    Negative(i64),
    Text(Cow<'de, str>),
    /// An array of at most three integers, and its length.
    Integers([u64; 3], usize),
    Other,
}

impl LenientValue<'_> {
    /// The integer, if it is one from 0 to 2^53 − 1.
    pub(super) fn integer(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) if *value <= MAX_INTEGER => Some(*value),
            _ => None,
        }
    }

    /// The integer, if it is one from −(2^53 − 1) to 2^53 − 1.
    pub(super) fn signed(&self) -> Option<i64> {
        match self {
            Self::Negative(value) if value.unsigned_abs() <= MAX_INTEGER => Some(*value),
            _ => self.integer().and_then(|value| i64::try_from(value).ok()),
        }
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The three integers, if it is an array of three integers below 2^32.
    pub(super) fn small_integers(&self) -> Option<[u32; 3]> {
        let Self::Integers(integers, 3) = *self else { return None };
        let [Ok(first), Ok(second), Ok(third)] = integers.map(u32::try_from) else { return None };
        Some([first, second, third])
    }

    /// The report id, if it is an array of two integers up to 2^53 − 1.
    pub(super) fn report_id(&self) -> Option<ReportId> {
        match *self {
            Self::Integers([epoch, seq, _], 2) if epoch.max(seq) <= MAX_INTEGER => {
                Some(ReportId { epoch, seq })
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for LenientValue<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = LenientValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(LenientValue::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(LenientValue::Negative(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(LenientValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(LenientValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(LenientValue::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(LenientValue::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(LenientValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut integers, mut length) = ([0; 3], 0);
        while let Some(element) = seq.next_element::<LenientValue<'de>>()? {
            let LenientValue::Unsigned(value) = element else {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(LenientValue::Other);
            };
            if let Some(slot) = integers.get_mut(length) {
                *slot = value;
            }
            length += 1;
        }
        Ok(if length <= integers.len() {
            LenientValue::Integers(integers, length)
        } else {
            LenientValue::Other
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LenientValue::Other)
    }
}

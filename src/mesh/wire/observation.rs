//! Observations: the result of one node's probes of one peer.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mesh::id::{MAX_INTEGER, ReportId};

/// Whether a peer answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeStatus {
    /// The newest exchange succeeded, or at most `retry` probes have failed since.
    Online,
    /// `retry` + 1 consecutive probes failed, or a peer without url stopped calling.
    Offline,
    /// Nothing is known yet, the peer answered with a signed refusal, or it may be misconfigured.
    Unknown,
}

impl ProbeStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ProbeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $meaning:literal;)*) => {
        /// Why an exchange failed: a closed set, so that no text that a peer chose is relayed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Failure {
            $($(#[$doc])* $name,)*
        }

        impl Failure {
            /// Every kind of failure.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The explanation for the operator, as a clause about the peer.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

failures! {
    /// The connection was refused.
    Refused = "refused", "nothing listens at its address";
    /// No complete reply within the timeout.
    Timeout = "timeout", "no answer in time";
    /// The name did not resolve.
    Dns = "dns", "its name does not resolve";
    /// The TLS handshake failed.
    Tls = "tls", "no TLS connection, or its certificate is not trusted";
    /// No route to the network or host.
    Unreachable = "unreachable", "no route to its address";
    /// The connection ended early.
    Reset = "reset", "the connection was closed early";
    /// An HTTP status other than 200, without the peer's signature.
    HttpStatus = "http-status", "something other than a node answers at its address, perhaps a proxy";
    /// The reply is not signed with the peer's key, or not for this request.
    BadSignature = "bad-signature", "the reply is not signed with its key";
    /// The reply names another node.
    WrongNode = "wrong-node", "another node answers at its address";
    /// The reply is signed, but malformed.
    BadReply = "bad-reply", "the reply is malformed";
    /// The reply exceeds the maximum size.
    TooLarge = "too-large", "the reply is too large";
    /// Signed refusal: the nonce is not larger than the last one.
    Replayed = "replayed", "it rejects the request: it has received a later one, perhaps from another process with the same key";
    /// Signed refusal: the request was for another node.
    Misdirected = "misdirected", "it rejects the request: it is not the node that is configured at its address";
    /// Signed refusal of another kind.
    Rejected = "rejected", "it rejects the request";
    /// A failure at this host, or of a kind that this version does not know.
    Other = "other", "an unspecified failure";
}

impl Failure {
    /// Whether it is a signed refusal, which proves that the peer is alive.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Replayed | Self::Misdirected | Self::Rejected)
    }

    /// Whether something answered that did not prove to be the peer.
    pub fn is_impostor(self) -> bool {
        matches!(self, Self::HttpStatus | Self::BadSignature | Self::WrongNode)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Failure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::ALL.iter().copied().find(|kind| kind.as_str() == word).unwrap_or(Self::Other))
    }
}

/// An observation of one peer in the report of its observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Whether the peer answered.
    pub status: ProbeStatus,
    /// Since when the status holds, by the observer's wall clock: Unix time in ms.
    #[serde(rename = "since", deserialize_with = "bounded")]
    pub since_ms: u64,
    /// The duration of the newest exchange less `took_us`, in µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// The processing time of that exchange that the peer reported, in µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u32>,
    /// The peer's clock minus the observer's, in ms, accurate to ± `rtt_us` / 2 (RFC 5905, section 8).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_offset")]
    pub clock_offset_ms: Option<i64>,
    /// Why the peer is not online; [`Failure::Refused`] only if every attempt was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The peer's newest report that the observer held when it declared the peer offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<ReportId>,
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if value > MAX_INTEGER {
        return Err(serde::de::Error::custom("integer larger than 2^53 - 1"));
    }
    Ok(value)
}

fn bounded_offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Option::<i64>::deserialize(deserializer)?;
    if value.is_some_and(|offset_ms| offset_ms.unsigned_abs() > MAX_INTEGER) {
        return Err(serde::de::Error::custom("integer beyond ±(2^53 - 1)"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_round_trip_and_unknown_ones_are_other() {
        for kind in Failure::ALL {
            let json = serde_json::to_string(kind).expect("a word");
            assert_eq!(serde_json::from_str::<Failure>(&json).expect("own word"), *kind);
        }
        assert_eq!(serde_json::from_str::<Failure>("\"<script>\"").expect("any word"), Failure::Other);
    }
}

//! What one node found of one peer.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mesh::id::{MAX_INTEGER, ReportId};

/// Whether a peer answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeStatus {
    /// The newest exchange with it succeeded, or too few failed in a row to say otherwise.
    Online,
    /// `retry` + 1 exchanges in a row failed.
    Offline,
    /// Nothing is known yet, or it answered and refused.
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
    ($($(#[$doc:meta])* $name:ident = $word:literal, $hint:literal;)*) => {
        /// Why an exchange failed: a closed set, so that nothing of a peer's choosing is repeated.
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

            /// What it means, in words for a person.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $hint,)* }
            }
        }
    };
}

failures! {
    /// The connection was refused.
    Refused = "refused", "nothing listens there";
    /// No whole answer in time.
    Timeout = "timeout", "no answer in time";
    /// The name did not resolve.
    Dns = "dns", "its name does not resolve";
    /// No secure connection could be made.
    Tls = "tls", "no secure connection, or its certificate is not trusted";
    /// No route to the network or host.
    Unreachable = "unreachable", "no route to it";
    /// The connection ended early.
    Reset = "reset", "the connection was cut";
    /// An HTTP status other than 200, without the peer's signature.
    HttpStatus = "http-status", "something other than a node answered, perhaps a proxy";
    /// The answer is not signed by the peer's key, or not for this request.
    BadSignature = "bad-signature", "the answer is not signed with its key";
    /// The answer names another node.
    WrongNode = "wrong-node", "another node answers at its address";
    /// The answer is signed, but not an answer.
    BadReply = "bad-reply", "it answers in a form that is not understood";
    /// The answer is larger than is read.
    TooLarge = "too-large", "its answer is too large";
    /// Signed refusal: the request's number was used before.
    Replayed = "replayed", "it refuses: it has seen a later request of this node, perhaps a twin's";
    /// Signed refusal: the request was for another node.
    Misdirected = "misdirected", "it refuses: it is another node than the configuration says";
    /// Signed refusal of another kind.
    Rejected = "rejected", "it refuses";
    /// A kind this version does not know.
    Other = "other", "a failure of another kind";
}

impl Failure {
    /// Whether the peer itself refused, which shows that it lives.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Replayed | Self::Misdirected | Self::Rejected)
    }

    /// Whether something answered that does not show itself to be the peer.
    pub fn is_strange(self) -> bool {
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

/// What one node found of one peer, as it stands in the node's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Whether the peer answered.
    pub status: ProbeStatus,
    /// Since when, by the observer's wall clock: Unix time in ms.
    #[serde(rename = "since", deserialize_with = "bounded")]
    pub since_ms: u64,
    /// The newest exchange's whole time less what the peer says it took, in µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// What the peer says that exchange took inside it, in µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u32>,
    /// The peer's clock less the observer's, in ms, exact to ± `rtt_us` / 2 (RFC 5905, section 8).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_offset")]
    pub clock_offset_ms: Option<i64>,
    /// Why the newest exchange failed.
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

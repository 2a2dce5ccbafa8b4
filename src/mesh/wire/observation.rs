//! Observations: the result of one node's probes of one peer.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::lenient;
use crate::mesh::id::{MAX_INTEGER, ReportId};

/// Whether a peer answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeStatus {
    /// The newest exchange succeeded, or at most `retry` probes have failed since.
    Online,
    /// `retry` + 1 consecutive probes failed, or a peer without url stopped calling.
    Offline,
    /// Nothing is known yet, the peer answered with a signed refusal, or it may be misconfigured. Also the meaning of
    /// a word that this release does not know.
    Unknown,
}

impl ProbeStatus {
    /// The status of a word on the wire.
    fn from_word(word: &str) -> Self {
        match word {
            "online" => Self::Online,
            "offline" => Self::Offline,
            _ => Self::Unknown,
        }
    }

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
    /// The peer runs a release with another protocol version: its signed refusal says so or, if it has no url, its
    /// request.
    Incompatible = "incompatible", "it runs an incompatible release";
    /// Signed refusal: the peer has no capacity left for the request.
    Busy = "busy", "it is overloaded";
    /// Signed refusal of another kind.
    Rejected = "rejected", "it rejects the request";
    /// A failure at this host, or of a kind that this version does not know.
    Other = "other", "an unspecified failure";
}

impl Failure {
    /// The failure of a word on the wire, if this release knows the word.
    pub(super) fn known(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }

    /// The failure of a word on the wire; words that this release does not know are [`Failure::Other`].
    fn from_word(word: &str) -> Self {
        Self::known(word).unwrap_or(Self::Other)
    }

    /// Whether it is a signed refusal, which proves that the peer is alive.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Replayed | Self::Misdirected | Self::Incompatible | Self::Busy | Self::Rejected)
    }

    /// Whether it says something about the peer even if the observer delayed the call.
    pub fn is_conclusive(self) -> bool {
        self == Self::Refused || self.is_refusal()
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
        Ok(Self::from_word(&Cow::<'de, str>::deserialize(deserializer)?))
    }
}

/// The number of probe attempts of a peer since the observer's epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeTries {
    /// All attempts.
    pub attempts: u32,
    /// The attempts that the peer did not answer; a signed refusal is an answer.
    pub failures: u32,
    /// The attempts that the observer itself delayed so much that their failure does not count.
    pub late: u32,
}

impl Serialize for ProbeTries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.attempts, self.failures, self.late].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ProbeTries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [attempts, failures, late] = <[u32; 3]>::deserialize(deserializer)?;
        Ok(Self { attempts, failures, late })
    }
}

/// An observation of one peer in the report of its observer. Optional members of unknown types count as missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Whether the peer answered.
    #[serde(deserialize_with = "known_status")]
    pub status: ProbeStatus,
    /// Since when the status holds, by the observer's wall clock: Unix time in ms.
    #[serde(rename = "since", deserialize_with = "bounded")]
    pub since_ms: u64,
    /// The duration of the newest exchange less `took_us`, in µs.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub rtt_us: Option<u32>,
    /// The processing time of that exchange that the peer reported, in µs.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub took_us: Option<u32>,
    /// The peer's clock minus the observer's, in ms, accurate to ± `rtt_us` / 2 (RFC 5905, section 8).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_offset")]
    pub clock_offset_ms: Option<i64>,
    /// Why the peer is not online; [`Failure::Refused`] only if every attempt was refused. With any status,
    /// [`Failure::Busy`] if the peer answered the newest probe that it is overloaded.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub error: Option<Failure>,
    /// The peer's newest report that the observer held when it declared the peer offline.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub head: Option<ReportId>,
    /// The observer's first report with this status; none if the peer is online.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub first: Option<ReportId>,
    /// The peer's newest report that the observer held when it signed this one; none if the peer is online.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub newest: Option<ReportId>,
    /// The probe attempts since the observer's epoch began; none if the observer does not probe the peer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub tries: Option<ProbeTries>,
}

impl Observation {
    /// An observation without measurements.
    pub fn new(status: ProbeStatus, since_ms: u64) -> Self {
        Self {
            status,
            since_ms,
            rtt_us: None,
            took_us: None,
            clock_offset_ms: None,
            error: None,
            head: None,
            first: None,
            newest: None,
            tries: None,
        }
    }
}

/// An observation as received: none if this release cannot read it.
pub(super) struct ReceivedObservation(pub(super) Option<Observation>);

impl<'de> Deserialize<'de> for ReceivedObservation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

/// Reads a status; a word that this release does not know is [`ProbeStatus::Unknown`].
fn known_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ProbeStatus, D::Error> {
    Ok(ProbeStatus::from_word(&Cow::<'de, str>::deserialize(deserializer)?))
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if value > MAX_INTEGER {
        return Err(serde::de::Error::custom("integer larger than 2^53 - 1"));
    }
    Ok(value)
}

fn bounded_offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let offset_ms: Option<i64> = lenient::option(deserializer)?;
    Ok(offset_ms.filter(|offset_ms| offset_ms.unsigned_abs() <= MAX_INTEGER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Observation> {
        serde_json::from_str::<ReceivedObservation>(json).expect("JSON").0
    }

    #[test]
    fn failures_round_trip_and_unknown_ones_are_other() {
        for kind in Failure::ALL {
            assert_eq!(Failure::from_word(kind.as_str()), *kind);
        }
        assert_eq!(Failure::from_word("<script>"), Failure::Other);
    }

    #[test]
    fn observations_round_trip() {
        let id = |seq| Some(ReportId { epoch: 7, seq });
        let offline = Observation {
            error: Some(Failure::Refused),
            head: id(1),
            first: id(2),
            newest: id(3),
            tries: Some(ProbeTries { attempts: 9, failures: 4, late: u32::MAX }),
            ..Observation::new(ProbeStatus::Offline, 5)
        };
        let online = Observation {
            rtt_us: Some(u32::MAX),
            took_us: Some(0),
            clock_offset_ms: Some(-3),
            ..Observation::new(ProbeStatus::Online, 5)
        };
        for observation in [offline, online] {
            let json = serde_json::to_string(&observation).expect("plain members");
            assert_eq!(read(&json), Some(observation), "{json}");
        }
    }

    #[test]
    fn unknown_words_types_and_ranges_count_as_missing() {
        let unknown = Observation::new(ProbeStatus::Unknown, 1);
        for (json, expected) in [
            (r#"{"status":"dozing","since":1,"new":{"a":[{}]}}"#, Some(unknown)),
            (
                r#"{"status":"unknown","since":1,"rtt_us":"5","took_us":4294967296,"clock_offset_ms":1.5,
                   "error":7,"head":[1],"first":[1,9007199254740992],"newest":{},"tries":[1,2,3,4]}"#,
                Some(unknown),
            ),
            (
                r#"{"status":"unknown","since":1,"clock_offset_ms":-9007199254740992,"tries":[1,2]}"#,
                Some(unknown),
            ),
            (r#"{"status":"unknown","since":1,"tries":[1,2,4294967296],"head":[1,[2]]}"#, Some(unknown)),
            (r#"{"status":"unknown","since":1,"rtt_us":1e999,"took_us":null}"#, Some(unknown)),
            (
                &format!(
                    r#"{{"status":"unknown","since":1,"rtt_us":{}{}}}"#,
                    "[".repeat(500),
                    "]".repeat(500)
                ),
                Some(unknown),
            ),
            (r#"{"status":"unknown","since":1e999}"#, None),
            // Unreadable: a required member is missing, or has an unknown type.
            (r#"{"status":"online"}"#, None),
            (r#"{"since":1}"#, None),
            (r#"{"status":1,"since":1}"#, None),
            (r#"{"status":"online","since":"now"}"#, None),
            (r#"{"status":"online","since":9007199254740992}"#, None),
            (r#"{"status":"online","since":1,"since":1}"#, None),
            (r#"{"status":"online","status":"offline","since":1}"#, None),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
        for other in ["[1,[2]]", "\"online\"", "1", "-1", "0.5", "true", "null"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

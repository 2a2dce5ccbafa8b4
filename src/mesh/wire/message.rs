//! The bodies of exchanges: the heads of the reports that their sender holds, and reports and proofs that the receiver
//! lacks.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{IgnoredAny, Visitor};
use serde_json::value::RawValue;

use super::heads::Heads;
use super::{Base64Bytes, PROTOCOL_VERSION, lenient};
use crate::mesh::id::MAX_INTEGER;
use crate::mesh::membership::Membership;

/// The maximum size of the reports in a message that this node sends, in bytes; the same again for the proofs. Messages
/// in large networks have less room: [`fill_bytes`].
pub const FILL_BYTES: usize = 256 * 1024;

/// The size of a message without heads, reports and proofs is below this, in bytes: 64 KiB are for statements.
const FRAME_BYTES: usize = 65 * 1024;

/// The maximum number of reports that a receiver reads of a message. Senders reach [`FILL_BYTES`] first.
pub const MAX_REPORTS: usize = 4096;

/// The maximum size of a received message, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The room for reports in a message beside `heads_bytes` bytes of heads, in bytes; the same again for the proofs.
pub fn fill_bytes(heads_bytes: usize) -> usize {
    FILL_BYTES.min((MAX_BYTES - FRAME_BYTES).saturating_sub(heads_bytes) / 2)
}

/// The maximum number of proofs of equivocation that a message carries; a receiver ignores further ones.
pub const MAX_PROOFS: usize = 8;

/// The maximum number of statements in a message; a receiver ignores further ones. Together they have at most 64 KiB.
const MAX_STATEMENTS: usize = 256;

/// The body of a request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The heads of the sender.
    pub heads: Heads,
    /// The mark of the last reply that the sender received: the message names only the heads that changed since then.
    pub since: Option<u64>,
    /// Whether the reply should contain no other report than the replier's own, since the sender has requests to several
    /// peers in flight, which would all answer with the same reports.
    pub own_only: bool,
    /// DSSE envelopes, unverified.
    pub reports: Vec<&'a RawValue>,
    /// Pairs of DSSE envelopes, unverified.
    pub proofs: Vec<&'a RawValue>,
}

/// The body of a reply.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The node that replies.
    pub from: String,
    /// The sender's wall clock when it wrote the reply: Unix time in ms.
    pub now_ms: u64,
    /// The time that the sender took to process the request, in µs.
    pub took_us: u32,
    /// The heads of the sender.
    pub heads: Heads,
    /// The value of `since` for the next request.
    pub mark: Option<u64>,
    /// DSSE envelopes, unverified.
    pub reports: Vec<&'a RawValue>,
    /// Pairs of DSSE envelopes, unverified.
    pub proofs: Vec<&'a RawValue>,
}

/// Why a body is not a message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, or a required member is missing or malformed.
    #[error("not a message: {0}")]
    Malformed(String),
    /// Another protocol version.
    #[error("a message of an incompatible release: expected protocol version {PROTOCOL_VERSION}")]
    OtherProtocol,
}

impl<'a> Request<'a> {
    /// Parses the body of a request. Ids that the membership lacks are ignored.
    pub fn parse(body: &'a [u8], membership: &Arc<Membership>) -> Result<Self, MessageError> {
        let raw = WireMessage::parse(body)?;
        let heads = read_heads(raw.heads, membership, raw.since.is_some())?;
        let (since, own_only) = (raw.since, raw.own_only);
        Ok(Self { heads, since, own_only, reports: raw.reports.0, proofs: raw.proofs.0 })
    }
}

impl<'a> Reply<'a> {
    /// Parses the body of a reply. Ids that the membership lacks are ignored.
    pub fn parse(body: &'a [u8], membership: &Arc<Membership>) -> Result<Self, MessageError> {
        let raw = WireMessage::parse(body)?;
        let missing = |name: &str| MessageError::Malformed(format!("missing field `{name}`"));
        let now_ms = raw.now.ok_or_else(|| missing("now"))?;
        if now_ms > MAX_INTEGER {
            return Err(MessageError::Malformed("integer larger than 2^53 - 1".to_owned()));
        }
        let heads = read_heads(raw.heads, membership, raw.partial)?;
        Ok(Self {
            from: raw.from.ok_or_else(|| missing("from"))?.into_owned(),
            now_ms,
            took_us: raw.took_us.ok_or_else(|| missing("took_us"))?,
            heads,
            mark: raw.mark,
            reports: raw.reports.0,
            proofs: raw.proofs.0,
        })
    }
}

/// The members of both kinds of body.
#[derive(Deserialize)]
struct WireMessage<'a> {
    v: u32,
    #[serde(borrow)]
    from: Option<std::borrow::Cow<'a, str>>,
    now: Option<u64>,
    took_us: Option<u32>,
    #[serde(default, deserialize_with = "lenient::option")]
    since: Option<u64>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    own_only: bool,
    #[serde(default, deserialize_with = "lenient::option")]
    mark: Option<u64>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    partial: bool,
    #[serde(borrow)]
    heads: &'a RawValue,
    #[serde(borrow)]
    reports: BoundedList<'a, MAX_REPORTS>,
    #[serde(borrow, default, deserialize_with = "lenient::or_default")]
    proofs: BoundedList<'a, MAX_PROOFS>,
    /// Reserved: DSSE envelopes of operators' statements.
    #[serde(borrow, default, rename = "statements", deserialize_with = "lenient::or_default")]
    _statements: BoundedList<'a, MAX_STATEMENTS>,
    /// Reserved: the Merkle root of the statements that the sender holds.
    #[serde(default, rename = "statements_root", deserialize_with = "lenient::option")]
    _statements_root: Option<Base64Bytes<32>>,
}

impl<'a> WireMessage<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let parsed = serde_json::from_slice::<Self>(body);
        let version = match &parsed {
            Ok(message) => Some(message.v),
            Err(_) => serde_json::from_slice(body).ok().map(|Version { v }| v),
        };
        if version.is_some_and(|v| v != PROTOCOL_VERSION) {
            return Err(MessageError::OtherProtocol);
        }
        parsed.map_err(|error| MessageError::Malformed(error.to_string()))
    }
}

/// A list, of which the first `MAX` envelopes are kept. Without a bound, a list of a million empty values would waste
/// memory.
#[derive(Default)]
struct BoundedList<'a, const MAX: usize>(Vec<&'a RawValue>);

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for BoundedList<'a, MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<const MAX: usize>;
        impl<'de, const MAX: usize> Visitor<'de> for ListVisitor<MAX> {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of envelopes")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while list.len() < MAX {
                    let Some(envelope) = seq.next_element()? else { return Ok(list) };
                    list.push(envelope);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(list)
            }
        }
        deserializer.deserialize_seq(ListVisitor::<MAX>).map(Self)
    }
}

fn read_heads(raw: &RawValue, membership: &Arc<Membership>, partial: bool) -> Result<Heads, MessageError> {
    let malformed = |error| MessageError::Malformed(format!("heads: {error}"));
    Heads::parse(raw.get(), membership, partial).map_err(malformed)
}

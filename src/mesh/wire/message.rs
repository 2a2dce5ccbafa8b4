//! The bodies of exchanges: the heads of the reports that their sender holds, and reports and proofs that the receiver
//! lacks.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::Visitor;
use serde_json::value::RawValue;

use super::heads::Heads;
use crate::mesh::id::MAX_INTEGER;
use crate::mesh::membership::Membership;

/// The maximum size of the reports in a message that this node sends, in bytes; the same again for the proofs.
pub const FILL_BYTES: usize = 256 * 1024;

/// The maximum number of reports or proofs that a received message may contain. Senders reach [`FILL_BYTES`] first.
pub const MAX_REPORTS: usize = 4096;

/// The maximum size of a received message, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The maximum number of proofs of equivocation that a message carries; a receiver ignores further ones.
pub const MAX_PROOFS: usize = 8;

/// The body of a request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The node that it is addressed to.
    pub to: String,
    /// The heads of the sender.
    pub heads: Heads,
    /// The mark of the last reply that the sender received: the message names only the heads that changed since then.
    pub since: Option<u64>,
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

/// Why a body is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message: {0}")]
pub struct MalformedMessage(String);

impl<'a> Request<'a> {
    /// Parses the body of a request. Ids that the membership lacks are ignored.
    pub fn parse(body: &'a [u8], membership: &Arc<Membership>) -> Result<Self, MalformedMessage> {
        let raw: WireMessage<'a> =
            serde_json::from_slice(body).map_err(|e| MalformedMessage(e.to_string()))?;
        let to = raw.to.ok_or_else(|| MalformedMessage("missing field `to`".to_owned()))?;
        let heads = read_heads(raw.heads, membership, raw.since.is_some())?;
        Ok(Self { to: to.into_owned(), heads, since: raw.since, reports: raw.reports, proofs: raw.proofs })
    }
}

impl<'a> Reply<'a> {
    /// Parses the body of a reply. Ids that the membership lacks are ignored.
    pub fn parse(body: &'a [u8], membership: &Arc<Membership>) -> Result<Self, MalformedMessage> {
        let raw: WireMessage<'a> =
            serde_json::from_slice(body).map_err(|e| MalformedMessage(e.to_string()))?;
        let missing = |name: &str| MalformedMessage(format!("missing field `{name}`"));
        let now_ms = raw.now.ok_or_else(|| missing("now"))?;
        if now_ms > MAX_INTEGER {
            return Err(MalformedMessage("integer larger than 2^53 - 1".to_owned()));
        }
        let heads = read_heads(raw.heads, membership, raw.partial)?;
        Ok(Self {
            from: raw.from.ok_or_else(|| missing("from"))?.into_owned(),
            now_ms,
            took_us: raw.took_us.ok_or_else(|| missing("took_us"))?,
            heads,
            mark: raw.mark,
            reports: raw.reports,
            proofs: raw.proofs,
        })
    }
}

/// The members of both kinds of body.
#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    to: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    from: Option<std::borrow::Cow<'a, str>>,
    now: Option<u64>,
    took_us: Option<u32>,
    since: Option<u64>,
    mark: Option<u64>,
    #[serde(default)]
    partial: bool,
    #[serde(borrow)]
    heads: &'a RawValue,
    #[serde(borrow, deserialize_with = "read_bounded_list")]
    reports: Vec<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "read_bounded_list")]
    proofs: Vec<&'a RawValue>,
}

/// Reads a list of at most [`MAX_REPORTS`] envelopes. Without a bound, a list of a million empty values would waste
/// memory.
fn read_bounded_list<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<&'de RawValue>, D::Error> {
    struct BoundedList;
    impl<'de> Visitor<'de> for BoundedList {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_REPORTS} envelopes")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(envelope) = seq.next_element()? {
                if list.len() == MAX_REPORTS {
                    return Err(serde::de::Error::invalid_length(list.len() + 1, &self));
                }
                list.push(envelope);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(BoundedList)
}

fn read_heads(
    raw: &RawValue,
    membership: &Arc<Membership>,
    partial: bool,
) -> Result<Heads, MalformedMessage> {
    Heads::parse(raw.get(), membership, partial).map_err(|e| MalformedMessage(format!("heads: {e}")))
}

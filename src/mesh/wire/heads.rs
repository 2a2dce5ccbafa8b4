//! Heads: for each member, the id of the newest report that the sender of a message has. Without changes in the network,
//! they are most of the traffic.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::mesh::id::{MAX_INTEGER, ReportId};
use crate::mesh::membership::Membership;

/// The newest report of one node that the sender holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The report's id; (0, 0) if the sender holds only a proof.
    pub id: ReportId,
    /// The first 8 bytes of SHA-256 of the report's payload.
    pub hash: [u8; 8],
    /// The report's age at the sender when the message was written, in ms.
    pub age_ms: u64,
    /// Whether the sender holds a proof that the node equivocated.
    pub equivocated: bool,
}

/// The heads of a sender, by index into the membership that they were parsed with.
#[derive(Debug, Clone)]
pub struct Heads {
    membership: Arc<Membership>,
    /// The heads in the message itself, in ascending order. Only these have a current age.
    named: Vec<(usize, Head)>,
    /// The heads of all members, including those of earlier messages; empty if those are not known.
    all: Arc<Vec<Option<Head>>>,
    /// Whether the message omits heads that have not changed.
    partial: bool,
}

impl Heads {
    /// Creates an empty set of heads.
    pub fn empty(membership: Arc<Membership>) -> Self {
        Self { membership, named: Vec::new(), all: Arc::default(), partial: false }
    }

    /// Whether the message omits heads that have not changed.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// The membership that these heads were parsed with.
    pub(in crate::mesh) fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// Completes these heads with those of earlier messages in `known`, and adds these to `known`.
    #[must_use]
    pub(in crate::mesh) fn merged_into(mut self, known: &mut Self) -> Self {
        let all = Arc::make_mut(&mut known.all);
        for (index, head) in &self.named {
            all[*index] = Some(*head);
        }
        self.all = known.all.clone();
        self.partial = false;
        self
    }

    /// The same heads without their ages, to complete later messages.
    #[must_use]
    pub(in crate::mesh) fn without_ages(&self) -> Self {
        Self { named: Vec::new(), ..self.clone() }
    }

    /// The head of the member with this index in `membership`, with its age when it was named. `membership` may differ
    /// from the one these heads were parsed with, since the configuration may have changed in between.
    pub fn get(&self, membership: &Arc<Membership>, index: usize) -> Option<&Head> {
        let index = self.index_in(membership, index)?;
        if self.all.is_empty() {
            return self.find(index);
        }
        self.all.get(index)?.as_ref()
    }

    /// The age of `report`, a report of that member in the same message, in ms: the age in its head or in that of a newer
    /// report, [`MAX_INTEGER`] if the message omits the head, so that the age is unknown, and 0 if no head names the
    /// report or a newer one.
    pub(in crate::mesh) fn age_ms(
        &self,
        membership: &Arc<Membership>,
        index: usize,
        report: ReportId,
    ) -> u64 {
        let head = self.index_in(membership, index).and_then(|index| self.find(index));
        match head.filter(|head| head.id >= report) {
            Some(head) => head.age_ms,
            None if self.partial => MAX_INTEGER,
            None => match self.get(membership, index) {
                Some(known) if known.id >= report => MAX_INTEGER,
                _ => 0,
            },
        }
    }

    /// The heads in the message itself, by index into the membership that they were parsed with.
    pub(in crate::mesh) fn named(&self) -> &[(usize, Head)] {
        &self.named
    }

    fn find(&self, index: usize) -> Option<&Head> {
        let at = self.named.binary_search_by_key(&index, |(named, _)| *named).ok()?;
        Some(&self.named[at].1)
    }

    fn index_in(&self, membership: &Arc<Membership>, index: usize) -> Option<usize> {
        if self.matches(membership) {
            Some(index)
        } else {
            self.membership.index(membership.members().get(index)?.id.as_str())
        }
    }

    /// Whether these heads include the member with this index in `membership`.
    pub fn knows(&self, membership: &Arc<Membership>, index: usize) -> bool {
        self.get(membership, index).is_some()
    }

    /// Parses the JSON object of heads in a message. Ids that the membership lacks are ignored.
    pub(in crate::mesh) fn parse(
        json: &str,
        membership: &Arc<Membership>,
        partial: bool,
    ) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let mut named = NamedSeed(membership).deserialize(&mut reader)?;
        // If an id occurs twice, the last head counts.
        named.sort_by_key(|(index, _)| *index);
        named.dedup_by(|next, previous| {
            let same = next.0 == previous.0;
            if same {
                *previous = *next;
            }
            same
        });
        let mut heads = Self { membership: membership.clone(), named, all: Arc::default(), partial };
        if !partial {
            let mut all = vec![None; membership.members().len()];
            for (index, head) in &heads.named {
                all[*index] = Some(*head);
            }
            heads.all = Arc::new(all);
        }
        Ok(heads)
    }

    /// Whether these heads were parsed with `membership`.
    pub fn matches(&self, membership: &Arc<Membership>) -> bool {
        Arc::ptr_eq(&self.membership, membership)
    }
}

/// The flags in the fifth element of a head; 0 if it is missing, or no integer below 2^32.
fn read_flags(element: Option<&RawValue>) -> u32 {
    element.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(0)
}

struct NamedSeed<'r>(&'r Arc<Membership>);

impl<'de> DeserializeSeed<'de> for NamedSeed<'_> {
    type Value = Vec<(usize, Head)>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for NamedSeed<'_> {
    type Value = Vec<(usize, Head)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of heads")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut named = Vec::new();
        while let Some(id) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.0.index(&id) {
                Some(index) => named.push((index, map.next_value::<WireHead<'de>>()?.into_head()?)),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(named)
    }
}

/// The size of a head without its node id, in bytes, for plausible numbers:
/// `"":[1763884800123,1234567890,"AAAAAAAAAAA=",1234567890,1],`.
const HEAD_BYTES: usize = 60;

/// The size of the heads of nodes whose ids have these lengths, in bytes.
pub fn heads_bytes(id_lengths: impl Iterator<Item = usize>) -> usize {
    id_lengths.map(|length| length + HEAD_BYTES).sum()
}

/// The flag of a head whose sender holds a proof that the node equivocated.
pub(in crate::mesh) const EQUIVOCATED: u32 = 1;

/// A head in JSON: `[epoch, seq, "hash", age_ms]`, with flags as a fifth element unless they are 0. Unknown flags and
/// further elements are ignored.
struct WireHead<'a> {
    epoch: u64,
    seq: u64,
    hash: std::borrow::Cow<'a, str>,
    age_ms: u64,
    equivocated: bool,
}

impl WireHead<'_> {
    fn into_head<E: serde::de::Error>(self) -> Result<Head, E> {
        if [self.epoch, self.seq, self.age_ms].into_iter().any(|n| n > MAX_INTEGER) {
            return Err(E::custom("integer larger than 2^53 - 1"));
        }
        let mut hash = [0; 8];
        match STANDARD.decode_slice(self.hash.as_bytes(), &mut hash) {
            Ok(8) => {}
            _ => return Err(E::custom("expected the base64 of 8 bytes")),
        }
        let report_id = ReportId { epoch: self.epoch, seq: self.seq };
        Ok(Head { id: report_id, hash, age_ms: self.age_ms, equivocated: self.equivocated })
    }
}

impl<'de> Deserialize<'de> for WireHead<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = WireHead<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[epoch, seq, hash, age_ms]")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let short = || serde::de::Error::custom("expected [epoch, seq, hash, age_ms]");
                let head = WireHead {
                    epoch: seq.next_element()?.ok_or_else(short)?,
                    seq: seq.next_element()?.ok_or_else(short)?,
                    hash: seq.next_element()?.ok_or_else(short)?,
                    age_ms: seq.next_element()?.ok_or_else(short)?,
                    equivocated: read_flags(seq.next_element()?) & EQUIVOCATED != 0,
                };
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(head)
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

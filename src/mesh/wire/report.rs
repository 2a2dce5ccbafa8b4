//! A node's signed statement of all its observations, and the only ways to get a verified one.

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::observation::Observation;
use crate::crypto::PublicKey;
use crate::crypto::dsse::{self, DsseError};
use crate::mesh::id::{MAX_INTEGER, NetworkId, NodeId, ReportId};
use crate::mesh::membership::Membership;

/// The longest `version` and `config` taken from a report, in characters.
const MAX_TEXT: usize = 32;

/// SHA-256 of a payload.
pub type Digest = [u8; 32];

/// The payload of a report (media type `application/vnd.distomon.report.v1+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The network it belongs to.
    pub network_id: NetworkId,
    /// Who observed and signed.
    pub node_id: NodeId,
    /// The start of the node that it comes from.
    pub epoch: u64,
    /// Its number since that start.
    pub seq: u64,
    /// SHA-256 of the node's previous payload; none for the first of an epoch.
    #[serde(with = "digest_base64")]
    pub prev: Option<Digest>,
    /// When it was made, by its author's wall clock: Unix time in ms. Shown, never trusted.
    #[serde(rename = "at")]
    pub at_ms: u64,
    /// How often its author means to report, in ms. Shown, never trusted.
    pub interval_ms: u64,
    /// The author's version.
    pub version: String,
    /// [`Membership::digest`] of the author's configuration.
    pub config: String,
    /// The author sees more than half of the others offline and doubts itself.
    pub isolated: bool,
    /// The author is being stopped on purpose; its last report.
    pub leaving: bool,
    /// What it found of each peer, in the order of their ids.
    #[serde(serialize_with = "write_observations", deserialize_with = "read_observations")]
    pub observations: Vec<(NodeId, Observation)>,
}

impl Report {
    /// Its place among its author's reports.
    pub fn id(&self) -> ReportId {
        ReportId { epoch: self.epoch, seq: self.seq }
    }

    /// What it says of `peer`.
    pub fn observation(&self, peer: &str) -> Option<&Observation> {
        let at = self.observations.binary_search_by(|(id, _)| id.as_str().cmp(peer)).ok()?;
        Some(&self.observations[at].1)
    }

    /// The bytes that are signed.
    pub fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a report has only plain members")
    }
}

/// Why a report was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Not a DSSE envelope of ours with a payload of ours.
    #[error("not a report")]
    Malformed,
    /// Larger than a report may be.
    #[error("larger than a report may be")]
    TooLarge,
    /// Of another network.
    #[error("a report of another network")]
    OtherNetwork,
    /// Its author is not in the configuration, or has no key there.
    #[error("its author is not in the configuration")]
    UnknownAuthor,
    /// The envelope's `keyid` is not the payload's `node_id`.
    #[error("signed by another than its author")]
    OtherSigner,
    /// The signature does not verify.
    #[error("its signature does not verify")]
    BadSignature,
}

/// A report whose form, network and author fit, but whose signature nobody checked yet.
pub struct UnverifiedReport {
    report: Report,
    envelope: dsse::Envelope,
    json: Arc<str>,
    author: usize,
    digest: Digest,
}

impl UnverifiedReport {
    /// Reads one DSSE envelope. Cheap beside [`UnverifiedReport::verify`].
    pub fn parse(json: &str, membership: &Membership) -> Result<Self, ReportError> {
        let envelope = dsse::Envelope::parse(json).map_err(|error| match error {
            DsseError::TooLarge => ReportError::TooLarge,
            _ => ReportError::Malformed,
        })?;
        let mut report: Report =
            serde_json::from_slice(&envelope.payload).map_err(|_| ReportError::Malformed)?;
        if report.network_id != *membership.network_id() {
            return Err(ReportError::OtherNetwork);
        }
        if envelope.keyid != report.node_id.as_str() {
            return Err(ReportError::OtherSigner);
        }
        let author = membership.index(report.node_id.as_str()).ok_or(ReportError::UnknownAuthor)?;
        if membership.members()[author].keys.is_empty() {
            return Err(ReportError::UnknownAuthor);
        }
        check(&report)?;
        intern(&mut report, membership);
        let digest = Sha256::digest(&envelope.payload).into();
        Ok(Self { report, envelope, json: json.into(), author, digest })
    }

    /// The author's index in the membership.
    pub fn author(&self) -> usize {
        self.author
    }

    /// Its claimed place among its author's reports.
    pub fn id(&self) -> ReportId {
        self.report.id()
    }

    /// SHA-256 of its payload.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Checks the signature with the author's keys.
    pub fn verify(self, membership: &Membership) -> Result<VerifiedReport, ReportError> {
        let keys = &membership.members()[self.author].keys;
        let key = keys.iter().find(|key| self.envelope.verify(key)).ok_or(ReportError::BadSignature)?;
        Ok(VerifiedReport { report: self.report, digest: self.digest, key: key.clone(), json: self.json })
    }
}

/// Bounds of what a payload may say.
fn check(report: &Report) -> Result<(), ReportError> {
    let texts_fit = [&report.version, &report.config].into_iter().all(|text| text.len() <= MAX_TEXT)
        && report.version.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
        && report.config.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    let numbers_fit = [report.epoch, report.seq].into_iter().all(|n| (1..=MAX_INTEGER).contains(&n))
        && report.at_ms <= MAX_INTEGER
        && report.interval_ms <= MAX_INTEGER;
    if texts_fit && numbers_fit { Ok(()) } else { Err(ReportError::Malformed) }
}

/// Drops observations of nodes that the membership lacks and shares the membership's copies of the ids.
fn intern(report: &mut Report, membership: &Membership) {
    report.node_id = match membership.member(report.node_id.as_str()) {
        Some(member) => member.id.clone(),
        None => return,
    };
    report.network_id = membership.network_id().clone();
    report.observations.retain_mut(|(id, _)| match membership.member(id.as_str()) {
        Some(member) => {
            *id = member.id.clone();
            true
        }
        None => false,
    });
}

/// A report whose author's signature was checked, with the bytes that prove it.
#[derive(Clone)]
pub struct VerifiedReport {
    report: Report,
    digest: Digest,
    key: PublicKey,
    json: Arc<str>,
}

impl VerifiedReport {
    /// A report of this node's own, just sealed: `envelope` is the DSSE JSON over `payload`, which is
    /// `report`'s, signed by `key`.
    pub fn own(report: Report, payload: &[u8], envelope: String, key: PublicKey) -> Self {
        let digest = Sha256::digest(payload).into();
        Self { report, digest, key, json: envelope.into() }
    }

    /// The statement itself.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Its place among its author's reports.
    pub fn id(&self) -> ReportId {
        self.report.id()
    }

    /// Who signed it.
    pub fn author(&self) -> &NodeId {
        &self.report.node_id
    }

    /// SHA-256 of its payload.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The first 8 bytes of [`VerifiedReport::digest`], as heads carry them.
    pub fn short_digest(&self) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&self.digest[..8]);
        short
    }

    /// The key that the signature verified with.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The DSSE envelope as it came, to be relayed unchanged.
    pub fn envelope(&self) -> &Arc<str> {
        &self.json
    }
}

impl fmt::Debug for VerifiedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.report.node_id, self.id())
    }
}

fn write_observations<S: Serializer>(
    observations: &[(NodeId, Observation)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(observations.len()))?;
    for (id, observation) in observations {
        map.serialize_entry(id, observation)?;
    }
    map.end()
}

fn read_observations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(NodeId, Observation)>, D::Error> {
    struct Observations;
    impl<'de> Visitor<'de> for Observations {
        type Value = Vec<(NodeId, Observation)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of observations")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(entry) = map.next_entry::<NodeId, Observation>()? {
                list.push(entry);
            }
            list.sort_by(|a, b| a.0.cmp(&b.0));
            if list.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(serde::de::Error::custom("a node stands there twice"));
            }
            Ok(list)
        }
    }
    deserializer.deserialize_map(Observations)
}

mod digest_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Digest;

    #[expect(clippy::ref_option, reason = "serde's `with` hands over a reference to the member")]
    pub(in crate::mesh) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match digest {
            Some(bytes) => serializer.serialize_some(&STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::mesh) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Digest>, D::Error> {
        let Some(text) = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let bytes = STANDARD.decode(text.as_ref()).map_err(serde::de::Error::custom)?;
        let digest = bytes.try_into().map_err(|_| serde::de::Error::custom("expected 32 bytes"))?;
        Ok(Some(digest))
    }
}

#[cfg(test)]
mod tests;

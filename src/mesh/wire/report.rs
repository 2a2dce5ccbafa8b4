//! Reports: the signed observations of a node. Only verification or signing creates a [`VerifiedReport`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::leave::LeaveNotice;
use super::observation::{Observation, ReceivedObservation};
use super::prior_run::PriorRun;
use super::report_size::max_payload_bytes;
use super::reserved::{LogHead, ReceiverHashes, ReservedJson};
use super::{Base64Bytes, PROTOCOL_VERSION, canonical_report, lenient};
use crate::crypto::dsse::{self, DsseError};
use crate::crypto::{Keypair, PublicKey};
use crate::mesh::id::{MAX_INTEGER, NetworkId, NodeId, ReportId};
use crate::mesh::membership::Membership;

/// The media type of a report in its envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.distomon.report.v2+json";

/// The maximum size of any payload, in bytes. Each author has its own maximum, which may be lower:
/// [`max_payload_bytes`].
pub const MAX_PAYLOAD: usize = dsse::MAX_PAYLOAD;

/// The maximum length of `version`, in characters.
const MAX_VERSION: usize = 32;

/// The maximum length of `config`, in characters.
const MAX_CONFIG: usize = 44;

/// The maximum size of `incidents`, in bytes.
pub(super) const MAX_INCIDENTS: usize = 1_536;

/// The maximum size of `marks`, in bytes.
pub(super) const MAX_MARKS: usize = 3_584;

/// The maximum size of `checks`, in bytes.
pub(super) const MAX_CHECKS: usize = 256 * 60;

/// SHA-256 of a payload.
pub type Digest = [u8; 32];

/// The payload of a report. Of optional members, values of unknown types or ranges count as missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`PROTOCOL_VERSION`].
    #[serde(deserialize_with = "same_version")]
    pub v: u32,
    /// The author's network.
    pub network_id: NetworkId,
    /// The author: the node that observed and signed.
    pub node_id: NodeId,
    /// The epoch of the author's process, larger at each start.
    pub epoch: u64,
    /// The sequence number in the epoch.
    pub seq: u64,
    /// SHA-256 of the author's previous payload; none for the first of an epoch.
    #[serde(with = "digest_base64")]
    pub prev: Option<Digest>,
    /// When it was published, by its author's wall clock: Unix time in ms. For display, never trusted.
    #[serde(rename = "at")]
    pub at_ms: u64,
    /// The author's interval between reports, in ms. For display, never trusted.
    pub interval_ms: u64,
    /// The author's software version.
    pub version: String,
    /// [`Membership::digest`] of the author's configuration.
    pub config: String,
    /// Whether the author observes more than half of its peers offline, so that it may be cut off itself.
    pub isolated: bool,
    /// The announcement that the author stops: this is its last report.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub leaving: Option<LeaveNotice>,
    /// When the author's process began, by its wall clock: Unix time in ms.
    #[serde(
        rename = "began",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::integer"
    )]
    pub began_ms: Option<u64>,
    /// The time since then by the author's monotonic clock, in ms; it includes suspensions of the host.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub up_ms: Option<u64>,
    /// The first 8 bytes of a hash of the host's boot id: another value means that the host has rebooted.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub boot: Option<Base64Bytes<8>>,
    /// How the author's previous process ended.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub prior: Option<PriorRun>,
    /// [`merkle_root`](super::held::merkle_root) over the reports that the author held when it signed this one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub held: Option<Base64Bytes<32>>,
    /// Whether the author is overloaded: its threads are late.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub overloaded: Option<bool>,
    /// The greatest lateness of the author's threads since its previous report, in ms, if it is overloaded.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub lateness_ms: Option<u64>,
    /// Reserved: whether the author can write its state directory.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub state_writable: Option<bool>,
    /// Reserved: the digest of the author's checks, receivers, routes and maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub policy: Option<Base64Bytes<32>>,
    /// Reserved: the receivers that the author can send to.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub can_send: Option<ReceiverHashes>,
    /// Reserved: the incidents that the author lists.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub incidents: Option<ReservedJson<MAX_INCIDENTS>>,
    /// Reserved: the author's marks on deliveries of alerts.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub marks: Option<ReservedJson<MAX_MARKS>>,
    /// Reserved: the results of the author's checks of services.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub checks: Option<ReservedJson<MAX_CHECKS>>,
    /// Reserved: the version of the author's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub config_version: Option<u64>,
    /// Reserved: the log of the author's own reports.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient::option")]
    pub log: Option<LogHead>,
    /// The author's observations of its peers, in the order of their ids.
    #[serde(serialize_with = "write_observations", deserialize_with = "read_observations")]
    pub observations: Vec<(NodeId, Observation)>,
}

impl Report {
    /// A report without observations and optional members.
    pub fn new(network_id: NetworkId, node_id: NodeId, id: ReportId) -> Self {
        Self {
            v: PROTOCOL_VERSION,
            network_id,
            node_id,
            epoch: id.epoch,
            seq: id.seq,
            prev: None,
            at_ms: 0,
            interval_ms: 0,
            version: crate::VERSION.to_owned(),
            config: String::new(),
            isolated: false,
            leaving: None,
            began_ms: None,
            up_ms: None,
            boot: None,
            prior: None,
            held: None,
            overloaded: None,
            lateness_ms: None,
            state_writable: None,
            policy: None,
            can_send: None,
            incidents: None,
            marks: None,
            checks: None,
            config_version: None,
            log: None,
            observations: Vec::new(),
        }
    }

    /// The report's id.
    pub fn id(&self) -> ReportId {
        ReportId { epoch: self.epoch, seq: self.seq }
    }

    /// The observation of `peer`.
    pub fn observation(&self, peer: &str) -> Option<&Observation> {
        let at = self.observations.binary_search_by(|(id, _)| id.as_str().cmp(peer)).ok()?;
        Some(&self.observations[at].1)
    }

    /// The signed bytes.
    pub fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a report has only plain members")
    }
}

/// Why a report was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Not a DSSE envelope with the payload of a report.
    #[error("not a report")]
    Malformed,
    /// Signed by a release with another protocol version.
    #[error("from an incompatible release")]
    OtherProtocol,
    /// Larger than the maximum size of a report of its author.
    #[error("larger than the maximum size of a report of its author")]
    TooLarge,
    /// A report of another network.
    #[error("a report of another network")]
    OtherNetwork,
    /// The author is not a member, or has no key.
    #[error("its author is not configured, or has no public key")]
    UnknownAuthor,
    /// The envelope's `keyid` is not the payload's `node_id`.
    #[error("signed by another node than its author")]
    OtherSigner,
    /// The signature does not verify.
    #[error("its signature does not verify")]
    BadSignature,
}

/// A well-formed report of a member, whose signature has not been verified.
pub struct UnverifiedReport {
    report: Report,
    envelope: dsse::Envelope,
    json: Arc<str>,
    author: usize,
    digest: Digest,
}

impl UnverifiedReport {
    /// Parses a DSSE envelope. Cheap compared to [`UnverifiedReport::verify`].
    pub fn parse(json: &str, membership: &Membership) -> Result<Self, ReportError> {
        let envelope = dsse::Envelope::parse(json, PAYLOAD_TYPE).map_err(|error| match error {
            DsseError::TooLarge => ReportError::TooLarge,
            DsseError::PayloadType { .. } => ReportError::OtherProtocol,
            _ => ReportError::Malformed,
        })?;
        let signer = membership.index(&envelope.keyid);
        let observed = signer.map_or(0, |signer| membership.observed_count(signer));
        if envelope.payload.len() > max_payload_bytes(observed) {
            return Err(ReportError::TooLarge);
        }
        let mut report = read_payload(&envelope.payload, membership)?;
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
        check_bounds(&report)?;
        report.network_id = membership.network_id().clone();
        report.node_id = membership.members()[author].id.clone();
        let digest = Sha256::digest(&envelope.payload).into();
        Ok(Self { report, envelope, json: json.into(), author, digest })
    }

    /// The author's index in the membership.
    pub fn author(&self) -> usize {
        self.author
    }

    /// The report's id, as claimed.
    pub fn id(&self) -> ReportId {
        self.report.id()
    }

    /// SHA-256 of the payload.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The signature, unverified.
    pub fn signature(&self) -> &[u8; 64] {
        self.envelope.signature()
    }

    /// Verifies the signature with the author's keys.
    pub fn verify(self, membership: &Membership) -> Result<VerifiedReport, ReportError> {
        let keys = &membership.members()[self.author].keys;
        let key = keys.iter().find(|key| self.envelope.verify(key)).ok_or(ReportError::BadSignature)?;
        Ok(VerifiedReport { report: self.report, digest: self.digest, key: key.clone(), json: self.json })
    }
}

/// Reads a payload. Observations of nodes that the membership lacks are dropped, and the ids of the others are the
/// membership's copies.
fn read_payload(payload: &[u8], membership: &Membership) -> Result<Report, ReportError> {
    if let Some(report) = canonical_report::read(payload, membership) {
        return Ok(report);
    }
    let mut report: Report = serde_json::from_slice(payload).map_err(|_| unreadable(payload))?;
    intern_observations(&mut report, membership);
    Ok(report)
}

/// Why a payload is not a [`Report`].
fn unreadable(payload: &[u8]) -> ReportError {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    match serde_json::from_slice::<Version>(payload) {
        Ok(Version { v }) if v != PROTOCOL_VERSION => ReportError::OtherProtocol,
        _ => ReportError::Malformed,
    }
}

fn same_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        PROTOCOL_VERSION => Ok(PROTOCOL_VERSION),
        other => Err(serde::de::Error::custom(format!("protocol version {other}"))),
    }
}

/// Checks the bounds of the payload's texts and numbers.
fn check_bounds(report: &Report) -> Result<(), ReportError> {
    let texts_fit = report.version.len() <= MAX_VERSION
        && report.config.len() <= MAX_CONFIG
        && report.version.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
        && report.config.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    let numbers_fit = [report.epoch, report.seq].into_iter().all(|n| (1..=MAX_INTEGER).contains(&n))
        && report.at_ms <= MAX_INTEGER
        && report.interval_ms <= MAX_INTEGER;
    if texts_fit && numbers_fit { Ok(()) } else { Err(ReportError::Malformed) }
}

/// Drops observations of nodes that the membership lacks, and shares the membership's copies of the ids.
fn intern_observations(report: &mut Report, membership: &Membership) {
    report.observations.retain_mut(|(id, _)| match membership.member(id.as_str()) {
        Some(member) => {
            *id = member.id.clone();
            true
        }
        None => false,
    });
}

/// A report with a verified signature, and the envelope that proves it.
#[derive(Clone)]
pub struct VerifiedReport {
    report: Report,
    digest: Digest,
    key: PublicKey,
    json: Arc<str>,
}

impl VerifiedReport {
    /// Signs `report` with `key`, which must be its author's. Ed25519 is deterministic (RFC 8032), so this adds no
    /// randomness.
    pub fn sign(report: Report, key: &Keypair) -> Self {
        let payload = report.to_payload();
        let envelope = dsse::seal(key, report.node_id.as_str(), PAYLOAD_TYPE, &payload);
        Self::own(report, &payload, envelope, key.public().clone())
    }

    /// Creates a report that was just signed with `key`: `envelope` is the DSSE JSON over `payload`, the payload of
    /// `report`.
    pub fn own(report: Report, payload: &[u8], envelope: String, key: PublicKey) -> Self {
        let digest = Sha256::digest(payload).into();
        Self { report, digest, key, json: envelope.into() }
    }

    /// The content of the report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The report's id.
    pub fn id(&self) -> ReportId {
        self.report.id()
    }

    /// The author.
    pub fn author(&self) -> &NodeId {
        &self.report.node_id
    }

    /// SHA-256 of the payload.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The first 8 bytes of [`VerifiedReport::digest`], as heads carry them.
    pub fn short_digest(&self) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&self.digest[..8]);
        short
    }

    /// The author's key that verified the signature.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The DSSE envelope as received, to be relayed unchanged.
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
            while let Some((id, observation)) = map.next_entry::<Cow<'de, str>, ReceivedObservation>()? {
                // An observation that this release cannot read is skipped alone.
                if let (Ok(id), Some(observation)) = (id.parse::<NodeId>(), observation.0) {
                    list.push((id, observation));
                }
            }
            list.sort_by(|a, b| a.0.cmp(&b.0));
            if list.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(serde::de::Error::custom("a node occurs twice"));
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

    #[expect(clippy::ref_option, reason = "serde's `with` passes a reference to the member")]
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

//! The digest of a network's configuration, by which nodes notice that they have different ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::id::NetworkId;
use super::member::Member;
use super::rings::ObserverPolicy;
use crate::crypto::PublicKey;

/// The base64 (44 characters) of SHA-256 over the canonical JSON (RFC 8785) of everything in the configuration that
/// verdicts depend on:
///
/// ```json
/// {"network_id":"net",
///  "nodes":[{"has_url":true,"keys":["MCowBQYDK2VwAyEA…"],"node_id":"a","poll_rate_ms":10000,"retry":2,
///            "site":"fra","timeout_ms":5000}],
///  "rings":10}
/// ```
///
/// Nodes are in the order of their ids, the keys of a node (base64 of SubjectPublicKeyInfo) in ascending order. A node
/// without site has no `site`; without `rings`, all nodes observe all. A later release that adds a member omits it, too,
/// where the configuration does not set it, so that both releases have the same digest of an unchanged configuration. `members` must be in the order of their ids.
pub fn config_digest(network_id: &NetworkId, members: &[Member], observers: ObserverPolicy) -> String {
    let rings = match observers {
        ObserverPolicy::All => None,
        ObserverPolicy::Rings(rings) => Some(rings),
    };
    let nodes = members.iter().map(CanonicalNode::of).collect();
    let canonical = CanonicalConfig { network_id: network_id.as_str(), nodes, rings };
    let json = serde_json::to_vec(&canonical).expect("a tree of plain values");
    STANDARD.encode(Sha256::digest(json))
}

/// The canonical form. RFC 8785 sorts members by name, as the fields below are; it leaves texts of ASCII without quotes,
/// and integers up to 2^53, as `serde_json` writes them.
#[derive(Serialize)]
struct CanonicalConfig<'m> {
    network_id: &'m str,
    nodes: Vec<CanonicalNode<'m>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rings: Option<u32>,
}

#[derive(Serialize)]
struct CanonicalNode<'m> {
    has_url: bool,
    keys: Vec<String>,
    node_id: &'m str,
    poll_rate_ms: u64,
    retry: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'m str>,
    timeout_ms: u64,
}

impl<'m> CanonicalNode<'m> {
    fn of(member: &'m Member) -> Self {
        let mut keys: Vec<String> = member.keys.iter().map(PublicKey::to_base64_spki).collect();
        keys.sort_unstable();
        Self {
            has_url: member.url.is_some(),
            keys,
            node_id: member.id.as_str(),
            poll_rate_ms: member.poll_rate_ms,
            retry: member.retry,
            site: member.site.as_ref().map(super::id::Site::as_str),
            timeout_ms: member.timeout_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample;

    #[test]
    fn digest_covers_everything_that_verdicts_depend_on_and_nothing_else() {
        let members = sample::members(3);
        let digest = |members: &[Member]| config_digest(&sample::network_id(), members, ObserverPolicy::All);
        let original = digest(&members);
        assert_eq!(original.len(), 44);
        let changed = |change: &dyn Fn(&mut Member)| {
            let mut members = members.clone();
            change(&mut members[1]);
            digest(&members)
        };
        for (what, digest) in [
            ("id", changed(&|member| member.id = sample::node_id(7))),
            ("keys", changed(&|member| member.keys = vec![sample::keypair(7).public().clone()])),
            ("url", changed(&|member| member.url = None)),
            ("poll_rate", changed(&|member| member.poll_rate_ms += 1)),
            ("retry", changed(&|member| member.retry += 1)),
            ("timeout", changed(&|member| member.timeout_ms += 1)),
            ("site", changed(&|member| member.site = Some("fra".parse().expect("a name")))),
        ] {
            assert_ne!(digest, original, "{what}");
        }
        assert_eq!(
            changed(&|member| member.url = Some("http://elsewhere".to_owned())),
            original,
            "another url"
        );
        let other_network = "other".parse().expect("a name");
        assert_ne!(config_digest(&other_network, &members, ObserverPolicy::All), original);
        let rings = |rings| config_digest(&sample::network_id(), &members, ObserverPolicy::Rings(rings));
        assert_ne!(rings(1), original);
        assert_ne!(rings(1), rings(2));
        let keys = |order: [u64; 2]| {
            let keys = order.map(|number| sample::keypair(number).public().clone()).to_vec();
            changed(&|member| member.keys.clone_from(&keys))
        };
        assert_eq!(keys([1, 7]), keys([7, 1]), "the order of keys does not matter");
    }
}

//! A member of a network.

use super::id::{NetworkId, NodeId, Site};
use crate::crypto::PublicKey;

/// A node of a network as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name, unique in the network.
    pub id: NodeId,
    /// The base URL at which peers call it, `http://` or `https://` without a trailing slash; none for a node that only
    /// calls others.
    pub url: Option<String>,
    /// The time between two probes of this node by the same peer, in ms.
    pub poll_rate_ms: u64,
    /// The number of retries after a failed probe before the node counts as offline.
    pub retry: u32,
    /// The time limit for a whole exchange, in ms.
    pub timeout_ms: u64,
    /// The public keys: none (the node takes no part yet), one, or two during a key rotation.
    pub keys: Vec<PublicKey>,
    /// The group of nodes that can fail together with it.
    pub site: Option<Site>,
}

impl Member {
    /// The path of exchanges with this node, as clients see it: the path of the url, then `/mon/{network_id}`.
    pub fn exchange_path(&self, network_id: &NetworkId) -> String {
        let prefix = self.url.as_deref().map_or("", url_path);
        format!("{prefix}/mon/{network_id}")
    }
}

/// The path of an `http://` or `https://` url, without a trailing slash.
fn url_path(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| after_scheme[at..].trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_paths_have_no_trailing_slash() {
        for (url, path) in [
            ("http://h:8000", ""),
            ("http://h:8000/", ""),
            ("https://h/prefix", "/prefix"),
            ("https://h/a/b/", "/a/b"),
        ] {
            assert_eq!(url_path(url), path, "{url}");
        }
    }
}

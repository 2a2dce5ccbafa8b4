//! A member of a network: one node as configured.

use super::id::{NetworkId, NodeId, Site};
use crate::crypto::PublicKey;

/// A node as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name, unique in the network.
    pub id: NodeId,
    /// The base URL for its peers, `http://` or `https://` without a trailing slash; none for a node that only calls
    /// others.
    pub url: Option<String>,
    /// Time between probes of this node, in ms.
    pub poll_rate_ms: u64,
    /// The number of retries after a failed probe before the node counts as offline.
    pub retry: u32,
    /// Time limit for a whole exchange, in ms.
    pub timeout_ms: u64,
    /// The public keys: none (the node takes no part yet), one, or two during a key rotation.
    pub keys: Vec<PublicKey>,
    /// The group of nodes that it can fail together with.
    pub site: Option<Site>,
}

impl Member {
    /// The path of exchanges with this node, as its clients see it: the path of the url and `/mon/{network_id}`.
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

//! One node of a network as configured.

use super::id::{NetworkId, NodeId, Site};
use crate::crypto::PublicKey;

/// One node of the network, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, unique in the network.
    pub id: NodeId,
    /// Where its peers reach it: `http://` or `https://`, without a trailing slash. None: it only calls out.
    pub url: Option<String>,
    /// Time between probes of this node, in ms.
    pub poll_rate_ms: u64,
    /// How many failures in a row are tried again before the node counts as offline.
    pub retry: u32,
    /// Time for one whole exchange, in ms.
    pub timeout_ms: u64,
    /// The keys that may sign for it: none (takes no part yet), one, or two while one is rotated.
    pub keys: Vec<PublicKey>,
    /// What it shares a fate with: a data centre, a rack, a provider.
    pub site: Option<Site>,
}

impl Member {
    /// The path of this node's exchanges as the client sees it: the url's path and `/mon/{network_id}`.
    pub fn exchange_path(&self, network_id: &NetworkId) -> String {
        let prefix = self.url.as_deref().map_or("", url_path);
        format!("{prefix}/mon/{network_id}")
    }
}

/// The path of an absolute `http://` or `https://` url, without a trailing slash.
fn url_path(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| after_scheme[at..].trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_urls() {
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

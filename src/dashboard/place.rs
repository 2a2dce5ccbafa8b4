//! Where a page is: its path, and what it shows.

use crate::mesh::id::is_name;

/// A page of someone who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// All networks of this instance: `/`.
    Overview,
    /// A network: `/network/{network_id}`.
    Network(String),
    /// A node of it: `/network/{network_id}/node/{node_id}`.
    Node(String, String),
    /// Two nodes, and what each finds of the other: `/network/{network_id}/link/{node_id}/{node_id}`.
    Link(String, String, String),
    /// Something below `/network/` that is no such path.
    Nowhere,
}

impl Place {
    /// The place at `path`; none if that is no page.
    pub(super) fn at(path: &str) -> Option<Self> {
        if path == "/" {
            return Some(Self::Overview);
        }
        let parts: Vec<&str> = path.strip_prefix("/network/")?.split('/').collect();
        let own = |part: &str| part.to_owned();
        let named = parts.iter().all(|part| is_name(part));
        Some(match parts[..] {
            [network] if named => Self::Network(own(network)),
            [network, "node", node] if named => Self::Node(own(network), own(node)),
            [network, "link", one, other] if named && one != other => {
                Self::Link(own(network), own(one), own(other))
            }
            _ => Self::Nowhere,
        })
    }

    /// The network that it belongs to.
    pub(super) fn network(&self) -> Option<&str> {
        match self {
            Self::Overview | Self::Nowhere => None,
            Self::Network(network) | Self::Node(network, _) | Self::Link(network, _, _) => Some(network),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let own = str::to_owned;
        let check = |path: &str, expected: Option<Place>| assert_eq!(Place::at(path), expected, "{path}");
        check("/", Some(Place::Overview));
        check("/network/net-1", Some(Place::Network(own("net-1"))));
        check("/network/net-1/node/a", Some(Place::Node(own("net-1"), own("a"))));
        check("/network/n/link/a/b", Some(Place::Link(own("n"), own("a"), own("b"))));
        // A node may have the name of a part.
        check("/network/node/node/node", Some(Place::Node(own("node"), own("node"))));
        for bad in ["/network/", "/network/a/b", "/network/n/link/a/a", "/network/%00", "/network/n/node/a/"]
        {
            check(bad, Some(Place::Nowhere));
        }
        for other in ["", "/view", "/networks", "/network", "/login"] {
            check(other, None);
        }
    }
}

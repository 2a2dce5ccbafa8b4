//! The paths of the JSON interface. Pages have theirs in [`crate::dashboard::route`]; the path of exchanges between nodes
//! may have the prefix of a node's url and is recognized before the body is read, in [`super::routes`].

/// A path of the JSON interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiRoute<'p> {
    /// `/healthz`: whether the node works.
    Health,
    /// `/token`: exchanges the password for a token.
    Token,
    /// `/view`: the networks of the instance.
    Networks,
    /// `/view/{network_id}`: a snapshot.
    View(&'p str),
    /// `/explain/{network_id}/{node_id}`: a verdict with its votes.
    Explain(&'p str, &'p str),
    /// `/changes/{network_id}`: past changes of verdicts.
    Changes(&'p str),
    /// `/report/{network_id}/{node_id}`: a signed report.
    Report(&'p str, &'p str),
}

impl<'p> ApiRoute<'p> {
    /// Parses a percent-decoded path without its query. Returns `None` for a path that is not of this interface.
    pub(super) fn parse(path: &'p str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match segments[..] {
            ["healthz"] => Self::Health,
            ["token"] => Self::Token,
            ["view"] => Self::Networks,
            ["view", network] => Self::View(network),
            ["explain", network, node] => Self::Explain(network, node),
            ["changes", network] => Self::Changes(network),
            ["report", network, node] => Self::Report(network, node),
            _ => return None,
        })
    }

    /// Returns the value of the `Allow` field for this path.
    pub(super) fn allowed_methods(self) -> &'static str {
        match self {
            Self::Token => "POST",
            _ => "GET, HEAD",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_into_routes() {
        for (path, expected) in [
            ("/healthz", Some(ApiRoute::Health)),
            ("/token", Some(ApiRoute::Token)),
            ("/view", Some(ApiRoute::Networks)),
            ("/view/net", Some(ApiRoute::View("net"))),
            ("/explain/net/a", Some(ApiRoute::Explain("net", "a"))),
            ("/changes/net", Some(ApiRoute::Changes("net"))),
            ("/report/net/a", Some(ApiRoute::Report("net", "a"))),
            ("/view/net/a", None),
            ("/explain/net", None),
            ("/", None),
            ("view", None),
        ] {
            assert_eq!(ApiRoute::parse(path), expected, "{path}");
        }
    }
}

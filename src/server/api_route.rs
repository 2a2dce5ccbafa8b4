//! The paths of the JSON interface. Pages have theirs in [`crate::dashboard::route`]; the path of exchanges between nodes
//! may have the prefix of a node's url and is recognized before the body is read, in [`super::routes`].

use std::borrow::Cow;

use rouille::percent_encoding::percent_decode;

/// A path of the JSON interface, its names percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiRoute<'p> {
    /// `/healthz`: whether the node works.
    Health,
    /// `/token`: exchanges the password for a token.
    Token,
    /// `/view`: the networks of the instance.
    Networks,
    /// `/view/{network_id}`: a snapshot.
    View(Cow<'p, str>),
    /// `/explain/{network_id}/{node_id}`: a verdict with its votes.
    Explain(Cow<'p, str>, Cow<'p, str>),
    /// `/changes/{network_id}`: past changes of verdicts.
    Changes(Cow<'p, str>),
    /// `/report/{network_id}/{node_id}`: a signed report.
    Report(Cow<'p, str>, Cow<'p, str>),
}

impl<'p> ApiRoute<'p> {
    /// Parses a path without its query, as the request has it. Returns `None` for a path that is not of this interface.
    /// Only names are decoded, after the path is split: an encoded slash separates nothing, and a path rule of a proxy
    /// cannot be evaded by encoding a fixed word.
    pub(super) fn parse(path: &'p str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match segments[..] {
            ["healthz"] => Self::Health,
            ["token"] => Self::Token,
            ["view"] => Self::Networks,
            ["view", network] => Self::View(decode(network)),
            ["explain", network, node] => Self::Explain(decode(network), decode(node)),
            ["changes", network] => Self::Changes(decode(network)),
            ["report", network, node] => Self::Report(decode(network), decode(node)),
            _ => return None,
        })
    }

    /// Returns the value of the `Allow` field for this path.
    pub(super) fn allowed_methods(&self) -> &'static str {
        match self {
            Self::Token => "POST",
            _ => "GET, HEAD",
        }
    }
}

fn decode(name: &str) -> Cow<'_, str> {
    percent_decode(name.as_bytes()).decode_utf8_lossy()
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
            ("/view/net", Some(ApiRoute::View("net".into()))),
            ("/explain/net/a", Some(ApiRoute::Explain("net".into(), "a".into()))),
            ("/changes/net", Some(ApiRoute::Changes("net".into()))),
            ("/report/net/a", Some(ApiRoute::Report("net".into(), "a".into()))),
            ("/view/n%65t", Some(ApiRoute::View("net".into()))),
            ("/view/net%2fa", Some(ApiRoute::View("net/a".into()))),
            ("/%76iew", None),
            ("/view%2fnet", None),
            ("/view/net/a", None),
            ("/explain/net", None),
            ("/", None),
            ("view", None),
        ] {
            assert_eq!(ApiRoute::parse(path), expected, "{path}");
        }
    }
}

//! URLs of the dashboard: parsed from the path of a request, and written into links.

use std::fmt;

use crate::mesh::id::{NodeId, is_name};

/// Path below which a script requests the changes of a page: this prefix, then the path of the page.
pub const LIVE_PREFIX: &str = "/live";

/// A path that the dashboard serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'p> {
    /// `/login`: the login form.
    Login,
    /// `/logout`: ends the session.
    Logout,
    /// `/theme`: sets the colours.
    Theme,
    /// A page, or `None` for a path below `/network/` without one.
    Page(Option<PageRoute<'p>>),
    /// The changes of a page: [`LIVE_PREFIX`] and its path.
    Live(Option<PageRoute<'p>>),
}

/// The path of a page that requires a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRoute<'p> {
    /// `/`: all networks of this instance.
    Overview,
    /// `/network/{network_id}`: one network.
    Network(&'p str),
    /// `/network/{network_id}/node/{node_id}`: one node of it.
    Node(&'p str, &'p str),
    /// `/network/{network_id}/link/{node_id}/{node_id}`: two nodes and what each observes of the other.
    Link(&'p str, &'p str, &'p str),
}

impl<'p> Route<'p> {
    /// Parses a path without its query. Returns `None` for a path that the dashboard does not serve.
    pub fn parse(path: &'p str) -> Option<Self> {
        Some(match path {
            "/login" => Self::Login,
            "/logout" => Self::Logout,
            "/theme" => Self::Theme,
            _ => match path.strip_prefix(LIVE_PREFIX).and_then(PageRoute::parse) {
                Some(page) => Self::Live(page),
                None => Self::Page(PageRoute::parse(path)?),
            },
        })
    }

    /// Returns the value of the `Allow` field for this path.
    pub fn allowed_methods(self) -> &'static str {
        match self {
            Self::Login => "GET, HEAD, POST",
            Self::Logout | Self::Theme => "POST",
            Self::Page(_) | Self::Live(_) => "GET, HEAD",
        }
    }
}

impl<'p> PageRoute<'p> {
    /// Returns `None` outside the pages, and `Some(None)` for a path below `/network/` without a page.
    #[expect(
        clippy::option_option,
        reason = "the inner one is answered with 404 after the login, the outer one is not"
    )]
    fn parse(path: &'p str) -> Option<Option<Self>> {
        if path == "/" {
            return Some(Some(Self::Overview));
        }
        let segments: Vec<&str> = path.strip_prefix("/network/")?.split('/').collect();
        if !segments.iter().all(|segment| is_name(segment)) {
            return Some(None);
        }
        Some(match segments[..] {
            [network] => Some(Self::Network(network)),
            [network, "node", node] => Some(Self::Node(network, node)),
            [network, "link", from, to] if from != to => Some(Self::Link(network, from, to)),
            _ => None,
        })
    }

    /// Returns the network whose page this is, or `None` for the overview.
    pub(super) fn network(self) -> Option<&'p str> {
        match self {
            Self::Overview => None,
            Self::Network(network) | Self::Node(network, _) | Self::Link(network, _, _) => Some(network),
        }
    }

    /// Returns the relative path from this page to the root.
    pub(super) fn root(self) -> String {
        relative_root(&format!("/{self}"))
    }
}

/// Writes the path below the root, without the leading slash.
impl fmt::Display for PageRoute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overview => Ok(()),
            Self::Network(network) => write!(f, "network/{network}"),
            Self::Node(network, node) => write!(f, "network/{network}/node/{node}"),
            Self::Link(network, from, to) => write!(f, "network/{network}/link/{from}/{to}"),
        }
    }
}

/// Links from one page to the pages of a network. They are relative, so that a proxy may add a prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links<'a> {
    root: &'a str,
    network: &'a str,
}

impl<'a> Links<'a> {
    /// Creates the links of `network` from a page with this relative path to the root.
    pub(super) fn new(root: &'a str, network: &'a str) -> Self {
        Self { root, network }
    }

    /// Returns the link to the network's page.
    pub(super) fn network(&self) -> String {
        self.to(PageRoute::Network(self.network))
    }

    /// Returns the link to a node's page.
    pub(super) fn node(&self, id: &NodeId) -> String {
        self.to(PageRoute::Node(self.network, id.as_str()))
    }

    /// Returns the link to the explanation on a node's page: of the current verdict, or with `at_ms` (Unix time in
    /// ms) of the one at that time.
    pub(super) fn explanation(&self, id: &NodeId, at_ms: Option<u64>) -> String {
        let query = at_ms.map(|ms| format!("?at={ms}")).unwrap_or_default();
        format!("{}{query}#why", self.node(id))
    }

    /// Returns the link to the page of two nodes.
    pub(super) fn link(&self, from: &NodeId, to: &NodeId) -> String {
        self.to(PageRoute::Link(self.network, from.as_str(), to.as_str()))
    }

    /// Returns the link to a node's signed report.
    pub(super) fn report(&self, id: &NodeId) -> String {
        format!("{}report/{}/{id}", self.root, self.network)
    }

    fn to(&self, page: PageRoute<'_>) -> String {
        format!("{}{page}", self.root)
    }
}

/// Returns the relative path from an absolute path to the root, with a slash at its end.
pub fn relative_root(path: &str) -> String {
    match path.bytes().filter(|byte| *byte == b'/').count() {
        0 | 1 => "./".to_owned(),
        slashes => "../".repeat(slashes - 1),
    }
}

/// Returns the path below the root of the login page that continues at `next`, an absolute path with its query.
pub fn login_page_path(next: &str) -> String {
    let escape = |byte: u8| match byte {
        // These would end the value or be decoded.
        b'&' | b'=' | b'?' | b'+' | b'#' | b'%' => format!("%{byte:02X}"),
        other => char::from(other).to_string(),
    };
    format!("login?next={}", next.bytes().map(escape).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check =
            |path: &str, expected: Option<Route<'_>>| assert_eq!(Route::parse(path), expected, "{path}");
        for page in [
            PageRoute::Overview,
            PageRoute::Network("net-1"),
            PageRoute::Node("net-1", "a"),
            PageRoute::Link("n", "a", "b"),
            // A node may have the name of a segment.
            PageRoute::Node("node", "node"),
        ] {
            check(&format!("/{page}"), Some(Route::Page(Some(page))));
            check(&format!("/live/{page}"), Some(Route::Live(Some(page))));
        }
        check("/network/n/link/a/b", Some(Route::Page(Some(PageRoute::Link("n", "a", "b")))));
        for bad in ["/network/", "/network/a/b", "/network/n/link/a/a", "/network/%00", "/network/n/node/a/"]
        {
            check(bad, Some(Route::Page(None)));
            check(&format!("/live{bad}"), Some(Route::Live(None)));
        }
        for other in ["", "/view", "/networks", "/network", "/live", "/live/view"] {
            check(other, None);
        }
        check("/login", Some(Route::Login));
        check("/logout", Some(Route::Logout));
        check("/theme", Some(Route::Theme));
    }

    #[test]
    fn login_page_keeps_the_query() {
        let path = "/network/a?q=b%26c+d&page=2";
        let login = login_page_path(path);
        let request = rouille::Request::fake_http("GET", format!("/{login}"), Vec::new(), Vec::new());
        assert_eq!(request.get_param("next").as_deref(), Some(path));
    }

    #[test]
    fn links() {
        let id = |name: &str| name.parse::<NodeId>().expect("a name");
        let root = PageRoute::Node("n", "a").root();
        let links = Links::new(&root, "n");
        assert_eq!(links.network(), "../../../network/n");
        assert_eq!(links.node(&id("b")), "../../../network/n/node/b");
        assert_eq!(links.explanation(&id("b"), Some(5)), "../../../network/n/node/b?at=5#why");
        assert_eq!(links.link(&id("a"), &id("b")), "../../../network/n/link/a/b");
        assert_eq!(links.report(&id("a")), "../../../report/n/a");
        assert_eq!(PageRoute::Overview.root(), "./");
    }
}

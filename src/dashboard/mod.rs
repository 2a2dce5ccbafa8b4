//! HTML pages of the networks, nodes and links that this instance serves.
//!
//! This module renders values as HTML and JSON. HTTP, logins and cookies are in `server`.
//!
//! A page is complete without scripts. With them it keeps itself up to date: about once a second a script requests
//! what has changed, on a connection that closes again, so that an open page occupies no thread. All links are
//! relative, so that a proxy may add a prefix, and a page loads nothing from other sites.
//!
//! Each file imports only files above it:
//!
//! | file | contents |
//! | --- | --- |
//! | [`assets`] | style, scripts and icons |
//! | [`route`] | URLs: parsing, and links |
//! | [`theme`] | light and dark colours |
//! | `health`, `format` | the health of a network; times and statuses as markup |
//! | `page_content`, `page_frame` | the regions of a page; head, header and footer |
//! | `matrix_cells`, `page_cache` | the matrix for a script; rendered pages |
//! | `observation`, `chart` | parts of the sections |
//! | `matrix`, `graph`, `timeline`, `node_table`, `network_summary` | sections of the overview and of networks |
//! | `explanation`, `last_hour`, `signed_report` | sections of nodes |
//! | `login_page`, `overview`, `network`, `node`, `link` | pages |

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::html;

use crate::mesh::id::NetworkId;
use crate::present::timestamp;
use crate::store::NetworkHandle;

pub mod assets;
mod chart;
mod explanation;
mod format;
mod graph;
mod health;
mod last_hour;
mod link;
mod login_page;
mod matrix;
mod matrix_cells;
mod network;
mod network_summary;
mod node;
mod node_table;
mod observation;
mod overview;
mod page_cache;
mod page_content;
mod page_frame;
pub mod route;
mod signed_report;
pub mod theme;
mod timeline;

pub use login_page::{LoginForm, LoginProblem, login_page};
pub use node_table::NodeQuery;
pub use page_frame::{CONTENT_SECURITY_POLICY, PageRequest, RenderedPage};

use last_hour::LastHour;
use node::NodePage;
use page_cache::{CachedPage, PageCache};
use page_frame::PageFrame;
use route::PageRoute;

/// The time without a tick after which an event loop counts as stalled, in ms. `live_updates.js` has the same limit.
const STALLED_MS: u64 = 6_000;

/// The pages and their cache.
#[derive(Default)]
pub struct Dashboard {
    cache: PageCache,
}

/// The networks of this instance, and those among them that a login may read.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// All networks.
    pub networks: &'a BTreeMap<NetworkId, Arc<NetworkHandle>>,
    /// The readable ones.
    pub readable: &'a [NetworkId],
}

/// A page to render.
#[derive(Debug, Clone)]
pub struct PageQuery<'a> {
    /// The page, or `None` for a path without one.
    pub route: Option<PageRoute<'a>>,
    /// The nodes that the page of a network lists.
    pub nodes: NodeQuery,
    /// The verdict that the page of a node explains.
    pub time: RequestedTime,
}

/// The time of a verdict in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedTime {
    /// The current verdict.
    Current,
    /// The verdict at this time: Unix time in ms.
    At(u64),
    /// The value in the request is not a time.
    Invalid,
}

/// The state of a script that requests updates.
#[derive(Debug, Clone, Copy)]
pub struct KnownState<'a> {
    /// The hashes of the regions that it shows, separated by commas.
    pub regions: &'a str,
    /// The version of the matrix that it shows.
    pub matrix: &'a str,
}

/// The reason why a logged-in reader does not get a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageError {
    /// The page, network, node or link does not exist.
    NotFound(&'static str),
    /// The requested time is invalid.
    InvalidTime(&'static str),
    /// The login grants no access to the network.
    AccessDenied,
}

/// A page and the networks that it shows.
struct Page<'a> {
    cached: Arc<CachedPage>,
    networks: Vec<&'a NetworkHandle>,
}

impl Dashboard {
    /// Renders a page.
    pub fn page(
        &self,
        session: Session<'_>,
        query: &PageQuery<'_>,
        request: &PageRequest<'_>,
    ) -> RenderedPage {
        match self.find(session, query) {
            Ok(page) => {
                let content = &page.cached.content;
                let frame = PageFrame {
                    request,
                    title: &content.full_title(),
                    is_logged_in: true,
                    live_content: Some(content),
                    stalled_since_ms: page.stalled_since_ms(),
                };
                RenderedPage { status: 200, html: frame.render(&content.body()) }
            }
            Err(error) => error_page(error, request),
        }
    }

    /// Returns the changes of a page since `known`, as JSON.
    pub fn live_update(
        &self,
        session: Session<'_>,
        query: &PageQuery<'_>,
        known: KnownState<'_>,
    ) -> Result<Vec<u8>, PageError> {
        let page = self.find(session, query)?;
        let mono_ms = page.networks.first().map_or(0, |network| network.clock.mono_ms());
        let last_tick_ms = page.networks.iter().map(|network| network.last_tick_ms()).min().unwrap_or(0);
        Ok(page.cached.live_update(known.regions, known.matrix, mono_ms, last_tick_ms))
    }

    fn find<'a>(&self, session: Session<'a>, query: &PageQuery<'_>) -> Result<Page<'a>, PageError> {
        let route = query.route.ok_or(PageError::NotFound("There is no such page."))?;
        match route.network() {
            None => Ok(self.find_overview(session)),
            Some(id) => self.find_network_page(session.network(id)?, route, query),
        }
    }

    fn find_overview<'a>(&self, session: Session<'a>) -> Page<'a> {
        let readable: Vec<_> = session.networks.iter().filter(|(id, _)| session.may_read(id)).collect();
        let snapshots: Vec<_> = readable.iter().map(|(_, network)| network.snapshot()).collect();
        let ids: Vec<&str> = readable.iter().map(|(id, _)| id.as_str()).collect();
        // Sessions that may read different networks see different pages.
        let key = format!("/ {}", ids.join(" "));
        let root = PageRoute::Overview.root();
        let cached = self.cache.get(key, &snapshots, false, || overview::page(&snapshots, &root));
        Page { cached, networks: readable.into_iter().map(|(_, network)| &**network).collect() }
    }

    fn find_network_page<'a>(
        &self,
        network: &'a NetworkHandle,
        route: PageRoute<'_>,
        query: &PageQuery<'_>,
    ) -> Result<Page<'a>, PageError> {
        let shown = [network.snapshot()];
        let snapshot = &shown[0];
        let (root, now) = (route.root(), network.clock.now());
        let index = |id: &str| {
            let index = snapshot.membership().index(id);
            index.ok_or(PageError::NotFound("The network has no node with this name."))
        };
        let cached = match route {
            PageRoute::Overview | PageRoute::Network(_) => {
                let key = format!("{route} {:?}", query.nodes);
                self.cache.get(key, &shown, true, || network::page(snapshot, &root, &query.nodes, now))
            }
            PageRoute::Node(_, id) => {
                let at_ms = query.time.before(now.wall_ms)?;
                let page = NodePage { snapshot, index: index(id)?, root: &root, at_ms, now };
                let key = format!("{route} {at_ms:?}");
                self.cache.get(key, &shown, false, || page.render(&LastHour::of(network, id)))
            }
            PageRoute::Link(_, from, to) => {
                let pair = (index(from)?, index(to)?);
                self.cache.get(route.to_string(), &shown, false, || link::page(snapshot, pair, &root, now))
            }
        };
        Ok(Page { cached, networks: vec![network] })
    }
}

impl<'a> Session<'a> {
    fn may_read(&self, network: &NetworkId) -> bool {
        self.readable.contains(network)
    }

    fn network(&self, id: &str) -> Result<&'a NetworkHandle, PageError> {
        let Some((id, network)) = self.networks.get_key_value(id) else {
            return Err(PageError::NotFound("This instance serves no network with this name."));
        };
        if self.may_read(id) { Ok(network) } else { Err(PageError::AccessDenied) }
    }
}

impl RequestedTime {
    /// Returns the time as Unix time in ms, or `None` for now. Times after `now_ms` are invalid.
    fn before(self, now_ms: u64) -> Result<Option<u64>, PageError> {
        match self {
            Self::Current => Ok(None),
            Self::At(ms) if ms <= now_ms => Ok(Some(ms)),
            Self::At(_) => Err(PageError::InvalidTime("This time is in the future, by this node's clock.")),
            Self::Invalid => Err(PageError::InvalidTime(timestamp::EXPECTED)),
        }
    }
}

impl Page<'_> {
    /// Returns the last tick of a stalled event loop as Unix time in ms; of several, the earliest.
    fn stalled_since_ms(&self) -> Option<u64> {
        let stalled = self.networks.iter().filter_map(|network| {
            let now = network.clock.now();
            let age_ms = now.mono_ms.saturating_sub(network.last_tick_ms());
            (age_ms > STALLED_MS).then(|| now.wall_ms.saturating_sub(age_ms))
        });
        stalled.min()
    }
}

fn error_page(error: PageError, request: &PageRequest<'_>) -> RenderedPage {
    let (status, title, text) = match error {
        PageError::NotFound(text) => (404, "Not found", text),
        PageError::InvalidTime(text) => (400, "Invalid time", text),
        PageError::AccessDenied => (
            403,
            "No access",
            "This login does not grant access to this network. Log out, and log in again with the password of this \
             instance.",
        ),
    };
    let body = html! {
        h1 { (title) }
        p { (text) " " a href=(request.root()) { "Show all networks" } }
    };
    let frame = PageFrame { request, title, is_logged_in: true, live_content: None, stalled_since_ms: None };
    RenderedPage { status, html: frame.render(&body) }
}

#[cfg(test)]
mod tests;

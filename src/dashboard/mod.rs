//! Pages for people: the login, the networks of this instance, each network's snapshot, its nodes and links.
//!
//! They are whole without scripts. With them they keep themselves up to date: a script asks for what has changed,
//! about once a second, over a connection that is closed again, so that nobody who looks on holds a thread. All links are
//! relative, so that a proxy may serve the pages under a prefix, and nothing is loaded from elsewhere.
//!
//! | file | noun |
//! | --- | --- |
//! | `place` | which path shows what |
//! | `sheet` | what a page shows, in regions |
//! | `panes` | pages as they were made a moment ago, and what has changed since |
//! | `page` | the frame of all pages, their headers, the warning about plain http |
//! | `entrance` | the login page |
//! | `theme` | light and dark |
//! | `overview`, `network`, `node`, `link` | the pages |
//! | `matrix`, `cells` | who sees whom, for the eye and for a script |
//! | `graph`, `timeline`, `chart`, `nodes`, `why`, `proof` | their sections |
//! | `state` | how a network stands, at one glance |
//! | `words` | times and durations for people |
//! | `assets`, `gzip` | style, scripts and icons; bodies made smaller |

use std::sync::Arc;

use maud::{Markup, html};
use rouille::{Request, Response, ResponseBody};

use crate::mesh::Timestamps;
use crate::present::timestamp;
use crate::server::auth::{Auth, Viewer};
use crate::server::problem::problem;
use crate::server::served_instance::ServedInstance;
use crate::server::view::time_param;
use crate::store::NetworkHandle;
use crate::store::trends::Source;

mod assets;
mod cells;
mod chart;
mod entrance;
mod graph;
mod gzip;
mod link;
mod matrix;
mod network;
mod node;
mod nodes;
mod overview;
mod page;
mod panes;
mod place;
mod proof;
mod sheet;
mod state;
mod theme;
mod timeline;
mod why;
mod words;

pub(super) use entrance::Problem;
pub(super) use page::root;

use page::Page;
use panes::{Pane, Panes};
use place::Place;

/// Where scripts ask for what has changed on a page: its path comes after this.
pub(super) const LIVE: &str = "/live";

/// A collector that has not turned for so long is stuck, and what it last concluded is old; live.js knows it, too.
const STUCK_MS: u64 = 6_000;

/// The pages, and what is kept of them between two requests.
#[derive(Default)]
pub struct Dashboard {
    panes: Panes,
}

/// Why somebody who is logged in does not get a page.
enum Refusal {
    /// There is no such network, node or link.
    Missing(&'static str),
    /// It asks for the verdict of a time that is none.
    NoTime(&'static str),
    /// The login does not open the network.
    Closed,
}

impl Dashboard {
    /// The reply to a request for a page, a form or what belongs to them; none for any other path.
    pub fn answer(&self, instance: &ServedInstance, auth: &Auth, request: &Request) -> Option<Response> {
        let path = request.raw_url().split('?').next().unwrap_or_default();
        let is_get = matches!(request.method(), "GET" | "HEAD");
        Some(match (request.method(), path) {
            ("POST", "/login") => auth.post_login(instance, request),
            ("POST", "/logout") => auth.post_logout(instance, request),
            ("POST", "/theme") => theme::post(request),
            _ if !is_get => return None,
            (_, "/login") => get_login(instance, request),
            _ => match (path.strip_prefix(LIVE).and_then(Place::at), Place::at(path)) {
                (Some(place), _) => match auth.viewer(instance, request) {
                    Ok(viewer) => {
                        let reply = self.get_live(instance, &place, &path[LIVE.len()..], &viewer, request);
                        auth.renew(instance, &viewer, request, reply)
                    }
                    Err(refusal) => refusal,
                },
                (None, Some(place)) => match auth.page_viewer(instance, request) {
                    Ok(viewer) => {
                        let reply = self.get_page(instance, &place, path, &viewer, request);
                        auth.renew(instance, &viewer, request, reply)
                    }
                    Err(to_login) => to_login,
                },
                (None, None) => return assets::get(path, request),
            },
        })
    }

    /// A page as it is now.
    fn get_page(
        &self,
        instance: &ServedInstance,
        place: &Place,
        path: &str,
        viewer: &Viewer,
        request: &Request,
    ) -> Response {
        match self.pane(instance, place, path, viewer, request) {
            Ok((pane, nodes)) => Page::new(instance, request, page::title(&pane.sheet))
                .logged_in()
                .of(&pane.sheet)
                .stuck(
                    nodes
                        .iter()
                        .any(|node| node.clock.mono_ms().saturating_sub(node.last_tick_ms()) > STUCK_MS),
                )
                .response(request, &pane.sheet.body()),
            Err(refusal) => refuse(instance, request, &refusal),
        }
    }

    /// What has changed on the page at `path`, as JSON; its query has the `have` and `since` of the last reply.
    fn get_live(
        &self,
        instance: &ServedInstance,
        place: &Place,
        path: &str,
        viewer: &Viewer,
        request: &Request,
    ) -> Response {
        match self.pane(instance, place, path, viewer, request) {
            Ok((pane, nodes)) => {
                let given = |name: &str| request.get_param(name).unwrap_or_default();
                let mono_ms = nodes.first().map_or(0, |node| node.clock.mono_ms());
                let turned_ms = nodes.iter().map(|node| node.last_tick_ms()).min().unwrap_or(0);
                let json = pane.live(&given("have"), &given("since"), mono_ms, turned_ms);
                let headers = vec![
                    ("Content-Type".into(), "application/json".into()),
                    ("Cache-Control".into(), "no-store".into()),
                ];
                let empty =
                    Response { status_code: 200, headers, data: ResponseBody::empty(), upgrade: None };
                gzip::with_body(request, empty, &json)
            }
            Err(Refusal::Missing(what)) => problem(404, "Not Found", what),
            Err(Refusal::NoTime(why)) => problem(400, "Bad Request", why),
            Err(Refusal::Closed) => problem(403, "Forbidden", "the login does not open this network"),
        }
    }

    /// What the page at `path` shows, and the nodes that it is seen from.
    fn pane<'i>(
        &self,
        instance: &'i ServedInstance,
        place: &Place,
        path: &str,
        viewer: &Viewer,
        request: &Request,
    ) -> Result<(Arc<Pane>, Vec<&'i Arc<NetworkHandle>>), Refusal> {
        let root = page::root_of(path);
        let Some(id) = place.network() else {
            if *place == Place::Nowhere {
                return Err(Refusal::Missing("There is no such page."));
            }
            let open: Vec<_> = instance.nodes.iter().filter(|(id, _)| viewer.may_read(id)).collect();
            let snapshots: Vec<_> = open.iter().map(|(_, node)| node.snapshot()).collect();
            let ids: Vec<&str> = open.iter().map(|(id, _)| id.as_str()).collect();
            let key = format!("/ {}", ids.join(" "));
            let pane = self.panes.get(key, &snapshots, false, || overview::sheet(&snapshots, &root));
            return Ok((pane, open.into_iter().map(|(_, node)| node).collect()));
        };
        let node =
            instance.node(id).ok_or(Refusal::Missing("This instance serves no network of this name."))?;
        let snapshot = node.snapshot();
        let membership = snapshot.membership();
        if !viewer.may_read(membership.network_id()) {
            return Err(Refusal::Closed);
        }
        let index =
            |id: &str| membership.index(id).ok_or(Refusal::Missing("The network has no node of this name."));
        let now = node.clock.now();
        let shown = [snapshot.clone()];
        let pane = match place {
            Place::Node(_, id) => {
                let at_ms = time_param(request).map_err(|()| Refusal::NoTime(timestamp::EXPECTED))?;
                if at_ms.is_some_and(|at_ms| at_ms > now.wall_ms) {
                    return Err(Refusal::NoTime("That is in the future, by this node's clock."));
                }
                let key = format!("{path} {at_ms:?}");
                let index = index(id)?;
                self.panes.get(key, &shown, false, || {
                    node::sheet(&snapshot, index, &root, at_ms, &charts(node, id, now), now)
                })
            }
            Place::Link(_, one, other) => {
                let (one, other) = (index(one)?, index(other)?);
                let sheet = || link::sheet(&snapshot, one, other, &root, now);
                self.panes.get(path.to_owned(), &shown, false, sheet)
            }
            _ => {
                let query = nodes::Query::of(request);
                let key = format!("{path} {query:?}");
                self.panes.get(key, &shown, true, || network::sheet(&snapshot, &root, &query, now))
            }
        };
        Ok((pane, vec![node]))
    }
}

/// The last hour of a node, as everyone finds it and as this node does.
fn charts(node: &NetworkHandle, id: &str, now: Timestamps) -> Markup {
    let (everyone, here) = {
        let trends = node.trends();
        (trends.of(id, Source::Everyone), trends.of(id, Source::Here))
    };
    let is_me = node.id().as_str() == id;
    html! {
        div.charts {
            figure {
                figcaption { "Round trip to it, as everyone finds it" }
                (chart::round_trip(&everyone, now.wall_ms))
            }
            figure {
                figcaption { "Reports that found it offline, of all observers" }
                (chart::loss(&everyone, now.wall_ms, "reports", "found it offline"))
            }
            @if !is_me {
                figure {
                    figcaption { "Round trip to it from this node" }
                    (chart::round_trip(&here, now.wall_ms))
                }
                figure {
                    figcaption { "Loss: this node's probes of it that failed" }
                    (chart::loss(&here, now.wall_ms, "probes", "failed"))
                }
            }
        }
        p.faint { "Minute by minute; kept in memory since this node was started." }
    }
}

/// `GET /login`: the form, which leads on to `next` of the query.
pub fn get_login(instance: &ServedInstance, request: &Request) -> Response {
    let ended = request.get_param("ended").map(|_| Problem::Ended);
    entrance::page(instance, request, ended, request.get_param("next").as_deref())
}

/// The form again, with what was wrong with the last attempt.
pub(super) fn deny(
    instance: &ServedInstance,
    request: &Request,
    problem: Problem,
    next: Option<&str>,
) -> Response {
    entrance::page(instance, request, Some(problem), next)
}

/// A page that is not there, for someone who is logged in.
fn refuse(instance: &ServedInstance, request: &Request, refusal: &Refusal) -> Response {
    let (status, title, text) = match refusal {
        Refusal::Missing(what) => (404, "Not found", *what),
        Refusal::NoTime(why) => (400, "No such time", *why),
        Refusal::Closed => (
            403,
            "Not open to you",
            "This login does not open this network. Log out, and in again with the password of this instance.",
        ),
    };
    let body = html! {
        h1 { (title) }
        p { (text) " " a href=(root(request)) { "To the networks" } }
    };
    Page::new(instance, request, title.to_owned()).logged_in().status(status).response(request, &body)
}

#[cfg(test)]
mod tests;

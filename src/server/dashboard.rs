//! Pages for people: the login, the networks of this instance, and each network's picture.
//!
//! They work without scripts, load nothing from elsewhere, and fetch themselves again every few seconds.
//! All links are relative, so that a proxy may serve them under a prefix.
//!
//! | file | noun |
//! | --- | --- |
//! | `page` | the frame of all pages, their headers, the warning about plain http |
//! | `entrance` | the login page |
//! | `network` | the page of one network |
//! | `nodes` | its table of nodes |
//! | `matrix` | its table of observers and targets |
//! | `words` | times and durations for people |
//! | `assets` | style and icon |

use maud::html;
use rouille::{Request, Response};

use super::instance::Instance;
use super::login::{Login, Viewer};
use super::view::Summary;
use crate::store::Node;

mod assets;
mod entrance;
mod matrix;
mod network;
mod nodes;
mod page;
mod words;

pub(super) use entrance::Problem;
pub(super) use page::root;

use page::Page;

/// The reply to a request for a page, a form or what belongs to them; none for any other path.
pub fn answer(instance: &Instance, login: &Login, request: &Request) -> Option<Response> {
    let path = request.raw_url().split('?').next().unwrap_or_default();
    let visit = |page: &dyn Fn(&Viewer) -> Response| match login.visitor(instance, request) {
        Ok(viewer) => login.renew(instance, &viewer, page(&viewer)),
        Err(to_login) => to_login,
    };
    let response = match (request.method(), path) {
        ("POST", "/login") => login.post_login(instance, request),
        ("POST", "/logout") => login.post_logout(instance, request),
        ("GET" | "HEAD", "/") => visit(&|viewer| get_index(instance, viewer, request)),
        ("GET" | "HEAD", "/login") => get_login(instance, request),
        ("GET" | "HEAD", _) => match path.strip_prefix("/network/") {
            Some(name) => visit(&|viewer| match instance.node(name) {
                Some(node) => get_network(instance, node, viewer, request),
                None => get_missing(instance, request),
            }),
            None => return assets::get(path, request),
        },
        _ => return None,
    };
    Some(response)
}

/// `GET /login`: the form, which leads on to `next` of the query.
pub fn get_login(instance: &Instance, request: &Request) -> Response {
    entrance::page(instance, request, None, request.get_param("next").as_deref())
}

/// The form again, with what was wrong with the last attempt.
pub(super) fn deny(instance: &Instance, request: &Request, problem: Problem, next: Option<&str>) -> Response {
    entrance::page(instance, request, Some(problem), next)
}

/// `GET /`: the networks that are open to the viewer; the network itself where there is only one.
pub fn get_index(instance: &Instance, viewer: &Viewer, request: &Request) -> Response {
    let open: Vec<_> = instance.nodes.iter().filter(|(id, _)| viewer.may_read(id)).collect();
    if let [(_, node)] = open.as_slice() {
        return get_network(instance, node, viewer, request);
    }
    let root = root(request);
    let body = html! {
        h1 { "Networks" }
        @if open.is_empty() { p { "This login opens no network of this instance." } }
        div.box {
            table.list {
                thead { tr {
                    th scope="col" { "Network" }
                    th scope="col" { "This node" }
                    th.num scope="col" { "Nodes" }
                    th.num scope="col" { "Online" }
                    th.num scope="col" { "Offline" }
                    th.num scope="col" { "Unknown" }
                } }
                tbody {
                    @for (id, node) in &open {
                        @let summary = Summary::new(id, &node.picture());
                        tr {
                            th scope="row" { a href={ (root) "network/" (id) } { (id) } }
                            td { (summary.node_id) }
                            td.num { (summary.nodes) }
                            td.num { span.on[summary.online > 0] { (summary.online) } }
                            td.num { span.off[summary.offline > 0] { (summary.offline) } }
                            td.num { span.un[summary.unknown > 0] { (summary.unknown) } }
                        }
                    }
                }
            }
        }
    };
    Page::new(instance, request, "Networks").refreshing().logged_in().response(&body)
}

/// `GET /network/{network_id}`: what `node` knows of its network; 403 where the viewer may not read it.
pub fn get_network(instance: &Instance, node: &Node, viewer: &Viewer, request: &Request) -> Response {
    let picture = node.picture();
    if !viewer.may_read(picture.roster().network_id()) {
        let body = html! {
            h1 { "Not open to you" }
            p { "This login does not open this network. Log out, and in again with the password of this instance." }
        };
        return Page::new(instance, request, "Not open to you").logged_in().status(403).response(&body);
    }
    let title = picture.roster().network_id().to_string();
    let page = Page::new(instance, request, &title).refreshing().logged_in();
    let page = if viewer.networks().len() > 1 { page.one_of_many() } else { page };
    page.response(&network::body(&picture, node.clock.now()))
}

/// A page that does not exist, for someone who is logged in.
fn get_missing(instance: &Instance, request: &Request) -> Response {
    let body = html! {
        h1 { "No such network" }
        p { "This instance serves no network of this name. " a href=(root(request)) { "To the networks" } }
    };
    Page::new(instance, request, "No such network").logged_in().status(404).response(&body)
}

#[cfg(test)]
mod tests;

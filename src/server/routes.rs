//! The routes: the handler of each path.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use rouille::{Request, Response};

use super::api_route::ApiRoute;
use super::auth::Auth;
use super::dashboard_routes::DashboardRoutes;
use super::exchange::{self, SharedLimits};
use super::exchange_capacity::ExchangeCapacity;
use super::exchange_rate::ExchangeRates;
use super::handler::{Admission, Handler, memory_share_exceeded};
use super::health;
use super::limits::MAX_BODY_BYTES;
use super::problem::problem;
use super::redirect::path_of;
use super::request_head::{ReceivedRequest, RequestHead};
use super::served_instance::ServedInstance;
use super::view::{self, ViewCache};
use crate::dashboard::route::{LIVE_PREFIX, Route};
use crate::store::NetworkHandle;

/// The routes of an instance and their state.
pub struct Routes {
    instance: RwLock<Arc<ServedInstance>>,
    auth: Auth,
    views: ViewCache,
    dashboard: DashboardRoutes,
    exchange_rates: ExchangeRates,
    exchange_capacity: ExchangeCapacity,
}

/// A request whose head was admitted.
pub enum Admitted {
    /// An exchange with a verified signature.
    Exchange(Box<exchange::AdmittedExchange>),
    /// Any other request.
    Plain,
}

impl Routes {
    /// Creates the routes of `instance`, with access by `auth`.
    pub fn new(instance: ServedInstance, auth: Auth) -> Self {
        Self {
            instance: RwLock::new(Arc::new(instance)),
            auth,
            views: ViewCache::new(),
            dashboard: DashboardRoutes::default(),
            exchange_rates: ExchangeRates::default(),
            exchange_capacity: ExchangeCapacity::default(),
        }
    }

    /// Returns the currently served instance.
    pub fn instance(&self) -> Arc<ServedInstance> {
        self.instance.read().clone()
    }

    /// Logs the number of suppressed lines of each log limit that has expired. To be called at regular intervals.
    pub fn flush_suppressed(&self) {
        for (network, node) in &self.instance().nodes {
            node.drop_counters.flush_suppressed(network.as_str());
        }
        self.auth.flush_suppressed();
    }

    /// Replaces the instance, starting with the next request.
    pub fn replace(&self, instance: ServedInstance) {
        *self.instance.write() = Arc::new(instance);
    }
}

/// Returns the network's name in the path of an exchange, with or without the path prefix of this node's url.
fn exchange_network<'p>(instance: &ServedInstance, path: &'p str) -> Option<&'p str> {
    let (prefix, network) = path.rsplit_once("/mon/")?;
    let known = |node: &Arc<NetworkHandle>| {
        let snapshot = node.snapshot();
        snapshot.membership().own().exchange_path(snapshot.membership().network_id()) == path
    };
    (!network.contains('/') && (prefix.is_empty() || instance.node(network).is_some_and(known)))
        .then_some(network)
}

impl Routes {
    fn exchange_limits(&self) -> SharedLimits<'_> {
        SharedLimits { rates: &self.exchange_rates, capacity: &self.exchange_capacity }
    }
}

impl Handler for Routes {
    type Admitted = Admitted;

    fn admit(&self, head: &RequestHead, remote: SocketAddr) -> Admission<Admitted> {
        let instance = self.instance();
        let Some(network) = exchange_network(&instance, head.path()) else {
            return Admission::Accept {
                max_body_bytes: MAX_BODY_BYTES,
                sender: None,
                admitted: Admitted::Plain,
            };
        };
        let Some(node) = instance.node(network) else {
            let detail = "no such network on this instance; check the url of this node in the configuration of the sender";
            return Admission::Reject(problem(404, "Not Found", detail));
        };
        match exchange::admit(node, self.exchange_limits(), head, remote) {
            Admission::Accept { max_body_bytes, sender, admitted } => {
                let admitted = Admitted::Exchange(Box::new(admitted));
                Admission::Accept { max_body_bytes, sender, admitted }
            }
            Admission::Reject(response) => Admission::Reject(response),
        }
    }

    /// Returns the number of members that exchange reports with a node of this instance.
    fn senders(&self) -> usize {
        let instance = self.instance();
        instance.nodes.values().map(|node| node.snapshot().membership().exchange_peers()).sum()
    }

    fn reject_beyond_share(&self, admitted: &Admitted) -> Response {
        match admitted {
            Admitted::Exchange(exchange) => exchange.reject_beyond_share(),
            Admitted::Plain => memory_share_exceeded(),
        }
    }

    fn allows_missing_length(&self, head: &RequestHead) -> bool {
        head.path() == "/token"
    }

    fn closes_connection(&self, head: &RequestHead) -> bool {
        head.path().strip_prefix(LIVE_PREFIX).is_some_and(|path| path.starts_with('/'))
    }

    fn respond(&self, request: ReceivedRequest, admitted: &Admitted) -> Response {
        if let Admitted::Exchange(exchange) = admitted {
            return exchange::respond(request.body, exchange, self.exchange_limits());
        }
        let request = request.into_rouille();
        let instance = self.instance();
        if let Some(page) = self.dashboard.respond(&instance, &self.auth, &request) {
            return page;
        }
        // The listener omits the body of a reply to HEAD.
        let request = if request.method() == "HEAD" { as_get(&request) } else { request };
        let path = path_of(&request);
        match (ApiRoute::parse(path), request.method()) {
            (Some(ApiRoute::Health), "GET") => health::get(&instance),
            (Some(ApiRoute::Token), "POST") => self.auth.post_token(&instance, &request),
            (Some(ApiRoute::Networks), "GET") => self.list_networks(&instance, &request),
            (Some(ApiRoute::View(network)), "GET") => {
                self.of_network(&instance, &request, &network, |node| self.views.get_network(node, &request))
            }
            (Some(ApiRoute::Explain(network, id)), "GET") => {
                self.of_network(&instance, &request, &network, |node| view::explain(node, &id, &request))
            }
            (Some(ApiRoute::Changes(network)), "GET") => {
                self.of_network(&instance, &request, &network, |node| view::changes(node, &request))
            }
            (Some(ApiRoute::Report(network, id)), "GET") => {
                self.of_network(&instance, &request, &network, |node| view::report(node, &id))
            }
            (route, _) => unhandled(route.as_ref(), path),
        }
    }
}

impl Routes {
    fn list_networks(&self, instance: &ServedInstance, request: &Request) -> Response {
        match self.auth.viewer(instance, request) {
            Ok(viewer) => view::list_networks(instance, &viewer),
            Err(refusal) => refusal,
        }
    }

    /// Calls `handler` if the request's token grants access to the network, otherwise replies with the reason.
    fn of_network(
        &self,
        instance: &ServedInstance,
        request: &Request,
        network: &str,
        handler: impl FnOnce(&NetworkHandle) -> Response,
    ) -> Response {
        match self.open(instance, request, network) {
            Ok(node) => handler(node),
            Err(refusal) => refusal,
        }
    }

    /// Returns the node in that network if the request's token grants access to it.
    fn open<'i>(
        &self,
        instance: &'i ServedInstance,
        request: &Request,
        network: &str,
    ) -> Result<&'i Arc<NetworkHandle>, Response> {
        // Without a token the reply must not reveal which networks exist.
        let viewer = self.auth.viewer(instance, request)?;
        let Some(node) = instance.node(network) else {
            return Err(problem(
                404,
                "Not Found",
                "no such network on this instance; GET /view lists its networks",
            ));
        };
        if !viewer.may_read(node.snapshot().membership().network_id()) {
            return Err(problem(403, "Forbidden", "the token does not grant access to this network"));
        }
        Ok(node)
    }
}

fn as_get(request: &Request) -> Request {
    let headers = request.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Request::fake_http_from(*request.remote_addr(), "GET", request.raw_url(), headers, Vec::new())
}

/// Returns 405 if the path exists for other methods, otherwise 404.
fn unhandled(api: Option<&ApiRoute<'_>>, path: &str) -> Response {
    let allowed =
        api.map(ApiRoute::allowed_methods).or_else(|| Route::parse(path).map(Route::allowed_methods));
    match allowed {
        Some(allowed) => problem(405, "Method Not Allowed", &format!("expected {allowed}"))
            .with_additional_header("Allow", allowed),
        None => problem(404, "Not Found", "no such page"),
    }
}

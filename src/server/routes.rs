//! The routes: which request goes where.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use rouille::{Request, Response, router};

use super::exchange;
use super::head::Head;
use super::health;
use super::instance::Instance;
use super::limits::BODY;
use super::listener::{Admission, Service};
use super::problem::problem;

/// Everything that this process answers.
pub struct Routes {
    instance: RwLock<Arc<Instance>>,
}

/// What admission learnt.
pub enum Ticket {
    /// An exchange, of a sender whose signature fits.
    Exchange(exchange::Ticket),
    /// Anything else.
    Plain,
}

impl Routes {
    /// The routes of `instance`.
    pub fn new(instance: Instance) -> Self {
        Self { instance: RwLock::new(Arc::new(instance)) }
    }

    /// What is served now.
    pub fn instance(&self) -> Arc<Instance> {
        self.instance.read().clone()
    }

    /// Serves `instance` from the next request on.
    pub fn replace(&self, instance: Instance) {
        *self.instance.write() = Arc::new(instance);
    }
}

/// The network's name in the path of an exchange, with or without the prefix of an own url.
fn exchange_network<'p>(instance: &Instance, path: &'p str) -> Option<&'p str> {
    let (prefix, network) = path.rsplit_once("/mon/")?;
    let known = |node: &Arc<crate::store::Node>| {
        let picture = node.picture();
        picture.roster().own().exchange_path(picture.roster().network_id()) == path
    };
    (!network.contains('/') && (prefix.is_empty() || instance.node(network).is_some_and(known)))
        .then_some(network)
}

impl Service for Routes {
    type Ticket = Ticket;

    fn admit(&self, head: &Head, remote: SocketAddr) -> Admission<Ticket> {
        let instance = self.instance();
        let Some(network) = exchange_network(&instance, head.path()) else {
            return Admission::Read { max_body: BODY, verified: false, ticket: Ticket::Plain };
        };
        let Some(node) = instance.node(network) else {
            let detail = "no such network here; is the url in the configuration that of the right instance?";
            return Admission::Refuse(problem(404, "Not Found", detail));
        };
        match exchange::admit(node, head, remote) {
            Admission::Read { max_body, verified, ticket } => {
                Admission::Read { max_body, verified, ticket: Ticket::Exchange(ticket) }
            }
            Admission::Refuse(response) => Admission::Refuse(response),
        }
    }

    fn answer(&self, request: Request, ticket: Ticket) -> Response {
        if let Ticket::Exchange(ticket) = ticket {
            return exchange::answer(&request, &ticket);
        }
        let instance = self.instance();
        router!(request,
            (GET) ["/healthz"] => { health::get(&instance) },
            _ => problem(404, "Not Found", "no such page")
        )
    }
}

//! The open connections of a listener, and which of them is closed first to make room.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ConnectionShared;
use crate::server::client_address::ClientPrefix;
use crate::server::resource_owner::{ResourceOwner, SenderId};

/// The connections of a listener.
pub(super) struct ConnectionTable {
    /// By ascending id, which is the order of age. A closed entry remains until its thread drops the permit.
    entries: BTreeMap<u64, Entry>,
    next_id: u64,
    /// How long a connection has standing after a verified request.
    standing: Duration,
}

/// A connection, as far as limits depend on it.
pub(super) struct Entry {
    pub(super) shared: Arc<ConnectionShared>,
    pub(super) client: Client,
    /// The sender of the last verified request, otherwise the address.
    owner: ResourceOwner,
    /// When the last request was verified; `None` if the connection has no standing.
    verified_at: Option<Instant>,
    /// A complete request is being handled: the thread would not notice soon that its socket was closed.
    handling: bool,
    /// When the last complete request began or ended; at first when the connection was accepted.
    active_at: Instant,
    /// The limiter has shut down the socket, and the connection's thread has not ended yet.
    closed: bool,
}

/// The client of a connection when it was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) prefix: ClientPrefix,
    /// The limit per address applies: not to loopback and trusted proxies.
    pub(super) limited: bool,
    pub(super) loopback: bool,
    /// The address of a verified sender: the connection may use a reserved slot.
    pub(super) known: bool,
}

/// Numbers of open connections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Occupancy {
    pub(super) open: usize,
    /// Connections that use no reserved slot.
    pub(super) unknown: usize,
    /// Connections from the address in question to which the limit per address applies.
    pub(super) same_address: usize,
}

/// The open connections of one owner.
#[derive(Debug, Default, Clone, Copy)]
struct Holding {
    open: usize,
    has_standing: bool,
}

impl Holding {
    /// Returns the number of connections that may be closed for other owners: all but one of a verified sender.
    fn excess(self) -> usize {
        self.open - usize::from(self.has_standing)
    }
}

impl ConnectionTable {
    pub(super) fn new(standing: Duration) -> Self {
        Self { entries: BTreeMap::new(), next_id: 0, standing }
    }

    /// Adds a connection and returns its id.
    pub(super) fn insert(&mut self, shared: Arc<ConnectionShared>, client: Client, now: Instant) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let entry = Entry {
            shared,
            client,
            owner: ResourceOwner::Client(client.prefix),
            verified_at: None,
            handling: false,
            active_at: now,
            closed: false,
        };
        self.entries.insert(id, entry);
        id
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.entries.remove(&id);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn shared(&self) -> impl Iterator<Item = &ConnectionShared> {
        self.entries.values().map(|entry| &*entry.shared)
    }

    /// Counts the closed connections, whose threads have not ended yet.
    pub(super) fn closed(&self) -> usize {
        self.entries.values().filter(|entry| entry.closed).count()
    }

    /// Counts the open connections. They are few enough to count them again for each new connection.
    pub(super) fn occupancy(&self, prefix: ClientPrefix, now: Instant) -> Occupancy {
        let mut occupancy = Occupancy::default();
        for entry in self.entries.values().filter(|entry| !entry.closed) {
            occupancy.open += 1;
            occupancy.unknown += usize::from(self.is_unknown(entry, now));
            occupancy.same_address += usize::from(entry.client.is_limited_at(prefix));
        }
        occupancy
    }

    /// Returns whether the connection uses no reserved slot.
    pub(super) fn is_unknown(&self, entry: &Entry, now: Instant) -> bool {
        !entry.client.known && !self.has_standing(entry, now)
    }

    fn has_standing(&self, entry: &Entry, now: Instant) -> bool {
        entry.verified_at.is_some_and(|at| now.saturating_duration_since(at) <= self.standing)
    }

    /// Records the admission of a request of `sender`. Any request that is not verified ends the standing of
    /// its connection, which still counts against its last verified sender. Returns the address of the client.
    pub(super) fn admit(&mut self, id: u64, sender: Option<&SenderId>, now: Instant) -> Option<ClientPrefix> {
        let entry = self.entries.get_mut(&id)?;
        entry.verified_at = sender.map(|_| now);
        if let Some(sender) = sender {
            entry.owner = ResourceOwner::Sender(sender.clone());
        }
        Some(entry.client.prefix)
    }

    /// Records that the handling of a complete request begins or ends.
    pub(super) fn set_handling(&mut self, id: u64, handling: bool, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.handling = handling;
            entry.active_at = now;
        }
    }

    /// Closes one of the open connections that `may_close` returns true for: the idlest of the greediest owner.
    /// Returns false if none may be closed, because each is the only one of a verified sender.
    ///
    /// Of equally greedy owners, those without standing come first, so that members outlast unknown clients.
    pub(super) fn evict(&mut self, now: Instant, may_close: impl Fn(&Self, &Entry) -> bool) -> bool {
        let open = || self.entries.iter().filter(|(_, entry)| !entry.closed);
        let mut holdings: HashMap<&ResourceOwner, Holding> = HashMap::new();
        for (_, entry) in open() {
            let holding = holdings.entry(&entry.owner).or_default();
            holding.open += 1;
            holding.has_standing |= self.has_standing(entry, now);
        }
        let excess = |entry: &Entry| holdings.get(&entry.owner).map_or(0, |holding| holding.excess());
        let victim = open()
            .filter(|(_, entry)| may_close(self, entry) && excess(entry) > 0)
            .min_by_key(|(id, entry)| {
                let has_standing = self.has_standing(entry, now);
                (Reverse(excess(entry)), has_standing, entry.handling, entry.active_at, **id)
            })
            .map(|(id, _)| *id);
        let Some(entry) = victim.and_then(|id| self.entries.get_mut(&id)) else { return false };
        entry.closed = true;
        let _ = entry.shared.stream.shutdown(Shutdown::Both);
        true
    }

    #[cfg(test)]
    pub(super) fn entry(&self, id: u64) -> &Entry {
        &self.entries[&id]
    }
}

impl Entry {
    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

impl Client {
    pub(super) fn is_limited_at(&self, prefix: ClientPrefix) -> bool {
        self.limited && self.prefix == prefix
    }
}

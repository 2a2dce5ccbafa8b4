//! The connection limiter: decides which clients may be connected concurrently.
//!
//! Half of the connections are reserved for addresses with a verified exchange, so that unknown clients,
//! however many, cannot block members. When unknown clients fill their half, the oldest of their connections
//! is closed: a client that sends its request promptly is served even among many that only hold a connection
//! open. The limiter knows nothing of HTTP. It closes a connection by shutting down its socket, which ends the
//! connection's thread even while that blocks in a read.

use std::collections::BTreeMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::client_address::{self, ClientPrefix};
use super::limits::Limits;
use super::listener_counters::ListenerCounters;
use super::recent_clients::RecentClients;

/// The maximum number of addresses remembered for a verified exchange.
const MAX_VERIFIED: usize = 4096;

/// How long the accept loop waits for the threads of closed connections before it refuses a new connection.
const CLOSING_TIMEOUT: Duration = Duration::from_millis(50);

/// The connection limiter of one listener.
pub(super) struct ConnectionLimiter {
    limits: Limits,
    capacity: usize,
    state: Mutex<State>,
    released: Condvar,
    stopping: AtomicBool,
    pub(super) counters: ListenerCounters,
}

struct State {
    /// By ascending id, which is the order of age. A closed entry remains until its thread drops the permit.
    entries: BTreeMap<u64, Entry>,
    next_id: u64,
    verified: RecentClients,
}

struct Entry {
    shared: Arc<ConnectionShared>,
    client: Client,
    /// The limiter has shut down the socket, and the connection's thread has not ended yet.
    closed: bool,
}

/// The peer of a connection, as far as limits depend on it.
#[derive(Debug, Clone, Copy)]
struct Client {
    prefix: ClientPrefix,
    /// The limit per address applies: not to loopback and trusted proxies.
    limited: bool,
    trust: Trust,
}

/// What protects a connection from being closed to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Unknown,
    /// A verified request from the same address on another connection.
    Recent,
    /// A verified request on this connection, which is therefore never closed to make room.
    Verified,
}

/// State of a connection that its thread and the limiter share.
struct ConnectionShared {
    stream: TcpStream,
    busy: AtomicBool,
    answered: AtomicBool,
}

/// Numbers of connections, counted from the entries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Occupancy {
    open: usize,
    /// Open connections with [`Trust::Unknown`].
    unknown: usize,
    /// Open connections from the address in question to which the limit per address applies.
    same_address: usize,
}

/// The error of a limiter without room for another connection.
struct NoRoom;

impl ConnectionLimiter {
    /// Creates a limiter for at most `capacity` connections, which may be fewer than `limits` allows.
    pub(super) fn new(limits: Limits, capacity: usize) -> Self {
        let verified = RecentClients::new(limits.trust_duration, MAX_VERIFIED);
        Self {
            limits,
            capacity,
            state: Mutex::new(State { entries: BTreeMap::new(), next_id: 0, verified }),
            released: Condvar::new(),
            stopping: AtomicBool::new(false),
            counters: ListenerCounters::default(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Admits `stream` from `peer`, if necessary by closing another connection. Returns the stream if there is
    /// no room. The connection counts until its permit is dropped.
    pub(super) fn try_acquire(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        now: Instant,
    ) -> Result<ConnectionPermit, TcpStream> {
        let mut state = self.state.lock();
        let admitted = self.wait_for_closing(&mut state).and_then(|()| {
            let client = self.client(&state, peer, now);
            self.make_room(&mut state, client).map(|()| client)
        });
        let Ok(client) = admitted else {
            self.counters.refused.increment();
            return Err(stream);
        };
        let shared = Arc::new(ConnectionShared {
            stream,
            busy: AtomicBool::new(false),
            answered: AtomicBool::new(false),
        });
        let id = state.next_id;
        state.next_id += 1;
        state.entries.insert(id, Entry { shared: Arc::clone(&shared), client, closed: false });
        Ok(ConnectionPermit { limiter: Arc::clone(self), id, shared })
    }

    /// Closes the oldest connection without a verified request, if there is one.
    pub(super) fn evict_one(&self) {
        let _ = self.evict_oldest(&mut self.state.lock(), |entry| entry.client.trust != Trust::Verified);
    }

    /// Returns whether connections must end after their current request.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Makes connections end after their current request, and idle ones immediately. A connection without a
    /// first reply may still send its first request until [`Self::close_idle`].
    pub(super) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.end_reads(|shared| shared.answered.load(Ordering::Relaxed));
    }

    /// Ends all connections that are not serving a request.
    pub(super) fn close_idle(&self) {
        self.end_reads(|_| true);
    }

    /// Ends the reads of idle connections that `selected` returns true for.
    fn end_reads(&self, selected: impl Fn(&ConnectionShared) -> bool) {
        for entry in self.state.lock().entries.values() {
            // A thread clears `busy` before it reads `stopping`, so at least one of the two sees the change of
            // the other. Only reading ends, so that a request that has just arrived still gets its reply.
            if selected(&entry.shared) && !entry.shared.busy.load(Ordering::SeqCst) {
                let _ = entry.shared.stream.shutdown(Shutdown::Read);
            }
        }
    }

    /// Closes all connections, even those that are serving a request.
    pub(super) fn close_all(&self) {
        for entry in self.state.lock().entries.values() {
            let _ = entry.shared.stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until all connections have ended or `deadline` has passed; returns how many are left.
    pub(super) fn wait_until_empty(&self, deadline: Instant) -> usize {
        let mut state = self.state.lock();
        while !state.entries.is_empty() && !self.released.wait_until(&mut state, deadline).timed_out() {}
        state.entries.len()
    }

    fn client(&self, state: &State, peer: IpAddr, now: Instant) -> Client {
        let prefix = ClientPrefix::from(peer);
        let peer = peer.to_canonical();
        Client {
            prefix,
            limited: !peer.is_loopback() && !client_address::contains(&self.limits.trusted_proxies, peer),
            trust: if state.verified.contains(prefix, now) { Trust::Recent } else { Trust::Unknown },
        }
    }

    /// Closes a connection if `client` exceeds a limit without that; fails if none may be closed.
    fn make_room(&self, state: &mut State, client: Client) -> Result<(), NoRoom> {
        let occupancy = state.occupancy(client.prefix);
        if client.limited && occupancy.same_address >= self.limits.connections_per_address {
            // A client that shares its address with many half-open connections gets through. A client that
            // itself uses too many connections must not lose those that work.
            return self.evict_oldest(state, |entry| {
                entry.client.is_limited_at(client.prefix) && !entry.shared.answered.load(Ordering::Relaxed)
            });
        }
        if client.trust == Trust::Unknown && occupancy.unknown >= self.capacity.div_ceil(2) {
            return self.evict_oldest(state, |entry| entry.client.trust == Trust::Unknown);
        }
        if occupancy.open >= self.capacity {
            return self.evict_oldest(state, |entry| entry.client.trust != Trust::Verified);
        }
        Ok(())
    }

    /// Waits until few closed connections are left, since each holds a thread and a descriptor until its
    /// thread ends.
    fn wait_for_closing(&self, state: &mut MutexGuard<'_, State>) -> Result<(), NoRoom> {
        let max_closed = (self.capacity / 8).max(1);
        let deadline = Instant::now() + CLOSING_TIMEOUT;
        while state.closed() >= max_closed {
            if self.released.wait_until(state, deadline).timed_out() {
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    /// Closes the oldest open connection that `may_close` returns true for.
    fn evict_oldest(&self, state: &mut State, may_close: impl Fn(&Entry) -> bool) -> Result<(), NoRoom> {
        let mut open = state.entries.values_mut().filter(|entry| !entry.closed);
        let entry = open.find(|entry| may_close(entry)).ok_or(NoRoom)?;
        entry.closed = true;
        let _ = entry.shared.stream.shutdown(Shutdown::Both);
        self.counters.evicted.increment();
        Ok(())
    }

    fn mark_verified(&self, id: u64, now: Instant) {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(&id) else { return };
        entry.client.trust = Trust::Verified;
        let prefix = entry.client.prefix;
        state.verified.insert(prefix, now);
    }

    fn release(&self, id: u64) {
        self.state.lock().entries.remove(&id);
        self.released.notify_all();
    }
}

impl Client {
    fn is_limited_at(&self, prefix: ClientPrefix) -> bool {
        self.limited && self.prefix == prefix
    }
}

impl State {
    /// Counts the open connections. The entries are few enough to count them again for each new connection.
    fn occupancy(&self, prefix: ClientPrefix) -> Occupancy {
        let mut occupancy = Occupancy::default();
        for entry in self.entries.values().filter(|entry| !entry.closed) {
            occupancy.open += 1;
            occupancy.unknown += usize::from(entry.client.trust == Trust::Unknown);
            occupancy.same_address += usize::from(entry.client.is_limited_at(prefix));
        }
        occupancy
    }

    fn closed(&self) -> usize {
        self.entries.values().filter(|entry| entry.closed).count()
    }
}

/// The permit of one admitted connection, owned by its thread.
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    id: u64,
    shared: Arc<ConnectionShared>,
}

impl ConnectionPermit {
    pub(super) fn limiter(&self) -> &ConnectionLimiter {
        &self.limiter
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.shared.stream
    }

    /// Marks the start of a request: a stop waits for its reply.
    pub(super) fn begin_request(&self) {
        self.shared.busy.store(true, Ordering::SeqCst);
    }

    /// Marks the end of a reply.
    pub(super) fn finish_request(&self) {
        self.shared.answered.store(true, Ordering::Relaxed);
        self.shared.busy.store(false, Ordering::SeqCst);
    }

    /// Protects the connection from being closed to make room, and gives its peer's address a share of the
    /// reserved half. Behind a proxy that is the proxy's address, the only one known when the next connection
    /// is accepted.
    pub(super) fn mark_verified(&self) {
        self.limiter.mark_verified(self.id, Instant::now());
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.release(self.id);
    }
}

#[cfg(test)]
mod tests;

//! The connection limiter: decides which clients may be connected concurrently.
//!
//! Each connection counts against an owner: the sender of its last verified request, otherwise its address. When
//! room is needed, the idlest connection of the owner with the most connections is closed, so that no client is
//! refused while another one has several. A verified sender keeps one connection in any case, and some slots are
//! reserved for verified senders, so that unknown clients from many addresses cannot block them. One slot is kept
//! for loopback, so that a health check works on a full listener. The limiter knows nothing of HTTP. It closes a
//! connection by shutting down its socket, which ends the connection's thread even while that blocks in a read.

use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use self::connection_table::{Client, ConnectionTable};
use super::client_address::{self, ClientPrefix};
use super::limits::{Limits, MAX_BODY_BYTES};
use super::listener_counters::ListenerCounters;
use super::memory_budget::{BudgetSizes, MemoryBudget};
use super::resource_owner::SenderId;
use super::sender_addresses::SenderAddresses;

mod connection_table;

/// The maximum number of senders whose address is remembered.
const MAX_SENDERS: usize = 4096;

/// The maximum number of slots reserved for verified senders; more senders share them. At most half of the
/// slots are reserved.
const MAX_RESERVED: usize = 256;

/// How long the accept loop waits for the threads of closed connections before it refuses a new connection.
const CLOSING_TIMEOUT: Duration = Duration::from_millis(50);

/// The connection limiter of one listener.
pub(super) struct ConnectionLimiter {
    limits: Limits,
    capacity: usize,
    state: Mutex<State>,
    released: Condvar,
    stopping: AtomicBool,
    pub(super) memory_budget: MemoryBudget,
    pub(super) counters: ListenerCounters,
}

struct State {
    table: ConnectionTable,
    addresses: SenderAddresses,
}

/// State of a connection that its thread and the limiter share.
struct ConnectionShared {
    stream: TcpStream,
    busy: AtomicBool,
    answered: AtomicBool,
}

/// The error of a limiter without room for another connection.
struct NoRoom;

impl ConnectionLimiter {
    /// Creates a limiter for at most `capacity` connections, which may be fewer than `limits` allows.
    pub(super) fn new(limits: Limits, capacity: usize) -> Self {
        let table = ConnectionTable::new(limits.standing_duration);
        let addresses = SenderAddresses::new(limits.trust_duration, MAX_SENDERS);
        let memory_budget = MemoryBudget::new(BudgetSizes {
            total: limits.body_bytes,
            share: limits.bytes_per_owner,
            exempt: MAX_BODY_BYTES,
        });
        Self {
            limits,
            capacity,
            state: Mutex::new(State { table, addresses }),
            released: Condvar::new(),
            stopping: AtomicBool::new(false),
            memory_budget,
            counters: ListenerCounters::default(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Admits `stream` from `peer`, if necessary by closing another connection. Returns the stream if there is
    /// no room. `senders` is the number of verified senders to reserve a slot for. The connection counts until
    /// its permit is dropped.
    pub(super) fn try_acquire(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        senders: usize,
        now: Instant,
    ) -> Result<ConnectionPermit, TcpStream> {
        let mut state = self.state.lock();
        let client = self.client(&state, peer, now);
        let admitted = self
            .wait_for_closing(&mut state, client)
            .and_then(|()| self.make_room(&mut state.table, client, senders, now));
        if admitted.is_err() {
            self.counters.refused.increment();
            return Err(stream);
        }
        let shared = Arc::new(ConnectionShared {
            stream,
            busy: AtomicBool::new(false),
            answered: AtomicBool::new(false),
        });
        let id = state.table.insert(Arc::clone(&shared), client, now);
        Ok(ConnectionPermit { limiter: Arc::clone(self), id, shared })
    }

    /// Closes a connection, unless each is the only one of a verified sender.
    pub(super) fn evict_one(&self) {
        let _ = self.evict(&mut self.state.lock().table, Instant::now(), |_, _| true);
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
        for shared in self.state.lock().table.shared() {
            // A thread clears `busy` before it reads `stopping`, so at least one of the two sees the change of
            // the other. Only reading ends, so that a request that has just arrived still gets its reply.
            if selected(shared) && !shared.busy.load(Ordering::SeqCst) {
                let _ = shared.stream.shutdown(Shutdown::Read);
            }
        }
    }

    /// Closes all connections, even those that are serving a request.
    pub(super) fn close_all(&self) {
        for shared in self.state.lock().table.shared() {
            let _ = shared.stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until all connections have ended or `deadline` has passed; returns how many are left.
    pub(super) fn wait_until_empty(&self, deadline: Instant) -> usize {
        let mut state = self.state.lock();
        while state.table.len() > 0 && !self.released.wait_until(&mut state, deadline).timed_out() {}
        state.table.len()
    }

    fn client(&self, state: &State, peer: IpAddr, now: Instant) -> Client {
        let prefix = ClientPrefix::from(peer);
        let peer = peer.to_canonical();
        let loopback = peer.is_loopback();
        Client {
            prefix,
            limited: !loopback && !client_address::contains(&self.limits.trusted_proxies, peer),
            loopback,
            known: state.addresses.contains(prefix, now),
        }
    }

    /// Closes a connection if `client` exceeds a limit without that; fails if none may be closed.
    fn make_room(
        &self,
        table: &mut ConnectionTable,
        client: Client,
        senders: usize,
        now: Instant,
    ) -> Result<(), NoRoom> {
        let occupancy = table.occupancy(client.prefix, now);
        if client.limited && occupancy.same_address >= self.limits.connections_per_address {
            return self.evict(table, now, |_, entry| entry.client.is_limited_at(client.prefix));
        }
        let capacity = self.capacity - usize::from(!client.loopback);
        let reserved = senders.min(MAX_RESERVED).min(self.capacity / 2);
        if !client.known && occupancy.unknown >= capacity.saturating_sub(reserved).max(1) {
            return self.evict(table, now, |table, entry| table.is_unknown(entry, now));
        }
        if occupancy.open >= capacity {
            return self.evict(table, now, |_, _| true);
        }
        Ok(())
    }

    /// Waits until few closed connections are left, since each holds a thread and a descriptor until its
    /// thread ends. Loopback clients may double their number: threads that do not end, for example because the
    /// processor is overloaded, must not make a health check fail.
    fn wait_for_closing(&self, state: &mut MutexGuard<'_, State>, client: Client) -> Result<(), NoRoom> {
        let max_closed = (self.capacity / 8).max(1);
        let deadline = Instant::now() + CLOSING_TIMEOUT;
        while state.table.closed() >= max_closed {
            if client.loopback && state.table.closed() < 2 * max_closed {
                return Ok(());
            }
            if self.released.wait_until(state, deadline).timed_out() {
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    fn evict(
        &self,
        table: &mut ConnectionTable,
        now: Instant,
        may_close: impl Fn(&ConnectionTable, &connection_table::Entry) -> bool,
    ) -> Result<(), NoRoom> {
        if !table.evict(now, may_close) {
            return Err(NoRoom);
        }
        self.counters.evicted.increment();
        Ok(())
    }

    /// Records the admission of a request.
    fn admit(&self, id: u64, sender: Option<&SenderId>, now: Instant) {
        let mut state = self.state.lock();
        if let (Some(prefix), Some(sender)) = (state.table.admit(id, sender, now), sender) {
            state.addresses.record(sender, prefix, now);
        }
    }

    fn release(&self, id: u64) {
        self.state.lock().table.remove(id);
        self.released.notify_all();
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

    /// Records the admission or rejection of a request. A verified one, with its `sender`, gives the connection
    /// standing for a while; any other ends that. The address of the sender may use reserved slots: behind a proxy
    /// that is the proxy's address, the only one known when the next connection is accepted.
    pub(super) fn admit(&self, sender: Option<&SenderId>) {
        self.limiter.admit(self.id, sender, Instant::now());
    }

    /// Marks the start or the end of the handling of a complete request.
    pub(super) fn set_handling(&self, handling: bool) {
        self.limiter.state.lock().table.set_handling(self.id, handling, Instant::now());
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.release(self.id);
    }
}

#[cfg(test)]
mod tests;

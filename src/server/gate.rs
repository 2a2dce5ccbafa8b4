//! Who may be connected at the same time.
//!
//! Half of the connections are kept for addresses with a verified exchange, so strangers, however many,
//! never keep members out. Among strangers the oldest goes first: whoever is quick gets through a
//! crowd of those who only hold on. The gate knows nothing of HTTP; it closes a connection by shutting
//! down its socket, and the connection's thread, which may sit in a read, ends by that.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::client_address::{ClientPrefix, contains};
use super::limits::Limits;
use super::listener_counters::ListenerCounters;

/// The most addresses that are remembered for a verified exchange.
const MAX_VERIFIED: usize = 4096;

/// How long the accept loop waits for closed connections to end before it turns a new one away.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// The gate of one listener.
pub(super) struct Gate {
    limits: Limits,
    capacity: usize,
    state: Mutex<State>,
    left: Condvar,
    stopping: AtomicBool,
    /// What was turned away.
    pub(super) counters: ListenerCounters,
}

#[derive(Default)]
struct State {
    /// By number, so the oldest stands first. Closed ones stay until their threads end.
    places: BTreeMap<u64, Place>,
    next: u64,
    /// Places that were closed by the gate and whose threads have not ended yet.
    closed: usize,
    /// Open places of addresses without a verified exchange.
    strangers: usize,
    by_origin: HashMap<ClientPrefix, usize>,
    verified: HashMap<ClientPrefix, Instant>,
}

struct Place {
    line: Arc<Line>,
    origin: ClientPrefix,
    /// Loopback and trusted proxies are not counted by address.
    counted: bool,
    standing: Standing,
    closed: bool,
}

/// What speaks for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing.
    Stranger,
    /// A verified exchange of its address, on another connection.
    Known,
    /// A verified request of its own: it is never closed to make room.
    Verified,
}

/// What a connection's thread and the gate share.
pub(super) struct Line {
    /// The connection itself.
    pub(super) stream: TcpStream,
    busy: AtomicBool,
    answered: AtomicBool,
}

/// There is no room.
struct Full;

impl Gate {
    /// A gate for at most `capacity` connections, which may be fewer than `limits` says.
    pub(super) fn new(limits: Limits, capacity: usize) -> Self {
        Self {
            limits,
            capacity,
            state: Mutex::default(),
            left: Condvar::new(),
            stopping: AtomicBool::new(false),
            counters: ListenerCounters::default(),
        }
    }

    /// The limits that this gate and its connections keep.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Lets `stream` from `peer` in, perhaps in the place of another. Gives the stream back if there is
    /// no room. The place is free again when the seat is dropped.
    pub(super) fn enter(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        now: Instant,
    ) -> Result<Seat, TcpStream> {
        let mut state = self.state.lock();
        if self.make_room(&mut state, peer, now).is_err() {
            self.counters.refused.increment();
            return Err(stream);
        }
        let line = Arc::new(Line { stream, busy: AtomicBool::new(false), answered: AtomicBool::new(false) });
        let origin = ClientPrefix::from(peer);
        let standing = state.standing(origin, now, self.limits.trust_duration);
        let counted = self.is_counted(peer);
        if counted {
            *state.by_origin.entry(origin).or_default() += 1;
        }
        state.strangers += usize::from(standing == Standing::Stranger);
        let id = state.next;
        state.next += 1;
        let place = Place { line: Arc::clone(&line), origin, counted, standing, closed: false };
        state.places.insert(id, place);
        Ok(Seat { gate: Arc::clone(self), id, line })
    }

    /// Closes the oldest connection without a verified request, if there is one.
    pub(super) fn evict(&self) {
        let mut state = self.state.lock();
        self.close_oldest(&mut state, |place| place.standing != Standing::Verified);
    }

    /// Whether connections shall end after their current request.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// From now on connections end after their current request, and those that wait for another end at once.
    /// One that was never answered may still bring its first: [`Gate::hurry`] ends it.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.end_idle(|line| line.answered.load(Ordering::Relaxed));
    }

    /// Ends all connections without a request.
    pub(super) fn hurry(&self) {
        self.end_idle(|_| true);
    }

    fn end_idle(&self, is_meant: impl Fn(&Line) -> bool) {
        for place in self.state.lock().places.values() {
            // A thread sets `busy` to false before it looks at `stopping`, so one of the two sees the
            // other. Only reading ends: should a request have arrived just now, its reply can go out.
            if is_meant(&place.line) && !place.line.busy.load(Ordering::SeqCst) {
                let _ = place.line.stream.shutdown(Shutdown::Read);
            }
        }
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        for place in self.state.lock().places.values() {
            let _ = place.line.stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until no connection is left, at most until `deadline`; gives the number of those left.
    pub(super) fn wait_empty(&self, deadline: Instant) -> usize {
        let mut state = self.state.lock();
        while !state.places.is_empty() && !self.left.wait_until(&mut state, deadline).timed_out() {}
        state.places.len()
    }

    fn make_room(&self, state: &mut MutexGuard<'_, State>, peer: IpAddr, now: Instant) -> Result<(), Full> {
        // Those who were closed still hold a thread and a descriptor until they notice.
        let most_closed = (self.capacity / 8).max(1);
        let deadline = Instant::now() + ROOM_WAIT;
        while state.closed >= most_closed {
            if self.left.wait_until(state, deadline).timed_out() {
                return Err(Full);
            }
        }
        let origin = ClientPrefix::from(peer);
        let of_origin = state.by_origin.get(&origin).copied().unwrap_or(0);
        if self.is_counted(peer) && of_origin >= self.limits.connections_per_address {
            // Someone who shares an address with a crowd of half-open connections gets through; but an
            // address that only uses too many must not close its own in turn.
            let idle = |place: &Place| {
                place.origin == origin && place.counted && !place.line.answered.load(Ordering::Relaxed)
            };
            return if self.close_oldest(state, idle) { Ok(()) } else { Err(Full) };
        }
        let stranger = state.standing(origin, now, self.limits.trust_duration) == Standing::Stranger;
        if stranger && state.strangers >= self.capacity.div_ceil(2) {
            return if self.close_oldest(state, |place| place.standing == Standing::Stranger) {
                Ok(())
            } else {
                Err(Full)
            };
        }
        if state.places.len() - state.closed >= self.capacity {
            return if self.close_oldest(state, |place| place.standing != Standing::Verified) {
                Ok(())
            } else {
                Err(Full)
            };
        }
        Ok(())
    }

    /// Closes the oldest open place that `may` go; false if there is none.
    fn close_oldest(&self, state: &mut State, may: impl Fn(&Place) -> bool) -> bool {
        let Some(place) = state.places.values_mut().find(|place| !place.closed && may(place)) else {
            return false;
        };
        place.closed = true;
        let _ = place.line.stream.shutdown(Shutdown::Both);
        let (origin, counted, standing) = (place.origin, place.counted, place.standing);
        state.closed += 1;
        state.uncount(origin, counted, standing);
        self.counters.evicted.increment();
        true
    }

    fn is_counted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        !peer.is_loopback() && !contains(&self.limits.trusted_proxies, peer)
    }

    fn verified(&self, id: u64, now: Instant) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(place) = state.places.get_mut(&id) else { return };
        if !place.closed {
            let before = std::mem::replace(&mut place.standing, Standing::Verified);
            state.strangers -= usize::from(before == Standing::Stranger);
        }
        let origin = place.origin;
        if state.verified.len() >= MAX_VERIFIED && !state.verified.contains_key(&origin) {
            let keep = self.limits.trust_duration;
            state.verified.retain(|_, at| now.saturating_duration_since(*at) <= keep);
        }
        if state.verified.len() < MAX_VERIFIED || state.verified.contains_key(&origin) {
            state.verified.insert(origin, now);
        }
    }

    fn leave(&self, id: u64) {
        let mut state = self.state.lock();
        if let Some(place) = state.places.remove(&id) {
            if place.closed {
                state.closed -= 1;
            } else {
                state.uncount(place.origin, place.counted, place.standing);
            }
        }
        drop(state);
        self.left.notify_all();
    }
}

impl State {
    /// What speaks for a new connection from `origin`.
    fn standing(&self, origin: ClientPrefix, now: Instant, keep: Duration) -> Standing {
        match self.verified.get(&origin) {
            Some(at) if now.saturating_duration_since(*at) <= keep => Standing::Known,
            _ => Standing::Stranger,
        }
    }

    fn uncount(&mut self, origin: ClientPrefix, counted: bool, standing: Standing) {
        self.strangers -= usize::from(standing == Standing::Stranger);
        if !counted {
            return;
        }
        if let Some(count) = self.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }
}

/// A place behind the gate, owned by the thread of its connection.
pub(super) struct Seat {
    gate: Arc<Gate>,
    id: u64,
    line: Arc<Line>,
}

impl Seat {
    /// The gate that this seat lies behind.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The connection.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.line.stream
    }

    /// A request was read: a stop waits for its reply.
    pub(super) fn set_busy(&self) {
        self.line.busy.store(true, Ordering::SeqCst);
    }

    /// The reply is out.
    pub(super) fn set_idle(&self) {
        self.line.answered.store(true, Ordering::Relaxed);
        self.line.busy.store(false, Ordering::SeqCst);
    }

    /// The connection had a verified exchange, and so had its peer's address: behind a proxy that is the
    /// proxy's, since nothing else is known of the next connection when it is let in.
    pub(super) fn verified(&self) {
        self.gate.verified(self.id, Instant::now());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Peers of this test's gates: each call is a new connection that says it comes from `from`.
    struct Street {
        listener: TcpListener,
        gate: Arc<Gate>,
        clients: Vec<TcpStream>,
        now: Instant,
    }

    impl Street {
        fn new(limits: Limits) -> Self {
            let capacity = limits.connections;
            Self {
                listener: TcpListener::bind("127.0.0.1:0").expect("a free port"),
                gate: Arc::new(Gate::new(limits, capacity)),
                clients: Vec::new(),
                now: Instant::now(),
            }
        }

        fn enter(&mut self, from: &str) -> Option<Seat> {
            let address = self.listener.local_addr().expect("a bound socket");
            self.clients.push(TcpStream::connect(address).expect("a listener"));
            let (stream, _) = self.listener.accept().expect("a connection");
            self.gate.enter(stream, from.parse().expect("an address"), self.now).ok()
        }
    }

    fn limits(connections: usize, connections_per_address: usize) -> Limits {
        Limits { connections, connections_per_address, ..Limits::default() }
    }

    fn is_closed(seat: &Seat) -> bool {
        seat.gate.state.lock().places[&seat.id].closed
    }

    fn closed(seats: &[Seat]) -> Vec<bool> {
        seats.iter().map(is_closed).collect()
    }

    #[test]
    fn strangers_get_half_and_the_oldest_goes() {
        let mut street = Street::new(limits(32, 64));
        let mut seats: Vec<Seat> =
            (0..16).map(|i| street.enter(&format!("192.0.2.{i}")).expect("room")).collect();
        assert!(!closed(&seats).contains(&true));
        seats.push(street.enter("192.0.2.100").expect("the place of the oldest"));
        seats.push(street.enter("192.0.2.101").expect("the place of the second"));
        let expected: Vec<bool> = (0..18).map(|i| i < 2).collect();
        assert_eq!(closed(&seats), expected);
    }

    #[test]
    fn verified_connections_stay_and_their_addresses_have_the_kept_half() {
        let mut street = Street::new(limits(8, 64));
        let member = street.enter("192.0.2.1").expect("room");
        member.verified();
        let mut strangers: Vec<Seat> =
            (0..4).map(|i| street.enter(&format!("198.51.100.{i}")).expect("room")).collect();
        // Three more of the member fit beside the half that strangers took.
        let more: Vec<Seat> = (0..3).map(|_| street.enter("192.0.2.1").expect("room")).collect();
        assert!(!closed(&strangers).contains(&true));
        // All eight are taken: the oldest without a verified request goes, which is a stranger.
        let last = street.enter("192.0.2.1").expect("the place of a stranger");
        assert_eq!(closed(&strangers), [true, false, false, false]);
        drop(strangers.remove(0));
        for seat in more.iter().chain([&last]) {
            seat.verified();
        }
        for seat in &strangers {
            seat.verified();
        }
        assert!(street.enter("203.0.113.1").is_none(), "all eight have a verified request");
        assert!(street.enter("192.0.2.1").is_none(), "all eight have a verified request");
        assert!(!is_closed(&member));
    }

    #[test]
    fn a_verified_exchange_counts_for_ten_minutes() {
        let mut street = Street::new(limits(4, 64));
        street.enter("192.0.2.1").expect("room").verified();
        let check = |street: &mut Street, seconds: u64, known: bool| {
            street.now = Instant::now() + Duration::from_secs(seconds);
            let seat = street.enter("192.0.2.1").expect("room");
            let standing = street.gate.state.lock().places[&seat.id].standing;
            assert_eq!(standing == Standing::Known, known, "after {seconds} s");
        };
        check(&mut street, 0, true);
        check(&mut street, 590, true);
        check(&mut street, 610, false);
    }

    #[test]
    fn one_address() {
        let mut street = Street::new(limits(100, 2));
        let first = street.enter("2001:db8::1").expect("room");
        let second = street.enter("2001:db8::2").expect("room");
        let third = street.enter("2001:db8::3").expect("the place of the half-open first");
        assert_eq!([is_closed(&first), is_closed(&second), is_closed(&third)], [true, false, false]);
        for seat in [&second, &third] {
            seat.set_busy();
            seat.set_idle();
        }
        assert!(street.enter("2001:db8::4").is_none(), "both were answered");
        assert!(street.enter("2001:db8:0:1::1").is_some(), "another network");
        drop(second);
        assert!(street.enter("2001:db8::4").is_some(), "a place was left");
    }

    #[test]
    fn loopback_and_proxies_have_no_limit_of_their_own() {
        let proxies = vec!["10.0.0.0/8".parse().expect("a range")];
        let mut street = Street::new(Limits { trusted_proxies: proxies, ..limits(100, 2) });
        for from in ["127.0.0.1", "::1", "::ffff:127.0.0.9", "10.1.2.3", "::ffff:10.1.2.3"] {
            let seats: Vec<Seat> = (0..5).map(|_| street.enter(from).expect("room")).collect();
            assert!(!closed(&seats).contains(&true), "{from}");
        }
    }

    #[test]
    fn every_count_returns_to_nothing() {
        let mut street = Street::new(limits(16, 3));
        let mut seats = Vec::new();
        for i in 0..200_u8 {
            let seat = street.enter(&format!("192.0.2.{}", i % 7));
            if i % 5 == 0 {
                seat.iter().for_each(Seat::verified);
            }
            seats.extend(seat);
            if i % 3 == 0 {
                seats.remove(usize::from(i) % seats.len());
            }
            seats.retain(|seat| !is_closed(seat));
            assert!(seats.len() <= 16);
        }
        drop(seats);
        let state = street.gate.state.lock();
        assert!(state.places.is_empty() && state.by_origin.is_empty());
        assert_eq!((state.strangers, state.closed), (0, 0));
    }
}

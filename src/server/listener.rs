//! The listener: takes connections on one or several addresses, gives each a thread, and stops in order.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rouille::{Request, Response};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, getrlimit};

use super::connection;
use super::connection_limiter::{ConnectionLimiter, ConnectionPermit};
use super::head::Head;
use super::heartbeat::Heartbeat;
use super::limits::Limits;
use super::listener_counters::CounterLog;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// The most connections taken at one address before the others have their turn. The gate may take 50 ms
/// for each while it waits for room, and a wish to stop should not wait longer than a second.
const ACCEPTS_A_TURN: usize = 16;

/// The longest time between two beats of the heart.
const TURN: Duration = Duration::from_secs(1);

/// Address space for a connection's stack; only what is touched takes memory.
const STACK: usize = 1024 * 1024;

/// How long a thread without a connection waits for the next one: making a thread costs more than many a reply.
const PARKED: Duration = Duration::from_secs(1);

/// The names of the threads that serve connections start with this: a panic there is one request's.
pub const THREAD_PREFIX: &str = "http-";

/// What answers requests: the routes.
pub trait Service: Send + Sync + 'static {
    /// What admission learnt from the head, handed to [`Service::answer`].
    type Ticket: Send;

    /// Judges a request by its head alone, before a byte of its body is read. `remote` is the client's
    /// address, as a trusted proxy tells it; its port is 0 then.
    fn admit(&self, head: &Head, remote: SocketAddr) -> Admission<Self::Ticket>;

    /// Whether a POST without a length is taken as one without a body, as `curl -X POST` sends it. Any other
    /// is answered with 411. Its connection closes either way.
    fn is_bodiless(&self, _head: &Head) -> bool {
        false
    }

    /// Whether the connection closes after the reply: for requests that come again and again, from many, with
    /// pauses in which an open connection would hold a thread.
    fn is_brief(&self, _head: &Head) -> bool {
        false
    }

    /// Answers a request that was admitted. `request.remote_addr()` is the `remote` of admission.
    fn answer(&self, request: Request, ticket: Self::Ticket) -> Response;
}

/// What is to become of a request.
pub enum Admission<T> {
    /// Read the body and answer.
    Read {
        /// The largest body to read, in bytes; a larger one is answered with 413, unread.
        max_body: usize,
        /// Whether the head proves that a member sent it. The connection then is never closed to make
        /// room, and its address has a claim on a connection for a while.
        verified: bool,
        /// For [`Service::answer`].
        ticket: T,
    },
    /// Reply with this, and leave the body unread.
    Refuse(Response),
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// Where; port 0 takes a free one. `[::]` serves IPv4 as well, unless `v6_only`.
    pub address: SocketAddr,
    /// Leaves IPv4 alone.
    pub v6_only: bool,
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Self { address, v6_only: false }
    }
}

impl Bind {
    /// Where a socket listens already.
    fn of(socket: &TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let v6_only = address.is_ipv6() && sockopt::ipv6_v6only(socket)?;
        Ok(Self { address, v6_only })
    }

    /// Whether this takes what arrives for `other`, of the other family.
    fn covers(&self, other: &Self) -> bool {
        self.address.is_ipv6() && other.address.is_ipv4() && !self.v6_only && self.is_any_at(other)
    }

    /// Whether this takes all that arrives for `other`.
    fn serves(&self, other: &Self) -> bool {
        let (own, its) = (self.address, other.address);
        own == its || self.covers(other) || own.is_ipv4() == its.is_ipv4() && self.is_any_at(other)
    }

    /// Whether this is all addresses of its family, at the port of `other`.
    fn is_any_at(&self, other: &Self) -> bool {
        let port = self.address.port();
        self.address.ip().is_unspecified() && port == other.address.port() && port != 0
    }
}

/// Sockets that listen already; connections wait in the kernel until [`Listener::start`].
pub struct Listener {
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    /// How many of the first sockets are [`Inherited::units`].
    from_units: usize,
    limits: Limits,
}

/// Sockets that listened before this process did.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Those that units of the service manager listen on: they are served wherever they are.
    pub units: Vec<TcpListener>,
    /// Those that the process before this one has left: they are used where they are wanted, else closed.
    pub kept: Vec<TcpListener>,
}

impl Listener {
    /// Listens on all of `addresses`, or says which one failed and why. An IPv4 address that a dual-stack
    /// `[::]` with the same port serves anyway is not opened again; on a host without IPv6, `[::]` is
    /// `0.0.0.0`.
    pub fn bind<A: Copy + Into<Bind>>(addresses: &[A], limits: Limits) -> io::Result<Self> {
        Self::bind_beside(Inherited::default(), addresses, limits)
    }

    /// The same with sockets that listen already: `addresses` that one of `inherited` serves are not opened.
    pub fn bind_beside<A: Copy + Into<Bind>>(
        inherited: Inherited,
        addresses: &[A],
        limits: Limits,
    ) -> io::Result<Self> {
        let binds: Vec<Bind> = addresses.iter().map(|address| (*address).into()).collect();
        let Inherited { units, mut kept } = inherited;
        if binds.is_empty() && units.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on"));
        }
        let mut listener =
            Self { sockets: Vec::new(), addresses: Vec::new(), from_units: units.len(), limits };
        let served = units.iter().map(Bind::of).collect::<io::Result<Vec<_>>>()?;
        for socket in units {
            listener.push(socket)?;
        }
        let is_served = |bind: &Bind| {
            binds.iter().any(|other| other.covers(bind)) || served.iter().any(|other| other.serves(bind))
        };
        let own: Vec<&Bind> = binds.iter().filter(|bind| !is_served(bind)).collect();
        // What is no longer wanted is closed first: it may be in the way of what is.
        kept.retain(|socket| Bind::of(socket).is_ok_and(|bind| own.contains(&&bind)));
        for bind in own {
            let at = kept.iter().position(|socket| Bind::of(socket).is_ok_and(|kept| kept == *bind));
            let socket = match at {
                Some(at) => Ok(kept.swap_remove(at)),
                None => open(*bind),
            };
            let socket = socket.map_err(|error| {
                io::Error::new(error.kind(), format!("listening on {}: {error}", bind.address))
            })?;
            listener.push(socket)?;
        }
        Ok(listener)
    }

    fn push(&mut self, socket: TcpListener) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        self.addresses.push(socket.local_addr()?);
        self.sockets.push(socket);
        Ok(())
    }

    /// The addresses with the ports that were taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many of the first addresses are those of the service manager's units.
    pub fn from_units(&self) -> usize {
        self.from_units
    }

    /// Serves connections in threads of its own.
    pub fn start<S: Service>(self, service: Arc<S>) -> io::Result<ListenerHandle> {
        let capacity = capacity(&self.limits);
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let heartbeat = Heartbeat::new();
        let door = Door {
            reporter: CounterLog::new(self.limits.log_interval),
            limiter: Arc::new(ConnectionLimiter::new(self.limits, capacity)),
            service,
            wake: Arc::clone(&wake),
            heartbeat: heartbeat.clone(),
            next: Some(crossbeam_channel::bounded(0)),
            threads: Vec::new(),
            made: 0,
        };
        let sockets = self.sockets;
        let own = sockets[self.from_units..].iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        let thread = thread::Builder::new().name("listener".to_owned()).spawn(|| door.run(sockets))?;
        Ok(ListenerHandle { addresses: self.addresses, own, heartbeat, wake, thread: Some(thread) })
    }
}

/// A listener that runs. Stops when dropped.
pub struct ListenerHandle {
    addresses: Vec<SocketAddr>,
    own: Vec<TcpListener>,
    heartbeat: Heartbeat,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl ListenerHandle {
    /// The addresses with the ports that were taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The sockets that this process listens on, but for those of the service manager's units. Whoever has
    /// a copy when the listener stops keeps them open: connections wait there.
    pub fn own_sockets(&self) -> &[TcpListener] {
        &self.own
    }

    /// Beats at each turn of the accept loop, at least once a second.
    pub fn beat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Takes no more connections, ends idle ones, lets replies finish, and returns once all threads have
    /// ended, after `stop_timeout` at the latest.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.own.clear();
        // Fails only if the counter is full, and then the loop wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if thread.join().is_err() {
            log::error!("the listener's thread had panicked");
        }
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        self.halt();
    }
}

/// The accept loop and what it owns.
struct Door<S> {
    limiter: Arc<ConnectionLimiter>,
    service: Arc<S>,
    wake: Arc<OwnedFd>,
    heartbeat: Heartbeat,
    reporter: CounterLog,
    /// Hands a connection to a thread that waits for one. The threads that wait end when it is dropped.
    next: Option<(Sender<Guest>, Receiver<Guest>)>,
    threads: Vec<JoinHandle<()>>,
    made: u64,
}

/// A connection that was let in.
struct Guest {
    permit: ConnectionPermit,
    peer: SocketAddr,
    accepted: Instant,
}

impl Guest {
    fn serve<S: Service>(&self, service: &S) {
        connection::serve(&self.permit, self.peer, self.accepted, service);
    }
}

impl<S: Service> Door<S> {
    fn run(mut self, sockets: Vec<TcpListener>) {
        let wake = Arc::clone(&self.wake);
        let mut watched = vec![PollFd::new(&wake, PollFlags::IN)];
        watched.extend(sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        let mut paused = false;
        loop {
            self.heartbeat.beat();
            self.join_ended();
            self.reporter.log_counters(&self.limiter.counters, Instant::now());
            // During a pause only the wish to stop wakes the loop.
            let (count, wait) =
                if paused { (1, self.limiter.limits().accept_retry_delay) } else { (watched.len(), TURN) };
            let ready = poll(&mut watched[..count], Some(&timespec(wait.min(TURN))));
            if let Err(error) = ready {
                if error != rustix::io::Errno::INTR {
                    self.reporter.log_accept_failure(&error.into(), Instant::now());
                    thread::sleep(self.limiter.limits().accept_retry_delay);
                }
                continue;
            }
            if !watched[0].revents().is_empty() {
                break;
            }
            if paused {
                paused = false;
                continue;
            }
            for (socket, watch) in sockets.iter().zip(&watched[1..]) {
                if !watch.revents().is_empty() {
                    paused |= !self.accept(socket);
                }
            }
        }
        drop(watched);
        drop(sockets);
        self.finish();
    }

    /// Takes the connections that wait at `socket`; false if that failed and a pause is due.
    fn accept(&mut self, socket: &TcpListener) -> bool {
        for _ in 0..ACCEPTS_A_TURN {
            self.heartbeat.beat();
            let failed = match socket.accept() {
                Ok((stream, peer)) => self.dispatch(stream, peer).err(),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return true,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => None,
                    // The kernel looks for a free descriptor before it looks for a connection.
                    _ if !is_ready(socket) => return true,
                    _ => Some(error),
                },
            };
            if let Some(error) = failed {
                self.reporter.log_accept_failure(&error, Instant::now());
                if is_want(&error) {
                    self.limiter.evict_one();
                }
                return false;
            }
        }
        true
    }

    /// Gives the connection a thread, if there is room: one that waits, or else a new one.
    fn dispatch(&mut self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let accepted = Instant::now();
        let permit = match self.limiter.try_acquire(stream, peer.ip(), accepted) {
            Ok(permit) => permit,
            Err(stream) => {
                turn_away(&stream);
                return Ok(());
            }
        };
        let Some((handing, waiting)) = &self.next else { return Ok(()) };
        let guest = match handing.try_send(Guest { permit, peer, accepted }) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(guest) | TrySendError::Disconnected(guest)) => guest,
        };
        let (service, waiting) = (Arc::clone(&self.service), waiting.clone());
        self.made += 1;
        let name = format!("{THREAD_PREFIX}{}", self.made);
        let serve = move || {
            let mut next = Some(guest);
            while let Some(guest) = next.take() {
                guest.serve(&*service);
                drop(guest);
                next = waiting.recv_timeout(PARKED).ok();
            }
        };
        self.threads.push(thread::Builder::new().name(name).stack_size(STACK).spawn(serve)?);
        Ok(())
    }

    fn join_ended(&mut self) {
        let mut at = 0;
        while at < self.threads.len() {
            if self.threads[at].is_finished() {
                join(self.threads.swap_remove(at));
            } else {
                at += 1;
            }
        }
    }

    fn finish(&mut self) {
        let limits = self.limiter.limits();
        let (start, stop_timeout) = (Instant::now(), limits.stop_timeout);
        self.next = None;
        self.limiter.begin_stop();
        if self.limiter.wait_until_empty(start + limits.first_request_timeout.min(stop_timeout / 2)) > 0 {
            self.limiter.close_idle();
        }
        if self.limiter.wait_until_empty(start + stop_timeout * 3 / 4) > 0 {
            self.limiter.close_all();
        }
        let left = self.limiter.wait_until_empty(start + stop_timeout);
        if left > 0 {
            self.join_ended();
            log::warn!("{left} requests were still being answered at the end, their clients were cut off");
        } else {
            self.threads.drain(..).for_each(join);
        }
    }
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        log::error!("the thread {name} panicked outside of a request");
    }
}

/// How many connections the process can afford: as configured, but at most half of the descriptors that
/// it may open, since probes and files need some as well.
fn capacity(limits: &Limits) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    let most = descriptors.map_or(usize::MAX, |most| most / 2).max(2);
    if most < limits.connections {
        log::warn!(
            "at most {most} instead of {} connections at a time: the process may open only {} files, \
             raise LimitNOFILE",
            limits.connections,
            descriptors.unwrap_or(0)
        );
    }
    limits.connections.min(most)
}

/// Opens the socket of one address.
fn open(bind: Bind) -> io::Result<TcpListener> {
    let no_ipv6 = |error: &io::Error| {
        bind.address.is_ipv6() && error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
    };
    match listen(bind) {
        Err(error) if no_ipv6(&error) && bind.address.ip().is_unspecified() && !bind.v6_only => {
            listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, bind.address.port())).into())
        }
        result => result,
    }
}

fn listen(bind: Bind) -> io::Result<TcpListener> {
    let family = if bind.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart must not wait for connections of the time before.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if bind.address.is_ipv6() {
        // Said either way: the system's default differs from host to host.
        sockopt::set_ipv6_v6only(&socket, bind.v6_only)?;
    }
    rustix::net::bind(&socket, &bind.address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Whether descriptors, threads or memory are used up, so that one connection less would help.
fn is_want(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM | Errno::NOBUFS))
}

/// Whether a connection waits to be accepted.
fn is_ready(socket: &TcpListener) -> bool {
    let mut watched = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut watched, Some(&timespec(Duration::ZERO))).is_ok_and(|ready| ready > 0)
}

/// Answers 503 without a thread, and so without a wait.
fn turn_away(mut stream: &TcpStream) {
    const REPLY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
        Retry-After: 1\r\nContent-Length: 113\r\nConnection: close\r\n\r\n\
        {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
        \"detail\":\"too many connections, try again soon\"}";
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write(REPLY);
        let _ = stream.shutdown(Shutdown::Write);
        // What is here already is read, since unread bytes would turn the close into a reset.
        let _ = stream.read(&mut [0; 4096]);
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

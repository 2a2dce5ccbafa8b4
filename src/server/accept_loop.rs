//! The accept loop: the listener's thread, which accepts connections and passes them to workers.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit};

use super::connection::AcceptedConnection;
use super::connection_limiter::ConnectionLimiter;
use super::handler::Handler;
use super::heartbeat::Heartbeat;
use super::limits::Limits;
use super::listener_counters::CounterLog;
use super::worker_pool::WorkerPool;

/// The maximum number of connections accepted at one address before the next address is served. The limiter
/// may wait 50 ms for each, and a request to stop should wait no longer than a second.
const MAX_ACCEPTS_PER_SOCKET: usize = 16;

/// The maximum time between two heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// An accept loop and what it owns.
pub(super) struct AcceptLoop<H> {
    limiter: Arc<ConnectionLimiter>,
    workers: WorkerPool<H>,
    /// Becomes readable when the loop must stop.
    stop_event: Arc<OwnedFd>,
    heartbeat: Heartbeat,
    log: CounterLog,
}

impl<H: Handler> AcceptLoop<H> {
    pub(super) fn new(
        limits: Limits,
        handler: Arc<H>,
        stop_event: Arc<OwnedFd>,
        heartbeat: Heartbeat,
    ) -> Self {
        let capacity = capacity(&limits);
        let log = CounterLog::new(limits.log_interval);
        Self {
            limiter: Arc::new(ConnectionLimiter::new(limits, capacity)),
            workers: WorkerPool::new(handler),
            stop_event,
            heartbeat,
            log,
        }
    }

    /// Accepts connections at `sockets` until the stop event, then closes the sockets and ends all
    /// connections. A failed accept is logged and retried; it never ends the loop.
    pub(super) fn run(mut self, sockets: Vec<TcpListener>) {
        let stop_event = Arc::clone(&self.stop_event);
        let mut watched = vec![PollFd::new(&stop_event, PollFlags::IN)];
        watched.extend(sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        let mut backing_off = false;
        loop {
            self.heartbeat.beat();
            self.workers.join_ended();
            self.log.log_counters(&self.limiter.counters, Instant::now());
            let retry_delay = self.limiter.limits().accept_retry_delay;
            // While the loop backs off, only the stop event wakes it.
            let (count, timeout) =
                if backing_off { (1, retry_delay) } else { (watched.len(), HEARTBEAT_INTERVAL) };
            let ready = poll(&mut watched[..count], Some(&timespec(timeout.min(HEARTBEAT_INTERVAL))));
            if let Err(error) = ready {
                if error != rustix::io::Errno::INTR {
                    self.log.log_accept_failure(&error.into(), Instant::now());
                    thread::sleep(retry_delay);
                }
                continue;
            }
            if !watched[0].revents().is_empty() {
                break;
            }
            if backing_off {
                backing_off = false;
                continue;
            }
            for (socket, watch) in sockets.iter().zip(&watched[1..]) {
                if !watch.revents().is_empty() {
                    backing_off |= self.accept_pending(socket).is_err();
                }
            }
        }
        drop(watched);
        drop(sockets);
        self.stop_connections();
    }

    /// Accepts the connections that wait at `socket`. Fails if the loop should retry only after a delay; the
    /// failure has been logged.
    fn accept_pending(&mut self, socket: &TcpListener) -> Result<(), AcceptFailed> {
        for _ in 0..MAX_ACCEPTS_PER_SOCKET {
            self.heartbeat.beat();
            let failure = match socket.accept() {
                Ok((stream, peer)) => self.dispatch(stream, peer).err(),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => None,
                    // The kernel needs a free descriptor before it checks for a connection.
                    _ if !has_pending_connection(socket) => return Ok(()),
                    _ => Some(error),
                },
            };
            if let Some(error) = failure {
                self.log.log_accept_failure(&error, Instant::now());
                if is_resource_exhausted(&error) {
                    self.limiter.evict_one();
                }
                return Err(AcceptFailed);
            }
        }
        Ok(())
    }

    /// Passes the connection to a worker, or rejects it if the limiter has no room.
    fn dispatch(&mut self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let accepted_at = Instant::now();
        let senders = self.workers.handler().senders();
        match self.limiter.try_acquire(stream, peer.ip(), senders, accepted_at) {
            Ok(permit) => self.workers.dispatch(AcceptedConnection { permit, peer, accepted_at }),
            Err(stream) => {
                reject_503(&stream);
                Ok(())
            }
        }
    }

    /// Ends all connections within `stop_timeout`: idle ones first, then those that send no request, then the
    /// rest.
    fn stop_connections(&mut self) {
        let (limiter, limits) = (&self.limiter, self.limiter.limits());
        let (start, stop_timeout) = (Instant::now(), limits.stop_timeout);
        self.workers.close();
        limiter.begin_stop();
        if limiter.wait_until_empty(start + limits.first_request_timeout.min(stop_timeout / 2)) > 0 {
            limiter.close_idle();
        }
        if limiter.wait_until_empty(start + stop_timeout * 3 / 4) > 0 {
            limiter.close_all();
        }
        let open = limiter.wait_until_empty(start + stop_timeout);
        if open > 0 {
            self.workers.join_ended();
            log::warn!("stop timeout: cut off {open} connections before their reply was complete");
        } else {
            self.workers.join_all();
        }
    }
}

/// The error of an accept that the loop should retry after a delay.
struct AcceptFailed;

/// Returns the maximum number of connections: as configured, but at most half of the file descriptors that
/// the process may open, since probes and files need some as well.
fn capacity(limits: &Limits) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    let affordable = descriptors.map_or(usize::MAX, |descriptors| descriptors / 2).max(2);
    if affordable < limits.connections {
        log::warn!(
            "connections are limited to {affordable} instead of {}: the process may open only {} files; \
             raise LimitNOFILE=",
            limits.connections,
            descriptors.unwrap_or(0)
        );
    }
    limits.connections.min(affordable)
}

/// Returns whether the process lacks descriptors, threads or memory, so that closing a connection helps.
fn is_resource_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM | Errno::NOBUFS))
}

fn has_pending_connection(socket: &TcpListener) -> bool {
    let mut watched = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut watched, Some(&timespec(Duration::ZERO))).is_ok_and(|ready| ready > 0)
}

/// Answers 503 without a worker, and so without waiting for the client.
fn reject_503(mut stream: &TcpStream) {
    const REPLY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
        Retry-After: 1\r\nContent-Length: 113\r\nConnection: close\r\n\r\n\
        {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
        \"detail\":\"too many connections, try again soon\"}";
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write(REPLY);
        let _ = stream.shutdown(Shutdown::Write);
        // Unread bytes would turn the close into a reset.
        let _ = stream.read(&mut [0; 4096]);
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

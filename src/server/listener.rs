//! The listener: its sockets, its start and its stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

use super::accept_loop::AcceptLoop;
use super::bind_address::BindAddress;
use super::handler::Handler;
use super::heartbeat::Heartbeat;
use super::limits::Limits;
use crate::threads;

/// A set of listening sockets. Connections wait in the kernel until [`Listener::start`].
pub struct Listener {
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    /// The number of leading sockets that are [`InheritedSockets::from_units`].
    unit_sockets: usize,
    limits: Limits,
}

/// Listening sockets that the process received at its start.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// Sockets of the service manager's socket units. They are served at any address.
    pub from_units: Vec<TcpListener>,
    /// Sockets of the previous process. They are served if their address is configured, and closed otherwise.
    pub from_previous: Vec<TcpListener>,
}

/// The error of a listener that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// No address is configured and no socket inherited.
    #[error("no address to listen on")]
    NoAddress,
    /// An address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A listening socket cannot be used.
    #[error("preparing a listening socket: {0}")]
    Socket(#[from] io::Error),
}

impl ListenError {
    /// Returns the kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NoAddress => io::ErrorKind::InvalidInput,
            Self::Address { source, .. } | Self::Socket(source) => source.kind(),
        }
    }
}

impl Listener {
    /// Listens on all of `addresses`. An IPv4 address that a dual-stack `[::]` with the same port serves is
    /// not opened again; on a host without IPv6, `[::]` falls back to `0.0.0.0`.
    pub fn bind<A: Copy + Into<BindAddress>>(addresses: &[A], limits: Limits) -> Result<Self, ListenError> {
        Self::bind_with_inherited(InheritedSockets::default(), addresses, limits)
    }

    /// Like [`Self::bind`], but uses `inherited` sockets for the addresses that they serve.
    pub fn bind_with_inherited<A: Copy + Into<BindAddress>>(
        inherited: InheritedSockets,
        addresses: &[A],
        limits: Limits,
    ) -> Result<Self, ListenError> {
        let configured: Vec<BindAddress> = addresses.iter().map(|address| (*address).into()).collect();
        let InheritedSockets { from_units, mut from_previous } = inherited;
        if configured.is_empty() && from_units.is_empty() {
            return Err(ListenError::NoAddress);
        }
        let unit_addresses = from_units.iter().map(BindAddress::of).collect::<io::Result<Vec<_>>>()?;
        let mut listener =
            Self { sockets: Vec::new(), addresses: Vec::new(), unit_sockets: from_units.len(), limits };
        for socket in from_units {
            listener.add(socket)?;
        }
        let is_served = |address: &BindAddress| {
            configured.iter().any(|other| other.is_dual_stack_for(address))
                || unit_addresses.iter().any(|other| other.serves(address))
        };
        let needed: Vec<BindAddress> =
            configured.iter().filter(|address| !is_served(address)).copied().collect();
        // Closed first, since a socket that is no longer needed may occupy the port of one that is.
        from_previous.retain(|socket| BindAddress::of(socket).is_ok_and(|address| needed.contains(&address)));
        for address in needed {
            let is_same = |socket: &TcpListener| BindAddress::of(socket).is_ok_and(|other| other == address);
            let socket = match from_previous.iter().position(is_same) {
                Some(index) => from_previous.swap_remove(index),
                None => address
                    .listen()
                    .map_err(|source| ListenError::Address { address: address.address, source })?,
            };
            listener.add(socket)?;
        }
        Ok(listener)
    }

    fn add(&mut self, socket: TcpListener) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        self.addresses.push(socket.local_addr()?);
        self.sockets.push(socket);
        Ok(())
    }

    /// Returns the addresses with their actual ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns how many of the first addresses belong to the service manager's socket units.
    pub fn unit_sockets(&self) -> usize {
        self.unit_sockets
    }

    /// Starts a thread that serves connections.
    pub fn start<H: Handler>(self, handler: Arc<H>) -> io::Result<ListenerHandle> {
        let Self { sockets, addresses, unit_sockets, limits } = self;
        let stop_event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let heartbeat = Heartbeat::new();
        let accept_loop = AcceptLoop::new(limits, handler, Arc::clone(&stop_event), heartbeat.clone());
        let retained_sockets =
            sockets[unit_sockets..].iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        let thread = threads::spawn_essential("listener", || accept_loop.run(sockets))?;
        Ok(ListenerHandle { addresses, retained_sockets, heartbeat, stop_event, thread: Some(thread) })
    }
}

/// A handle to a running listener, which stops when the handle is dropped.
pub struct ListenerHandle {
    addresses: Vec<SocketAddr>,
    retained_sockets: Vec<TcpListener>,
    heartbeat: Heartbeat,
    stop_event: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl ListenerHandle {
    /// Returns the addresses with their actual ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the sockets to retain across a restart: all but those of socket units. While a duplicate of
    /// such a socket is open, connections wait there for the next process.
    pub fn retained_sockets(&self) -> &[TcpListener] {
        &self.retained_sockets
    }

    /// Returns the heartbeat of the accept loop, which beats at least once a second.
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Stops accepting, ends idle connections and lets replies finish. Returns once all threads have ended,
    /// or after `stop_timeout`.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.retained_sockets.clear();
        // Fails only if the counter is full, and then the loop wakes as well.
        let _ = rustix::io::write(&self.stop_event, &1_u64.to_ne_bytes());
        if thread.join().is_err() {
            log::error!("the listener thread panicked");
        }
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

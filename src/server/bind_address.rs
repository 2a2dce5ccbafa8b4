//! Addresses to listen on, and the sockets opened for them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// The maximum number of connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindAddress {
    /// The address and port; port 0 means any free port. `[::]` serves IPv4 as well, unless `v6_only`.
    pub address: SocketAddr,
    /// An IPv6 socket does not serve IPv4.
    pub v6_only: bool,
}

impl From<SocketAddr> for BindAddress {
    fn from(address: SocketAddr) -> Self {
        Self { address, v6_only: false }
    }
}

impl BindAddress {
    /// Returns the address of a listening socket.
    pub(super) fn of(socket: &TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let v6_only = address.is_ipv6() && sockopt::ipv6_v6only(socket)?;
        Ok(Self { address, v6_only })
    }

    /// Returns whether this dual-stack address serves the IPv4 address `other`.
    pub(super) fn is_dual_stack_for(&self, other: &Self) -> bool {
        self.address.is_ipv6()
            && other.address.is_ipv4()
            && !self.v6_only
            && self.is_wildcard_at_port_of(other)
    }

    /// Returns whether a socket at this address receives all connections to `other`.
    pub(super) fn serves(&self, other: &Self) -> bool {
        let same_family = self.address.is_ipv4() == other.address.is_ipv4();
        self.address == other.address
            || self.is_dual_stack_for(other)
            || same_family && self.is_wildcard_at_port_of(other)
    }

    fn is_wildcard_at_port_of(&self, other: &Self) -> bool {
        let port = self.address.port();
        self.address.ip().is_unspecified() && port == other.address.port() && port != 0
    }

    /// Opens a listening socket. On a host without IPv6, `[::]` falls back to `0.0.0.0`.
    pub(super) fn listen(self) -> io::Result<TcpListener> {
        let no_ipv6 =
            |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
        let is_wildcard = self.address.is_ipv6() && self.address.ip().is_unspecified();
        match self.open() {
            Err(error) if is_wildcard && !self.v6_only && no_ipv6(&error) => {
                Self::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.address.port()))).open()
            }
            result => result,
        }
    }

    fn open(self) -> io::Result<TcpListener> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        // Otherwise a restart fails until old connections leave TIME_WAIT.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if self.address.is_ipv6() {
            // Set explicitly, since the system's default differs between hosts.
            sockopt::set_ipv6_v6only(&socket, self.v6_only)?;
        }
        rustix::net::bind(&socket, &self.address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket.into())
    }
}

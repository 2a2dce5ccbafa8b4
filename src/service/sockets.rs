//! Sockets that the service manager hands over when it starts the service (`sd_listen_fds(3)`).

use std::io;

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::notify::KEPT_SOCKETS;
use crate::server::InheritedSockets;

/// The sockets that were handed to this process, none if it was started without. To be called once, before
/// there are other threads: it takes the variables out of the environment.
pub(super) fn inherited() -> io::Result<InheritedSockets> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed = ListenFd::from_env();
    let mut inherited = InheritedSockets::default();
    for index in 0..handed.len() {
        let name = names.next().unwrap_or_default();
        let Some(socket) = handed.take_tcp_listener(index)? else { continue };
        if !sockopt::socket_acceptconn(&socket)? {
            let message =
                format!("the socket {name:?} that was handed over does not listen: it needs Accept=no");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if name == KEPT_SOCKETS {
            inherited.from_previous.push(socket);
        } else {
            inherited.from_units.push(socket);
        }
    }
    Ok(inherited)
}

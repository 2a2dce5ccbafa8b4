//! Sockets that the service manager passes to the service at its start (`sd_listen_fds(3)`).

use std::io;

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::notify::STORED_SOCKETS;
use crate::server::InheritedSockets;

/// Returns the passed sockets, if any.
///
/// Removes the variables from the environment: to be called once, before other threads start.
pub(super) fn inherited_sockets() -> io::Result<InheritedSockets> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let mut inherited = InheritedSockets::default();
    for index in 0..passed.len() {
        let name = names.next().unwrap_or_default();
        let Some(socket) = passed.take_tcp_listener(index)? else { continue };
        if !sockopt::socket_acceptconn(&socket)? {
            let message = format!("socket {name:?} from the service manager does not listen: set Accept=no");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if name == STORED_SOCKETS {
            inherited.from_previous.push(socket);
        } else {
            inherited.from_units.push(socket);
        }
    }
    Ok(inherited)
}

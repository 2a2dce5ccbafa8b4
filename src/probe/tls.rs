//! TLS connections to peers, verified with the system's trust store.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// The settings of all connections, once they could be created: reading the trust store takes milliseconds.
static CONFIG: Mutex<Option<Arc<ClientConfig>>> = Mutex::new(None);

/// Returns the settings of all connections. Fails if the system has no trusted certificates; the next call tries again.
pub(super) fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut shared = CONFIG.lock();
    if let Some(config) = &*shared {
        return Ok(config.clone());
    }
    let config = Arc::new(ClientConfig::builder().with_platform_verifier()?.with_no_client_auth());
    Ok(shared.insert(config).clone())
}

/// Prepares to send `request` to `host` (a name or an IP address) through `socket`. The first read of the result makes
/// the handshake and sends the request with its last message; errors of TLS are [`io::ErrorKind::InvalidData`].
pub(super) fn stream<S: Read + Write>(
    config: Arc<ClientConfig>,
    host: &str,
    request: &[u8],
    socket: S,
) -> io::Result<StreamOwned<ClientConnection, JoinedWrites<S>>> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| invalid(rustls::Error::General(format!("{host} is not a server name"))))?;
    let mut connection = ClientConnection::new(config, name).map_err(invalid)?;
    connection.set_buffer_limit(None);
    connection.writer().write_all(request)?;
    Ok(StreamOwned::new(connection, JoinedWrites(socket)))
}

/// A stream that writes several buffers with one call: the messages of rustls are one packet then.
pub(super) struct JoinedWrites<S>(S);

impl<S: Read> Read for JoinedWrites<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<S: Write> Write for JoinedWrites<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match buffers {
            [buffer] => self.0.write(buffer),
            _ => self.0.write(&buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect::<Vec<u8>>()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

//! Messages to the service manager (`sd_notify(3)`): ready, status, reloading, stopping, keep-alive, and stored
//! sockets.
//!
//! Without `NOTIFY_SOCKET` in the environment, nothing is sent.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use sd_notify::NotifyState;

use crate::config::MAX_LISTEN_ADDRESSES;

/// The timeout for sending to a manager that does not read its socket.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The name (`FDNAME=`) of the sockets that the manager stores for the next process of the service.
pub(super) const STORED_SOCKETS: &str = "listen";

/// The length limit of a status text in bytes; `systemctl status` shows it on one line.
const MAX_STATUS: usize = 512;

/// Sender of messages to the service manager. The first failure to send is logged as a warning; none is fatal.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<SocketAddr>,
    status: Mutex<String>,
    failed: AtomicBool,
}

impl Notifier {
    /// Returns a notifier for the socket in `NOTIFY_SOCKET`, or one that sends nothing.
    pub fn from_env() -> Self {
        std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).map_or_else(Self::default, |name| {
            Self::to_socket(&name).unwrap_or_else(|error| {
                log::warn!("NOTIFY_SOCKET={name:?}: {error}; sending no messages to the service manager");
                Self::default()
            })
        })
    }

    /// Returns a notifier for the socket `name`: an absolute path, or `@` and a name in the abstract namespace (unix(7)).
    fn to_socket(name: &OsStr) -> io::Result<Self> {
        let socket = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                let expected = "expected an absolute path or @ and an abstract name";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, expected));
            }
        };
        Ok(Self { socket: Some(socket), ..Self::default() })
    }

    /// Returns whether messages are sent.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Reports that the service is ready, after its start and after each reload.
    pub fn ready(&self, status: &str) {
        let status = one_line(status);
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
        *self.status.lock() = status;
    }

    /// Sends the line that `systemctl status` shows, if it has changed.
    pub fn status(&self, text: &str) {
        let text = one_line(text);
        let mut last = self.status.lock();
        if *last != text {
            self.send(&[NotifyState::Status(&text)]);
            *last = text;
        }
    }

    /// Reports the start of a reload; [`Notifier::ready`] must follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(_) => self.send(&[NotifyState::Reloading]),
        }
    }

    /// Reports the start of a graceful stop.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Sends a keep-alive message.
    pub(super) fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Stores `sockets` in the manager (`FDSTORE=1`, see `FileDescriptorStoreMax=`). If the manager restarts the
    /// service, the next process receives them and clients that connect meanwhile wait; otherwise it closes them.
    pub fn store_sockets(&self, sockets: &[TcpListener]) {
        if !sockets.is_empty() {
            self.send_text(&format!("FDSTORE=1\nFDNAME={STORED_SOCKETS}\n"), sockets);
        }
    }

    /// Removes the stored sockets from the manager, so that the port closes if this process dies.
    pub fn remove_stored_sockets(&self) {
        self.send_text(&format!("FDSTOREREMOVE=1\nFDNAME={STORED_SOCKETS}\n"), &[]);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let mut message = String::new();
        for state in states {
            let _ = writeln!(message, "{state}");
        }
        self.send_text(&message, &[]);
    }

    fn send_text(&self, message: &str, sockets: &[TcpListener]) {
        let Some(socket) = &self.socket else { return };
        match send_datagram(socket, message.as_bytes(), sockets) {
            Ok(()) => self.failed.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    log::warn!("sending {} to the service manager: {error}", message.trim_end());
                }
            }
        }
    }
}

/// Sends one message. A new socket for each message reaches a manager that has restarted since the last one.
fn send_datagram(socket: &SocketAddr, message: &[u8], sockets: &[TcpListener]) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(SEND_TIMEOUT))?;
    sender.connect_addr(socket)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LISTEN_ADDRESSES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for one message"));
    }
    let message = [IoSlice::new(message)];
    rustix::net::sendmsg(&sender, &message, &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Returns `text` without control characters, since a line feed would begin another variable, and with at most
/// [`MAX_STATUS`] bytes.
fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if line.len() > MAX_STATUS {
        let end = (0..=MAX_STATUS).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
        line.truncate(end);
    }
    line
}

#[cfg(test)]
pub(super) mod tests {
    use std::ffi::OsString;
    use std::io::IoSliceMut;
    use std::process::Command;
    use std::sync::atomic::AtomicU32;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

    use super::*;

    /// The timeout for expected messages.
    const DEADLINE: Duration = Duration::from_secs(20);

    /// Receiving end of the socket, as the service manager has it.
    pub(in super::super) struct Manager {
        pub(in super::super) name: OsString,
        socket: UnixDatagram,
    }

    impl Manager {
        /// Binds a unique name that begins with `prefix`; `@` makes it abstract.
        pub(in super::super) fn new(prefix: &str) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!("{prefix}distomon-notify-{}-{count}", std::process::id()));
            let address = Notifier::to_socket(&name).expect("a good name").socket.expect("an address");
            let socket = UnixDatagram::bind_addr(&address).expect("a new name");
            Self { name, socket }
        }

        pub(in super::super) fn notifier(&self) -> Notifier {
            Notifier::to_socket(&self.name).expect("a good name")
        }

        /// Returns the next message.
        pub(in super::super) fn next(&self) -> String {
            self.within(DEADLINE).expect("a message before the deadline")
        }

        /// Returns the pending message and its sockets.
        fn next_with_sockets(&self) -> (String, Vec<TcpListener>) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LISTEN_ADDRESSES))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut message = [0; 4096];
            let mut room = [IoSliceMut::new(&mut message)];
            let got = rustix::net::recvmsg(&self.socket, &mut room, &mut ancillary, RecvFlags::DONTWAIT);
            let length = got.expect("a message").bytes;
            let sockets = ancillary.drain().flat_map(|part| match part {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.map(TcpListener::from).collect(),
                _ => Vec::new(),
            });
            let sockets = sockets.collect();
            (String::from_utf8(message[..length].to_vec()).expect("text"), sockets)
        }

        /// Returns all pending messages.
        pub(in super::super) fn all(&self) -> Vec<String> {
            std::iter::from_fn(|| self.within(Duration::from_millis(1))).collect()
        }

        /// Returns whether a time of this length without a message begins before the deadline.
        pub(in super::super) fn falls_silent(&self, length: Duration) -> bool {
            let start = std::time::Instant::now();
            while start.elapsed() < DEADLINE {
                if self.within(length).is_none() {
                    return true;
                }
            }
            false
        }

        fn within(&self, time: Duration) -> Option<String> {
            let mut message = [0; 4096];
            self.socket.set_read_timeout(Some(time)).expect("a timeout");
            let length = self.socket.recv(&mut message).ok()?;
            Some(String::from_utf8(message[..length].to_vec()).expect("text"))
        }
    }

    impl Drop for Manager {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.name);
        }
    }

    /// Runs the ignored test `name` in a separate process with this environment, since all tests of this process
    /// share one.
    pub(in super::super) fn run_isolated(name: &str, environment: &[(&str, OsString)]) {
        let program = std::env::current_exe().expect("the tests' own program");
        let run = Command::new(program)
            .args(["--exact", name, "--ignored"])
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .envs(environment.iter().cloned())
            .output()
            .expect("the tests' own program runs");
        let out = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && out.contains("1 passed"), "{name}: {out}");
    }

    #[test]
    fn sends_state_changes() {
        for prefix in ["@", "/tmp/"] {
            let manager = Manager::new(prefix);
            let notifier = manager.notifier();
            notifier.ready("3 nodes, 0 online");
            assert_eq!(manager.next(), "READY=1\nSTATUS=3 nodes, 0 online\n");
            notifier.status("3 nodes, 0 online");
            notifier.status("3 nodes, 2 online");
            notifier.status("3 nodes, 2 online");
            assert_eq!(manager.next(), "STATUS=3 nodes, 2 online\n", "only what is new");
            notifier.watchdog();
            assert_eq!(manager.next(), "WATCHDOG=1\n");
            notifier.stopping();
            assert_eq!(manager.next(), "STOPPING=1\nSTATUS=stopping\n");
            assert_eq!(manager.all(), [""; 0]);
        }
    }

    #[test]
    fn stores_and_removes_sockets() {
        let manager = Manager::new("@");
        let notifier = manager.notifier();
        notifier.store_sockets(&[]);
        let sockets: Vec<TcpListener> =
            (0..MAX_LISTEN_ADDRESSES).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        notifier.store_sockets(&sockets);
        let (message, stored) = manager.next_with_sockets();
        assert_eq!(message, "FDSTORE=1\nFDNAME=listen\n");
        let addresses = |sockets: &[TcpListener]| -> Vec<_> {
            sockets.iter().map(|socket| socket.local_addr().expect("its address")).collect()
        };
        assert_eq!(addresses(&stored), addresses(&sockets));
        notifier.remove_stored_sockets();
        assert_eq!(manager.next(), "FDSTOREREMOVE=1\nFDNAME=listen\n");
    }

    #[test]
    fn a_reload_contains_the_time() {
        let manager = Manager::new("@");
        let now_us = || {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
        };
        let before = now_us();
        manager.notifier().reloading();
        let message = manager.next();
        let time_us =
            message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
        let time_us: i64 = time_us.and_then(|number| number.parse().ok()).expect("the time");
        assert!((before..=now_us()).contains(&time_us), "{before} {message}");
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        for (text, expected) in [
            ("5 nodes", "5 nodes".to_owned()),
            ("a\nREADY=1", "a READY=1".to_owned()),
            (&"ü".repeat(400), "ü".repeat(256)),
            (&("x".to_owned() + &"ü".repeat(400)), "x".to_owned() + &"ü".repeat(255)),
        ] {
            assert_eq!(one_line(text), expected, "{text}");
        }
    }

    #[test]
    fn socket_names() {
        for (name, good) in [
            ("/run/systemd/notify", true),
            ("@abstract", true),
            ("relative/path", false),
            ("vsock:2:1234", false),
            (&format!("/{}", "x".repeat(200)), false),
        ] {
            assert_eq!(Notifier::to_socket(OsStr::new(name)).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn a_missing_manager_is_no_error() {
        let disconnected = Notifier::default();
        disconnected.ready("");
        assert!(!disconnected.is_connected());
        let gone = Notifier::to_socket(OsStr::new("@distomon-no-manager")).expect("a good name");
        gone.ready("");
        gone.status("still here");
        assert!(gone.failed.load(Ordering::Relaxed));
    }

    #[test]
    fn sending_to_a_manager_that_does_not_read_times_out() {
        let manager = Manager::new("@");
        let notifier = manager.notifier();
        // The kernel queues net.unix.max_dgram_qlen messages; the next send blocks.
        let sends = (0..100_000).find(|_| {
            notifier.watchdog();
            notifier.failed.load(Ordering::Relaxed)
        });
        assert!(sends.is_some(), "the queue never filled");
    }

    #[test]
    fn the_environment_names_the_socket() {
        let manager = Manager::new("/tmp/");
        run_isolated("service::notify::tests::isolated_ready", &[("NOTIFY_SOCKET", manager.name.clone())]);
        assert_eq!(manager.all(), ["READY=1\nSTATUS=served\n"]);
        run_isolated("service::notify::tests::isolated_ready", &[]);
        assert_eq!(manager.all(), [""; 0]);
    }

    #[test]
    #[ignore = "runs in a separate process with its own environment"]
    fn isolated_ready() {
        Notifier::from_env().ready("served");
    }
}

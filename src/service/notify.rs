//! Messages to the service manager (`sd_notify(3)`): ready, status, reloading, stopping, and signs of life.
//!
//! Without `NOTIFY_SOCKET` in the environment all of it does nothing.

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

/// The longest a message waits for a manager that does not read its socket.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the sockets are called that the manager keeps from one process of the service for the next.
pub(super) const KEPT_SOCKETS: &str = "listen";

/// The most bytes of a status text; more would not fit into one line of `systemctl status` anyway.
const MAX_STATUS: usize = 512;

/// Tells the service manager what becomes of this process. A message that cannot be delivered is a warning
/// once, and never more than that.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<SocketAddr>,
    status: Mutex<String>,
    failed: AtomicBool,
}

impl Notifier {
    /// To the socket that `NOTIFY_SOCKET` names, if it does.
    pub fn from_env() -> Self {
        std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).map_or_else(Self::default, |name| {
            Self::to(&name).unwrap_or_else(|error| {
                log::warn!("NOTIFY_SOCKET={name:?}: {error}; the service manager is told nothing");
                Self::default()
            })
        })
    }

    /// To the socket `name`: an absolute path, or `@` and a name in the abstract namespace (unix(7)).
    fn to(name: &OsStr) -> io::Result<Self> {
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

    /// Whether anybody listens.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The service answers; also the end of a reload, whether or not it changed anything.
    pub fn ready(&self, status: &str) {
        let status = one_line(status);
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
        *self.status.lock() = status;
    }

    /// One line for `systemctl status`. The same text again is not sent again.
    pub fn status(&self, text: &str) {
        let text = one_line(text);
        let mut last = self.status.lock();
        if *last != text {
            self.send(&[NotifyState::Status(&text)]);
            *last = text;
        }
    }

    /// The configuration is read again; [`Notifier::ready`] must follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(_) => self.send(&[NotifyState::Reloading]),
        }
    }

    /// The service stops, on purpose.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// A sign of life.
    pub(super) fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Leaves `sockets` to the manager: if it starts the service again, the next process has them (`FDSTORE=1`
    /// and `FileDescriptorStoreMax=`), and whoever connects meanwhile waits. If not, it closes them.
    pub fn keep(&self, sockets: &[TcpListener]) {
        if !sockets.is_empty() {
            self.send_text(&format!("FDSTORE=1\nFDNAME={KEPT_SOCKETS}\n"), sockets);
        }
    }

    /// The sockets that the manager kept are in use: should this process die, its port is to be closed.
    pub fn take_kept(&self) {
        self.send_text(&format!("FDSTOREREMOVE=1\nFDNAME={KEPT_SOCKETS}\n"), &[]);
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
        match deliver(socket, message.as_bytes(), sockets) {
            Ok(()) => self.failed.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    log::warn!("telling the service manager {}: {error}", message.trim_end());
                }
            }
        }
    }
}

/// A socket for each message: the manager may have started anew, with a new one, since the last.
fn deliver(socket: &SocketAddr, message: &[u8], sockets: &[TcpListener]) -> io::Result<()> {
    let own = UnixDatagram::unbound()?;
    own.set_write_timeout(Some(PATIENCE))?;
    own.connect_addr(socket)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LISTEN_ADDRESSES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for one message"));
    }
    let message = [IoSlice::new(message)];
    rustix::net::sendmsg(&own, &message, &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// What a status may be: a line feed in it would begin another message.
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

    /// The longest a test waits for what must come.
    const DEADLINE: Duration = Duration::from_secs(20);

    /// The service manager's side of the socket.
    pub(in super::super) struct Manager {
        pub(in super::super) name: OsString,
        socket: UnixDatagram,
    }

    impl Manager {
        /// Listens at a new name: `prefix` and something unique. `@` makes it abstract.
        pub(in super::super) fn new(prefix: &str) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!("{prefix}distomon-notify-{}-{count}", std::process::id()));
            let address = Notifier::to(&name).expect("a good name").socket.expect("an address");
            let socket = UnixDatagram::bind_addr(&address).expect("a new name");
            Self { name, socket }
        }

        pub(in super::super) fn notifier(&self) -> Notifier {
            Notifier::to(&self.name).expect("a good name")
        }

        /// The next message.
        pub(in super::super) fn next(&self) -> String {
            self.within(DEADLINE).expect("a message before the deadline")
        }

        /// The next message, which must be there, and the sockets that came with it.
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

        /// All messages that are there.
        pub(in super::super) fn all(&self) -> Vec<String> {
            std::iter::from_fn(|| self.within(Duration::from_millis(1))).collect()
        }

        /// Whether, before the deadline, a time of this length passes without a message.
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

    /// Runs the ignored test `name` in a process of its own with this environment: the environment of this
    /// one is shared by all tests.
    pub(in super::super) fn run_alone(name: &str, environment: &[(&str, OsString)]) {
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
    fn messages() {
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
    fn sockets_are_kept() {
        let manager = Manager::new("@");
        let notifier = manager.notifier();
        notifier.keep(&[]);
        let sockets: Vec<TcpListener> =
            (0..MAX_LISTEN_ADDRESSES).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        notifier.keep(&sockets);
        let (message, kept) = manager.next_with_sockets();
        assert_eq!(message, "FDSTORE=1\nFDNAME=listen\n");
        let addresses = |sockets: &[TcpListener]| -> Vec<_> {
            sockets.iter().map(|socket| socket.local_addr().expect("its address")).collect()
        };
        assert_eq!(addresses(&kept), addresses(&sockets));
        notifier.take_kept();
        assert_eq!(manager.next(), "FDSTOREREMOVE=1\nFDNAME=listen\n");
    }

    #[test]
    fn a_reload_tells_the_time() {
        let manager = Manager::new("@");
        let now_us = || {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
        };
        let before = now_us();
        manager.notifier().reloading();
        let message = manager.next();
        let told =
            message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
        let told: i64 = told.and_then(|number| number.parse().ok()).expect("the time");
        assert!((before..=now_us()).contains(&told), "{before} {message}");
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
    fn names_of_sockets() {
        for (name, good) in [
            ("/run/systemd/notify", true),
            ("@abstract", true),
            ("relative/path", false),
            ("vsock:2:1234", false),
            (&format!("/{}", "x".repeat(200)), false),
        ] {
            assert_eq!(Notifier::to(OsStr::new(name)).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn nobody_listens() {
        let silent = Notifier::default();
        silent.ready("");
        assert!(!silent.is_connected());
        let gone = Notifier::to(OsStr::new("@distomon-nobody-is-here")).expect("a good name");
        gone.ready("");
        gone.status("still here");
        assert!(gone.failed.load(Ordering::Relaxed));
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up_for_ever() {
        let manager = Manager::new("@");
        let notifier = manager.notifier();
        // The kernel keeps net.unix.max_dgram_qlen messages; then a send waits.
        let sends = (0..100_000).find(|_| {
            notifier.watchdog();
            notifier.failed.load(Ordering::Relaxed)
        });
        assert!(sends.is_some(), "the queue never filled");
    }

    #[test]
    fn the_environment_names_the_socket() {
        let manager = Manager::new("/tmp/");
        run_alone("service::notify::tests::alone_ready", &[("NOTIFY_SOCKET", manager.name.clone())]);
        assert_eq!(manager.all(), ["READY=1\nSTATUS=served\n"]);
        run_alone("service::notify::tests::alone_ready", &[]);
        assert_eq!(manager.all(), [""; 0]);
    }

    #[test]
    #[ignore = "the other half of a test: needs its environment"]
    fn alone_ready() {
        Notifier::from_env().ready("served");
    }
}

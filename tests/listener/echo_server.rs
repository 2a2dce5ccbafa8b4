//! A handler whose paths select its behaviour, and a listener that runs it.

use std::io::{Cursor, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use distomon::server::{
    Admission, Handler, Limits, Listener, ListenerHandle, ReceivedRequest, RequestHead, SenderId, limits,
    problem,
};
use rouille::{Response, ResponseBody};

/// The length of the body of `/reply`, of which the buffers of a socket hold only a part.
pub(crate) const REPLY_BYTES: usize = 16 * 1024 * 1024;

/// A handler whose fields observe and control its requests.
pub(crate) struct Echo {
    /// Receives the path of each admitted request.
    pub(crate) admitted: Receiver<String>,
    admitted_sender: Sender<String>,
    /// Each message releases one `/wait`.
    pub(crate) release: Sender<()>,
    released: Receiver<()>,
    /// The number of open bodies of `/large`.
    pub(crate) open_bodies: Arc<AtomicUsize>,
    /// The number of senders to reserve a connection for.
    pub(crate) senders: AtomicUsize,
}

impl Echo {
    pub(crate) fn new() -> Self {
        let (admitted_sender, admitted) = unbounded();
        let (release, released) = unbounded();
        Self {
            admitted,
            admitted_sender,
            release,
            released,
            open_bodies: Arc::default(),
            senders: AtomicUsize::new(0),
        }
    }
}

impl Handler for Echo {
    type Admitted = &'static str;

    fn admit(&self, head: &RequestHead, _: SocketAddr) -> Admission<&'static str> {
        let _ = self.admitted_sender.send(head.path().to_owned());
        let sender = head.header("x-member").map(SenderId::new);
        let max_body_bytes =
            if sender.is_some() { limits::MAX_EXCHANGE_BODY_BYTES } else { limits::MAX_BODY_BYTES };
        match head.path() {
            "/refuse" => Admission::Reject(problem(401, "Unauthorized", "no credentials")),
            "/panic-admit" => panic!("as asked, in admission"),
            _ => Admission::Accept { max_body_bytes, sender, admitted: "admitted" },
        }
    }

    fn senders(&self) -> usize {
        self.senders.load(Ordering::Relaxed)
    }

    fn respond(&self, request: ReceivedRequest, admitted: &&'static str) -> Response {
        assert_eq!(*admitted, "admitted");
        let reserved = (request.body.len(), request.body.capacity());
        let request = request.into_rouille();
        match request.url().as_str() {
            "/panic" => panic!("as asked"),
            "/remote" => Response::text(request.remote_addr().ip().to_string()),
            "/unknown-length" => {
                let data = ResponseBody::from_reader(Cursor::new("no length"));
                Response { data, ..Response::text("") }
            }
            "/panic-body" => Response { data: ResponseBody::from_reader(Panics), ..Response::text("") },
            "/large" => {
                let body = Zeros::new(&self.open_bodies);
                Response { data: ResponseBody::from_reader_and_size(body, 1 << 40), ..Response::text("") }
            }
            "/wait" => {
                let _ = self.released.recv();
                Response::text("waited")
            }
            "/capacity" => Response::text(format!("{} {}", reserved.0, reserved.1)),
            // A body of 16 MiB that needs no memory here.
            "/reply" => {
                let body = Zeros::new(&self.open_bodies);
                Response { data: ResponseBody::from_reader_and_size(body, REPLY_BYTES), ..Response::text("") }
            }
            "/echo" => {
                let mut body = Vec::new();
                request.data().expect("an unread body").read_to_end(&mut body).expect("a body in memory");
                Response::from_data("application/octet-stream", body)
            }
            url => Response::text(format!("{} {url}", request.method())),
        }
    }
}

/// An endless body that is counted while it is open.
struct Zeros(Arc<AtomicUsize>);

impl Zeros {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(b'0');
        Ok(buffer.len())
    }
}

impl Drop for Zeros {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Panics;

impl Read for Panics {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        panic!("as asked, in the body")
    }
}

/// A listener on a free loopback port.
pub(crate) struct Server {
    pub(crate) handle: ListenerHandle,
    pub(crate) echo: Arc<Echo>,
}

impl Server {
    pub(crate) fn start(limits: Limits) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind(&[any], limits).expect("a free port");
        let echo = Arc::new(Echo::new());
        let handle = listener.start(Arc::clone(&echo)).expect("a thread");
        Self { handle, echo }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }
}

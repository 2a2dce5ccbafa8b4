//! A fake node that serves given snapshots with the real listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use distomon::crypto::{PublicKey, token};
use distomon::server::{
    Admission, Handler, Limits, Listener, ListenerHandle, ReceivedRequest, RequestHead, problem,
};
use rouille::{Request, Response, ResponseBody};

use super::{Host, LOGIN, now_s};

/// Node with the networks `lan` and `wan` that accepts tokens signed with `key`.
pub(crate) struct Fake {
    key: PublicKey,
    lan: String,
    /// The number of requests.
    pub(crate) asked: AtomicUsize,
}

impl Handler for Fake {
    type Admitted = ();

    fn admit(&self, _: &RequestHead, _: SocketAddr) -> Admission<()> {
        Admission::Accept { max_body_bytes: 0, sender: None, admitted: () }
    }

    fn respond(&self, request: ReceivedRequest, (): &()) -> Response {
        let request = request.into_rouille();
        self.asked.fetch_add(1, Ordering::SeqCst);
        if request.url() == "/token" {
            return self.token(&request);
        }
        let bearer = request.header("Authorization").and_then(|value| value.strip_prefix("Bearer "));
        let network = request.url().strip_prefix("/view/").unwrap_or("lan").to_owned();
        let good = |token| token::verify(token, &self.key, "a", &network, now_s()).is_ok();
        if !bearer.is_some_and(good) {
            return problem(401, "Unauthorized", "log in\u{1b}[2J first");
        }
        let json = |text: &str| Response::from_data("application/json", text);
        match request.url().as_str() {
            "/view" => json(r#"{"networks":[{"network_id":"wan","nodes":1},{"network_id":"lan"}]}"#),
            "/view/lan" if self.lan == "endless" => {
                let data = ResponseBody::from_reader_and_size(std::io::repeat(b' '), 1 << 40);
                Response { data, ..Response::text("") }
            }
            "/view/lan" if self.lan == "elsewhere" => Response::redirect_302("/view/wan"),
            "/view/lan" => json(&self.lan),
            "/view/wan" => json(&snapshot("wan", "", r#""a":{"status":"online"}"#)),
            _ => problem(404, "Not Found", "no such network"),
        }
    }
}

impl Fake {
    fn token(&self, request: &Request) -> Response {
        // admin:secret
        if request.header("Authorization") != Some("Basic YWRtaW46c2VjcmV0") {
            return problem(401, "Unauthorized", "wrong password");
        }
        match self.lan.as_str() {
            "bad token" => Response::text(r#"{"access_token":"\u001b[2J"}"#),
            "busy" => problem(429, "Too Many Requests", "later"),
            _ => Response::text(r#"{"access_token":"aa.bb.cc","token_type":"bearer","expires_in":1800}"#),
        }
    }
}

/// Returns a current snapshot of node `a`.
pub(crate) fn snapshot(network: &str, more: &str, nodes: &str) -> String {
    let at = now_s() * 1000;
    format!(r#"{{"network_id":"{network}","node_id":"a","generated_at":{at},{more}"nodes":{{{nodes}}}}}"#)
}

/// Host with a running fake node.
pub(crate) struct Running {
    pub(crate) host: Host,
    pub(crate) url: String,
    pub(crate) fake: Arc<Fake>,
    _handle: ListenerHandle,
}

pub(crate) fn running(lan: impl Into<String>) -> Running {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(&[any], Limits::default()).expect("a free port");
    let address = listener.addresses()[0];
    let host = Host::new(address.port(), LOGIN);
    let fake = Arc::new(Fake { key: host.key.clone(), lan: lan.into(), asked: AtomicUsize::new(0) });
    let handle = listener.start(fake.clone()).expect("a thread");
    Running { host, url: format!("http://{address}"), fake, _handle: handle }
}

/// The nodes of a network without problems.
pub(crate) const BOTH_UP: &str = r#""a":{"status":"online","keys":1},"b":{"status":"online","keys":1}"#;

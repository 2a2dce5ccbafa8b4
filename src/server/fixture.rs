//! Test instances, requests to them, and their replies.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;

use rouille::{Request, Response};

use super::ServedInstance;
use crate::crypto::password::Password;
use crate::store::fixture::Net;

/// The password of every test instance.
pub(crate) const PASSWORD: &str = "correct horse";

/// Creates an instance of these networks with [`PASSWORD`].
pub(crate) fn instance(networks: &[&Net]) -> ServedInstance {
    let nodes = networks.iter().map(|net| (net.id.clone(), Arc::new(net.busy_node())));
    ServedInstance {
        name: "main".to_owned(),
        nodes: nodes.collect(),
        login: Some(Password::from_plain(PASSWORD)),
        secure: false,
    }
}

/// Creates a request from this host.
pub(crate) fn request(method: &str, url: &str, fields: &[(&str, &str)], body: &str) -> Request {
    request_from("127.0.0.1:5", method, url, fields, body)
}

pub(crate) fn request_from(
    from: &str,
    method: &str,
    url: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Request {
    let from: SocketAddr = from.parse().expect("an address");
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request::fake_http_from(from, method, url, fields, body.as_bytes().to_vec())
}

/// Returns a header field of a reply.
pub(crate) fn field<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    let (_, value) = response.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(value)
}

/// Returns the body of a reply.
pub(crate) fn text(response: Response) -> String {
    let (mut reader, size) = response.data.into_reader_and_size();
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    assert_eq!(size.unwrap_or(text.len()), text.len());
    text
}

/// Returns the body of a reply as JSON.
pub(crate) fn json(response: Response) -> serde_json::Value {
    serde_json::from_str(&text(response)).expect("JSON")
}

use super::*;
use crate::crypto::dsse;
use crate::crypto::http_signature::SignatureParams;
use crate::mesh::Event;
use crate::mesh::wire::report::PAYLOAD_TYPE;
use crate::server::fixture::{field, json, text};
use crate::store::fixture::{self, Net, node_id};

fn admitted(net: &Net, node: &Arc<NetworkHandle>, body: &str) -> AdmittedExchange {
    let path = net.membership.own().exchange_path(&net.id);
    let content_digest = crypto::content_digest(body.as_bytes());
    let nonce = Nonce { epoch: 1, counter: 1 };
    let sender = node_id(2);
    let params = SignatureParams { keyid: sender.as_str(), created_s: 1, nonce };
    let parts = RequestParts { path: &path, to: "node-00", content_digest: &content_digest };
    let head = http_signature::sign_request(&net.keys[2], &params, &parts);
    let signed =
        SignedHead { path, content_digest, signature_input: head.signature_input, signature: head.signature };
    AdmittedExchange {
        node: node.clone(),
        sender_id: SenderId::new("net/node-02"),
        sender,
        limits: ExchangeLimits::new(10_000),
        signed,
        nonce,
        verified_in: Duration::ZERO,
    }
}

fn respond_to(body: &str, admitted: &AdmittedExchange, capacity: &ExchangeCapacity) -> Response {
    let limits = SharedLimits { rates: &ExchangeRates::default(), capacity };
    respond(body.as_bytes().to_vec(), admitted, limits)
}

fn exchange(net: &Net, node: &Arc<NetworkHandle>, body: &str) -> Response {
    respond_to(body, &admitted(net, node, body), &ExchangeCapacity::default())
}

#[test]
fn a_forged_report_does_not_exhaust_the_rate_limit_of_others() {
    let net = Net::new("net", 3);
    let (node, events) = net.node_with_events();
    let node = Arc::new(node);
    let good = net.report(1, fixture::now());
    // Claims to be of node 2, but is signed by node 1.
    let forged = dsse::seal(
        &net.keys[1],
        "node-02",
        PAYLOAD_TYPE,
        &net.report(2, fixture::now()).report().to_payload(),
    );
    let body = format!("{{\"v\":2,\"heads\":{{}},\"reports\":[{},{forged}]}}", good.envelope());
    assert_eq!(exchange(&net, &node, &body).status_code, 400);
    let Some(Event::RequestReceived { from, received }) = events.try_iter().next() else {
        panic!("no event was sent")
    };
    assert_eq!(from, node_id(2));
    let reports: Vec<_> = received.reports.iter().map(|report| (report.author(), report.id())).collect();
    assert_eq!(reports, [(good.author(), good.id())]);
}

#[test]
fn a_detail_that_quotes_the_sender_is_truncated() {
    let net = Net::new("net", 3);
    let (node, _events) = net.node_with_events();
    let body = format!("{{\"v\":2,\"now\":\"{}\"}}", "ä".repeat(100_000));
    let response = exchange(&net, &Arc::new(node), &body);
    assert_eq!(response.status_code, 400);
    let text = text(response);
    assert!(text.len() < 1_000 && text.contains('…'), "{} bytes", text.len());
}

#[test]
fn a_request_beyond_the_share_of_its_sender_is_counted_and_its_reply_signed() {
    let net = Net::new("net", 3);
    let (node, _events) = net.node_with_events();
    let node = Arc::new(node);
    let response = admitted(&net, &node, "").reject_beyond_share();
    assert_eq!(node.drop_counters.counts().rejected_requests, 1);
    assert_eq!(response.status_code, 429);
    assert!(field(&response, "Signature").is_some());
    let detail = json(response)["detail"].clone();
    assert_eq!(detail, "other requests of this node use up its share of memory");
}

#[test]
fn errors_are_signed_up_to_a_limit_and_all_counted() {
    let net = Net::new("net", 3);
    let (node, _events) = net.node_with_events();
    let node = Arc::new(node);
    let (admitted, rates) = (admitted(&net, &node, ""), ExchangeRates::default());
    let mut is_signed = Vec::new();
    for _ in 0..30 {
        let error = ExchangeError::too_many("the requests of this node exceed its rate limit");
        let response = admitted.reject_limited(&error, &rates, RejectStage::RateLimit);
        assert_eq!(response.status_code, 429);
        is_signed.push(field(&response, "Signature").is_some());
    }
    assert!(is_signed[..10].iter().all(|signed| *signed) && is_signed.contains(&false), "{is_signed:?}");
    assert_eq!(node.drop_counters.counts().rejected_requests, 30);
}

#[test]
fn a_request_beyond_the_capacity_is_answered_busy_and_signed() {
    let net = Net::new("net", 3);
    let (node, events) = net.node_with_events();
    let node = Arc::new(node);
    let body = "{\"v\":2,\"heads\":{},\"reports\":[]}";
    let capacity = &ExchangeCapacity::default();
    let others = ["net/node-01", "net/node-03"].map(SenderId::new);
    let take = |sender| std::iter::from_fn(move || capacity.try_take_answer_slot(sender));
    let slots: Vec<_> = others.iter().flat_map(take).collect();
    let admitted = admitted(&net, &node, body);
    let busy = respond_to(body, &admitted, capacity);
    assert_eq!(busy.status_code, 503);
    assert!(field(&busy, "Signature").is_some());
    assert_eq!(events.try_iter().count(), 0, "the request was not processed");
    drop(slots);
    assert_eq!(respond_to(body, &admitted, capacity).status_code, 200);
}

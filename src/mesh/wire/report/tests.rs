//! Received reports: accepted unchanged, or rejected with the reason.

use super::*;
use crate::crypto::Keypair;
use crate::mesh::id::ReportId;
use crate::mesh::sample;
use serde_json::{Value, json};

/// An envelope over `payload` with the `keyid`, signed by `key`.
fn envelope(key: &Keypair, keyid: &str, payload: &Value) -> String {
    dsse::seal(key, keyid, PAYLOAD_TYPE, payload.to_string().as_bytes())
}

fn payload() -> Value {
    serde_json::to_value(sample::report(1, 5, 3)).expect("plain members")
}

fn parse_and_verify(json: &str) -> Result<VerifiedReport, ReportError> {
    let membership = sample::membership(&sample::members(3), 0);
    UnverifiedReport::parse(json, &membership)?.verify(&membership)
}

#[test]
fn verified_report_is_the_signed_one() {
    let text = envelope(&sample::keypair(1), "node-01", &payload());
    let report = parse_and_verify(&text).expect("a valid report");
    assert_eq!(report.id(), ReportId { epoch: 5, seq: 3 });
    assert_eq!(report.author(), &sample::node_id(1));
    assert_eq!(&**report.envelope(), text, "relayed unchanged");
    assert_eq!(report.digest(), &<Digest>::from(Sha256::digest(payload().to_string())));
    assert_eq!(report.report(), &sample::report(1, 5, 3));
}

#[test]
fn invalid_payloads_are_rejected() {
    let long = "1".repeat(33);
    let too_big = MAX_INTEGER + 1;
    let online = json!({"status": "online", "since": 1});
    for (key, value, expected) in [
        ("network_id", json!("other"), ReportError::OtherNetwork),
        ("node_id", json!("node-02"), ReportError::OtherSigner),
        ("node_id", json!("../../etc"), ReportError::Malformed),
        ("epoch", json!(0), ReportError::Malformed),
        ("epoch", json!(too_big), ReportError::Malformed),
        ("seq", json!(0), ReportError::Malformed),
        ("seq", json!(-1), ReportError::Malformed),
        ("seq", json!(1.5), ReportError::Malformed),
        ("seq", json!(too_big), ReportError::Malformed),
        ("at", json!(too_big), ReportError::Malformed),
        ("interval_ms", json!(too_big), ReportError::Malformed),
        ("prev", json!("AAAA"), ReportError::Malformed),
        ("version", json!(long), ReportError::Malformed),
        ("version", json!("<script>"), ReportError::Malformed),
        ("config", json!(long), ReportError::Malformed),
        ("config", json!("a\"b"), ReportError::Malformed),
        ("isolated", json!("no"), ReportError::Malformed),
        ("observations", json!({"node-02": {"status": "dead", "since": 1}}), ReportError::Malformed),
        ("observations", json!({"node-02": {"status": "online", "since": too_big}}), ReportError::Malformed),
        ("observations", json!({"node-02": {"status": "online"}}), ReportError::Malformed),
        ("observations", json!({"/": online}), ReportError::Malformed),
        (
            "observations",
            json!({"node-02": {"status": "online", "since": 1, "clock_offset_ms": i64::MIN}}),
            ReportError::Malformed,
        ),
        (
            "observations",
            json!({"node-02": {"status": "offline", "since": 1, "head": [too_big, 1]}}),
            ReportError::Malformed,
        ),
    ] {
        let mut payload = payload();
        payload[key] = value.clone();
        let error =
            parse_and_verify(&envelope(&sample::keypair(1), "node-01", &payload)).expect_err("rejected");
        assert_eq!(error, expected, "{key} = {value}");
    }
    for missing in ["network_id", "node_id", "epoch", "seq", "observations", "leaving"] {
        let mut payload = payload();
        payload.as_object_mut().expect("an object").remove(missing);
        let error =
            parse_and_verify(&envelope(&sample::keypair(1), "node-01", &payload)).expect_err("rejected");
        assert_eq!(error, ReportError::Malformed, "without {missing}");
    }
}

#[test]
fn invalid_envelopes_are_rejected() {
    let (own, other) = (sample::keypair(1), sample::keypair(2));
    let mut unknown = payload();
    unknown["node_id"] = json!("unknown");
    let mut swapped: Value = serde_json::from_str(&envelope(&own, "node-01", &payload())).expect("own JSON");
    let other_envelope = dsse::seal(&own, "node-01", PAYLOAD_TYPE, b"something else");
    let other_envelope: Value = serde_json::from_str(&other_envelope).expect("own JSON");
    swapped["signatures"] = other_envelope["signatures"].clone();
    let mut stripped = swapped.clone();
    stripped["signatures"] = json!([]);
    let mut large = payload();
    large["more"] = json!("x".repeat(dsse::MAX_PAYLOAD));
    let nested = format!("{{\"payload\":{}", "[".repeat(100_000));
    for (what, text, expected) in [
        ("signed by another key", envelope(&other, "node-01", &payload()), ReportError::BadSignature),
        ("signature of another payload", swapped.to_string(), ReportError::BadSignature),
        ("no signature", stripped.to_string(), ReportError::Malformed),
        ("keyid of another node", envelope(&other, "node-02", &payload()), ReportError::OtherSigner),
        ("not a member", envelope(&own, "unknown", &unknown), ReportError::UnknownAuthor),
        ("larger than 128 KiB", envelope(&own, "node-01", &large), ReportError::TooLarge),
        ("deeply nested", nested, ReportError::Malformed),
        ("empty", String::new(), ReportError::Malformed),
        ("a number", "7".to_owned(), ReportError::Malformed),
    ] {
        assert_eq!(parse_and_verify(&text).expect_err("rejected"), expected, "{what}");
    }
}

#[test]
fn report_of_the_maximum_size_is_accepted() {
    let mut payload = payload();
    payload["more"] = json!("");
    let remaining = dsse::MAX_PAYLOAD - payload.to_string().len();
    payload["more"] = json!("x".repeat(remaining));
    parse_and_verify(&envelope(&sample::keypair(1), "node-01", &payload)).expect("at the maximum size");
}

#[test]
fn reports_verify_with_any_key_of_the_author_and_not_without() {
    let mut members = sample::members(2);
    members[1].keys.clear();
    let membership = sample::membership(&members, 0);
    let text = envelope(&sample::keypair(1), "node-01", &payload());
    assert_eq!(UnverifiedReport::parse(&text, &membership).err(), Some(ReportError::UnknownAuthor));
    members[1].keys = [8, 1].map(|number| sample::keypair(number).public().clone()).to_vec();
    let membership = sample::membership(&members, 0);
    let report = UnverifiedReport::parse(&text, &membership).and_then(|report| report.verify(&membership));
    assert_eq!(report.expect("either key verifies").key(), sample::keypair(1).public());
}

#[test]
fn observations_of_unknown_nodes_are_dropped_and_unknown_errors_are_other() {
    let mut payload = payload();
    payload["observations"] = json!({
        "unknown": {"status": "online", "since": 1},
        "node-02": {"status": "offline", "since": 2, "error": "on fire", "head": [4, 9], "new": {"a": [1]}},
        "node-00": {"status": "online", "since": 3, "rtt_us": 5, "took_us": 6, "clock_offset_ms": -3},
    });
    let report =
        parse_and_verify(&envelope(&sample::keypair(1), "node-01", &payload)).expect("a valid report");
    let ids: Vec<_> = report.report().observations.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["node-00", "node-02"]);
    let observation = report.report().observation("node-02").expect("it is there");
    assert_eq!(observation.error, Some(crate::mesh::wire::observation::Failure::Other));
    assert_eq!(observation.head, Some(ReportId { epoch: 4, seq: 9 }));
    assert!(report.report().observation("unknown").is_none());
}

#[test]
fn two_observations_of_one_node_are_rejected() {
    let text = payload().to_string();
    let one = "\"node-02\":{\"status\":\"online\",\"since\":1}";
    let text = text.replace("\"observations\":{}", &format!("\"observations\":{{{one},{one}}}"));
    let sealed = dsse::seal(&sample::keypair(1), "node-01", PAYLOAD_TYPE, text.as_bytes());
    assert_eq!(parse_and_verify(&sealed).err(), Some(ReportError::Malformed));
}

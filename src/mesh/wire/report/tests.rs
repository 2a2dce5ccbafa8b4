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
    let long = "1".repeat(45);
    let too_big = MAX_INTEGER + 1;
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
        ("observations", json!([]), ReportError::Malformed),
        ("v", json!("2"), ReportError::Malformed),
        ("v", json!(1), ReportError::OtherProtocol),
        ("v", json!(3), ReportError::OtherProtocol),
    ] {
        let mut payload = payload();
        payload[key] = value.clone();
        let error =
            parse_and_verify(&envelope(&sample::keypair(1), "node-01", &payload)).expect_err("rejected");
        assert_eq!(error, expected, "{key} = {value}");
    }
    for missing in ["network_id", "node_id", "epoch", "seq", "observations", "v", "prev", "isolated"] {
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
    large["more"] = json!("x".repeat(max_payload_bytes(2)));
    let mut largest = payload();
    largest["more"] = json!("x".repeat(dsse::MAX_PAYLOAD));
    let other_type = dsse::seal(&own, "node-01", "application/vnd.distomon.report.v1+json", b"{}");
    let nested = format!("{{\"payload\":{}", "[".repeat(100_000));
    for (what, text, expected) in [
        ("signed by another key", envelope(&other, "node-01", &payload()), ReportError::BadSignature),
        ("signature of another payload", swapped.to_string(), ReportError::BadSignature),
        ("no signature", stripped.to_string(), ReportError::Malformed),
        ("keyid of another node", envelope(&other, "node-02", &payload()), ReportError::OtherSigner),
        ("not a member", envelope(&own, "unknown", &unknown), ReportError::UnknownAuthor),
        ("larger than two observations need", envelope(&own, "node-01", &large), ReportError::TooLarge),
        ("larger than 128 KiB", envelope(&own, "node-01", &largest), ReportError::TooLarge),
        ("payload type of version 1", other_type, ReportError::OtherProtocol),
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
    let remaining = max_payload_bytes(2) - payload.to_string().len();
    for (bytes, expected) in [(remaining, None), (remaining + 1, Some(ReportError::TooLarge))] {
        payload["more"] = json!("x".repeat(bytes));
        let result = parse_and_verify(&envelope(&sample::keypair(1), "node-01", &payload));
        assert_eq!(result.err(), expected, "{bytes}");
    }
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
fn reports_of_a_later_release_are_read_as_far_as_possible() {
    let digest = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let mut payload = payload();
    let later = json!({
        "began": {"at": 5}, "up_ms": f64::MAX, "boot": "short", "prior": [1, 2], "held": 5, "leaving": "later",
        "overloaded": "rather", "lateness_ms": 0.5, "state_writable": 1, "policy": "AAAA", "can_send": ["AAAA"],
        "incidents": "x".repeat(MAX_INCIDENTS), "marks": {"x": "y".repeat(MAX_MARKS)},
        "checks": "x".repeat(MAX_CHECKS), "config_version": "2", "log": {"size": 1}, "new": [{"a": 1}],
        "observations": {
            "node-00": {"status": "dozing", "since": 1, "new": {}},
            "node-02": {"status": "online"},
            "not a name": {"status": "online", "since": 1},
        },
    });
    payload.as_object_mut().expect("an object").extend(later.as_object().expect("an object").clone());
    let read = |payload: &Value| {
        let report = parse_and_verify(&envelope(&sample::keypair(1), "node-01", payload)).expect("a report");
        report.report().clone()
    };
    let dozing = Observation::new(crate::mesh::wire::observation::ProbeStatus::Unknown, 1);
    let expected = Report { observations: vec![(sample::node_id(0), dozing)], ..sample::report(1, 5, 3) };
    assert_eq!(read(&payload), expected, "all else counts as missing");

    // The reserved members within their bounds.
    let reserved = json!({
        "began": 7, "up_ms": 8, "boot": "AAECAwQFBgc=", "prior": [4, 5, true], "held": digest,
        "leaving": {"kind": "nap", "expect_ms": 9}, "overloaded": true, "lateness_ms": 10, "state_writable": false,
        "policy": digest, "can_send": vec!["AAECAwQF"; 32], "incidents": "x".repeat(MAX_INCIDENTS - 2),
        "marks": {"a": [1]}, "checks": "x".repeat(MAX_CHECKS - 2), "config_version": 11,
        "log": {"size": 12, "root": digest, "new": 1},
    });
    payload.as_object_mut().expect("an object").extend(reserved.as_object().expect("an object").clone());
    let report = read(&payload);
    assert_eq!((report.began_ms, report.up_ms, report.lateness_ms), (Some(7), Some(8), Some(10)));
    assert_eq!(report.boot, Some(Base64Bytes([0, 1, 2, 3, 4, 5, 6, 7])));
    assert_eq!(report.prior, Some(PriorRun { report: ReportId { epoch: 4, seq: 5 }, clean: true }));
    assert_eq!((report.held, report.held), (report.policy, report.log.map(|log| log.root)));
    let stop = LeaveNotice { kind: crate::mesh::wire::leave::LeaveKind::Stop, expect_ms: Some(9) };
    assert_eq!(report.leaving, Some(stop));
    assert_eq!((report.overloaded, report.state_writable), (Some(true), Some(false)));
    assert_eq!(report.can_send.as_ref().map(|hashes| hashes.0.len()), Some(32));
    assert_eq!(report.config_version, Some(11));
    assert_eq!(report.marks.as_ref().map(ReservedJson::get), Some("{\"a\":[1]}"));
    assert!(report.incidents.is_some() && report.checks.is_some() && report.held.is_some());
    // They are written as they were read.
    let written = report.to_payload();
    assert_eq!(serde_json::from_slice::<Report>(&written).expect("own JSON"), report);
    payload["can_send"] = json!(vec!["AAECAwQF"; 33]);
    assert_eq!(read(&payload).can_send, None, "more than 32");
}

#[test]
fn two_observations_of_one_node_are_rejected() {
    let text = payload().to_string();
    let one = "\"node-02\":{\"status\":\"online\",\"since\":1}";
    let text = text.replace("\"observations\":{}", &format!("\"observations\":{{{one},{one}}}"));
    let sealed = dsse::seal(&sample::keypair(1), "node-01", PAYLOAD_TYPE, text.as_bytes());
    assert_eq!(parse_and_verify(&sealed).err(), Some(ReportError::Malformed));
}

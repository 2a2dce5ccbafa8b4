//! Reports as others send them: taken unchanged, or refused with the reason.

use super::*;
use crate::crypto::Keypair;
use crate::mesh::id::ReportId;
use crate::mesh::sample;
use serde_json::{Value, json};

/// An envelope over `payload` by `key`, as `keyid` names it.
fn envelope(key: &Keypair, keyid: &str, payload: &Value) -> String {
    dsse::seal(key, keyid, payload.to_string().as_bytes())
}

fn payload() -> Value {
    serde_json::to_value(sample::report(1, 5, 3)).expect("plain members")
}

fn take(json: &str) -> Result<VerifiedReport, ReportError> {
    let membership = sample::membership(&sample::members(3), 0);
    UnverifiedReport::parse(json, &membership)?.verify(&membership)
}

#[test]
fn what_was_signed_is_what_is_held() {
    let text = envelope(&sample::keypair(1), "node-01", &payload());
    let report = take(&text).expect("a good report");
    assert_eq!(report.id(), ReportId { epoch: 5, seq: 3 });
    assert_eq!(report.author(), &sample::node_id(1));
    assert_eq!(&**report.envelope(), text, "it is relayed unchanged");
    assert_eq!(report.digest(), &<Digest>::from(Sha256::digest(payload().to_string())));
    assert_eq!(report.report(), &sample::report(1, 5, 3));
}

#[test]
fn payloads_that_are_refused() {
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
        let error = take(&envelope(&sample::keypair(1), "node-01", &payload)).expect_err("refused");
        assert_eq!(error, expected, "{key} = {value}");
    }
    for missing in ["network_id", "node_id", "epoch", "seq", "observations", "leaving"] {
        let mut payload = payload();
        payload.as_object_mut().expect("an object").remove(missing);
        let error = take(&envelope(&sample::keypair(1), "node-01", &payload)).expect_err("refused");
        assert_eq!(error, ReportError::Malformed, "without {missing}");
    }
}

#[test]
fn envelopes_that_are_refused() {
    let (own, other) = (sample::keypair(1), sample::keypair(2));
    let mut stranger = payload();
    stranger["node_id"] = json!("stranger");
    let mut swapped: Value = serde_json::from_str(&envelope(&own, "node-01", &payload())).expect("own JSON");
    let donor = dsse::seal(&own, "node-01", b"something else");
    let donor: Value = serde_json::from_str(&donor).expect("own JSON");
    swapped["signatures"] = donor["signatures"].clone();
    let mut stripped = swapped.clone();
    stripped["signatures"] = json!([]);
    let mut large = payload();
    large["more"] = json!("x".repeat(dsse::MAX_PAYLOAD));
    let nested = format!("{{\"payload\":{}", "[".repeat(100_000));
    for (what, text, expected) in [
        ("another's key", envelope(&other, "node-01", &payload()), ReportError::BadSignature),
        ("signature of another payload", swapped.to_string(), ReportError::BadSignature),
        ("no signature", stripped.to_string(), ReportError::Malformed),
        ("another's name", envelope(&other, "node-02", &payload()), ReportError::OtherSigner),
        ("not a member", envelope(&own, "stranger", &stranger), ReportError::UnknownAuthor),
        ("larger than 128 KiB", envelope(&own, "node-01", &large), ReportError::TooLarge),
        ("deeply nested", nested, ReportError::Malformed),
        ("empty", String::new(), ReportError::Malformed),
        ("a number", "7".to_owned(), ReportError::Malformed),
    ] {
        assert_eq!(take(&text).expect_err("refused"), expected, "{what}");
    }
}

#[test]
fn a_report_of_full_size_is_taken() {
    let mut payload = payload();
    payload["more"] = json!("");
    let room = dsse::MAX_PAYLOAD - payload.to_string().len();
    payload["more"] = json!("x".repeat(room));
    take(&envelope(&sample::keypair(1), "node-01", &payload)).expect("just small enough");
}

#[test]
fn an_author_without_a_key_takes_no_part() {
    let mut members = sample::members(2);
    members[1].keys.clear();
    let membership = sample::membership(&members, 0);
    let text = envelope(&sample::keypair(1), "node-01", &payload());
    assert_eq!(UnverifiedReport::parse(&text, &membership).err(), Some(ReportError::UnknownAuthor));
    members[1].keys = [8, 1].map(|number| sample::keypair(number).public().clone()).to_vec();
    let membership = sample::membership(&members, 0);
    let report = UnverifiedReport::parse(&text, &membership).and_then(|report| report.verify(&membership));
    assert_eq!(report.expect("either key counts").key(), sample::keypair(1).public());
}

#[test]
fn observations_of_strangers_are_ignored_and_unknown_errors_are_other() {
    let mut payload = payload();
    payload["observations"] = json!({
        "stranger": {"status": "online", "since": 1},
        "node-02": {"status": "offline", "since": 2, "error": "on fire", "head": [4, 9], "new": {"a": [1]}},
        "node-00": {"status": "online", "since": 3, "rtt_us": 5, "took_us": 6, "clock_offset_ms": -3},
    });
    let report = take(&envelope(&sample::keypair(1), "node-01", &payload)).expect("a good report");
    let ids: Vec<_> = report.report().observations.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["node-00", "node-02"]);
    let found = report.report().observation("node-02").expect("it is there");
    assert_eq!(found.error, Some(crate::mesh::wire::observation::Failure::Other));
    assert_eq!(found.head, Some(ReportId { epoch: 4, seq: 9 }));
    assert!(report.report().observation("stranger").is_none());
}

#[test]
fn nobody_is_observed_twice_in_one_report() {
    let text = payload().to_string();
    let one = "\"node-02\":{\"status\":\"online\",\"since\":1}";
    let text = text.replace("\"observations\":{}", &format!("\"observations\":{{{one},{one}}}"));
    let sealed = dsse::seal(&sample::keypair(1), "node-01", text.as_bytes());
    assert_eq!(take(&sealed).err(), Some(ReportError::Malformed));
}

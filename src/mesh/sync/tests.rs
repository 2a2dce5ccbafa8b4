//! Messages that are written and parsed, and bodies that are not messages.

use std::sync::Arc;

use proptest::prelude::*;

use super::compose::{ArrivedHeads, ReplyContent, RequestContent, write_reply, write_request};
use super::missing::{lacks_report, missing_proofs, missing_reports};
use super::round_robin::RoundRobin;
use crate::mesh::Snapshot;
use crate::mesh::id::{MAX_INTEGER, ReportId};
use crate::mesh::report_table::ReportTable;
use crate::mesh::sample;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::heads::{Head, Heads};
use crate::mesh::wire::message::{MAX_BYTES, MAX_PROOFS, MAX_REPORTS, MessageError, Reply, Request};
use crate::mesh::wire::report::{PAYLOAD_TYPE, Report, VerifiedReport};

fn latest(reports: &[(usize, u64, u64)]) -> Snapshot {
    let reports: Vec<_> = reports
        .iter()
        .map(|&(author, epoch, seq)| sample::sealed(author, sample::report(author, epoch, seq)))
        .collect();
    sample::snapshot(4, &reports)
}

fn authors(reports: &[Arc<VerifiedReport>]) -> Vec<&str> {
    reports.iter().map(|report| report.author().as_str()).collect()
}

fn request_body(
    snapshot: &Snapshot,
    mono_ms: u64,
    reports: &[Arc<VerifiedReport>],
    proofs: &[Arc<EquivocationProof>],
) -> String {
    let content = RequestContent { mono_ms, base: None, own_only: false, reports, proofs };
    write_request(snapshot.table(), content)
}

/// The heads that the holder of `snapshot` would send.
fn heads(snapshot: &Snapshot) -> Heads {
    let body = request_body(snapshot, 10_000, &[], &[]);
    Request::parse(body.as_bytes(), snapshot.membership()).expect("own message").heads
}

fn proof(author: usize) -> EquivocationProof {
    let [one, other] = [true, false]
        .map(|isolated| sample::sealed(author, Report { isolated, ..sample::report(author, 5, 3) }));
    EquivocationProof::new(one, other).expect("they differ")
}

#[test]
fn requests_round_trip() {
    let mut snapshot = latest(&[(0, 1, 2), (1, 3, 4), (2, 5, 3)]);
    snapshot.table.states.get_mut(2).equivocation = Some(Arc::new(proof(2)));
    let reports = [
        snapshot.table.states[0].latest.clone().expect("latest"),
        snapshot.table.states[1].latest.clone().expect("latest"),
    ];
    let proofs = [Arc::new(proof(2))];
    let body = request_body(&snapshot, 10_500, &reports, &proofs);
    let request = Request::parse(body.as_bytes(), snapshot.membership()).expect("own message");
    let texts: Vec<_> = request.reports.iter().map(|raw| raw.get()).collect();
    assert_eq!(texts, [&**reports[0].envelope(), &**reports[1].envelope()]);
    let texts: Vec<_> = request.proofs.iter().map(|raw| raw.get()).collect();
    assert_eq!(texts, [proofs[0].to_json()]);
    let head = |index| request.heads.get(snapshot.membership(), index).copied();
    let hash = reports[1].short_digest();
    let expected = Head { id: ReportId { epoch: 3, seq: 4 }, hash, age_ms: 1_500, equivocated: false };
    assert_eq!(head(1), Some(expected));
    assert!(head(2).is_some_and(|head| head.equivocated));
    assert_eq!(head(3), None);
}

#[test]
fn replies_round_trip_and_name_reports_that_just_arrived() {
    let snapshot = latest(&[(0, 1, 2), (1, 3, 4), (2, 5, 6)]);
    let arrived = [sample::sealed(1, sample::report(1, 3, 5)), sample::sealed(2, sample::report(2, 5, 5))];
    let json = r#"{"node-01":[3,5,"AAAAAAAAAAA=",7000]}"#;
    let named = Heads::parse(json, snapshot.membership(), false).expect("heads");
    let content = ReplyContent {
        from: "node-00",
        now_ms: 7,
        took_us: u64::MAX,
        mono_ms: 9_200,
        since: None,
        mark: None,
        arrived: &ArrivedHeads::of(snapshot.membership(), &arrived, &named),
        reports: &[],
        proofs: &[],
    };
    let body = write_reply(snapshot.table(), content);
    let reply = Reply::parse(body.as_bytes(), snapshot.membership()).expect("own message");
    assert_eq!((reply.from.as_str(), reply.now_ms, reply.took_us), ("node-00", 7, u32::MAX));
    let seq_and_age =
        |index| reply.heads.get(snapshot.membership(), index).map(|head| (head.id.seq, head.age_ms));
    assert_eq!(seq_and_age(1), Some((5, 7_000)), "it just arrived, but is not younger for that");
    assert_eq!(seq_and_age(2), Some((6, 200)), "the table has a newer one");
}

#[test]
fn malformed_bodies_are_rejected() {
    let membership = sample::membership(&sample::members(2), 0);
    let nested = format!(r#"{{"v":2,"heads":{},"reports":[]}}"#, "[".repeat(200_000));
    let deep = format!(r#"{{"v":2,"heads":{{}},"reports":[{}{}]}}"#, "[".repeat(500), "]".repeat(500));
    for body in [
        "",
        "[]",
        "{}",
        "null",
        r#"{"v":2,"heads":{}}"#,
        r#"{"v":{},"heads":{},"reports":[]}"#,
        r#"{"v":2,"heads":[],"reports":[]}"#,
        r#"{"v":2,"heads":{},"reports":{}}"#,
        r#"{"v":2,"v":2,"heads":{},"reports":[]}"#,
        r#"{"v":"2","heads":{},"reports":[]}"#,
        r#"{"v":2,"heads":{"node-01":[1,2,"AAAAAAAAAAA="]},"reports":[]}"#,
        r#"{"v":2,"heads":{"node-01":[1,2,"AAAA",0]},"reports":[]}"#,
        r#"{"v":2,"heads":{"node-01":[1,2,"AAAAAAAAAAAAAAAA",0]},"reports":[]}"#,
        r#"{"v":2,"heads":{"node-01":[-1,2,"AAAAAAAAAAA=",0]},"reports":[]}"#,
        r#"{"v":2,"heads":{"node-01":[9007199254740992,2,"AAAAAAAAAAA=",0]},"reports":[]}"#,
        r#"{"v":2,"heads":{"node-01":[1,2,"AAAAAAAAAAA=",9007199254740992]},"reports":[]}"#,
        r#"{"v":2,"heads":{},"reports":[]} more"#,
        &nested,
    ] {
        assert!(Request::parse(body.as_bytes(), &membership).is_err(), "{body:.80}");
    }
    // A report is parsed only later, and is rejected then if it is nested too deeply.
    let request = Request::parse(deep.as_bytes(), &membership).expect("a message");
    assert!(
        crate::mesh::wire::report::UnverifiedReport::parse(request.reports[0].get(), &membership).is_err()
    );
    for body in [
        r#"{"v":2,"from":"a","now":1,"heads":{},"reports":[]}"#,
        r#"{"v":2,"from":"a","took_us":1,"heads":{},"reports":[]}"#,
        r#"{"v":2,"now":1,"took_us":1,"heads":{},"reports":[]}"#,
        r#"{"v":2,"from":"a","now":9007199254740992,"took_us":1,"heads":{},"reports":[]}"#,
        r#"{"v":2,"from":"a","now":1,"took_us":4294967296,"heads":{},"reports":[]}"#,
    ] {
        assert!(Reply::parse(body.as_bytes(), &membership).is_err(), "{body}");
    }
}

#[test]
fn unknown_nodes_and_members_are_ignored() {
    let membership = sample::membership(&sample::members(2), 0);
    let body = r#"{"v":2,"new":[{}],"heads":{"stranger":"?","node-01":[1,2,"AAAAAAAAAAA=",3,4294967295,{},[]]},"reports":[]}"#;
    let request = Request::parse(body.as_bytes(), &membership).expect("a message");
    let report_id = ReportId { epoch: 1, seq: 2 };
    let expected = Head { id: report_id, hash: [0; 8], age_ms: 3, equivocated: true };
    assert_eq!(request.heads.get(&membership, 1), Some(&expected));
}

#[test]
fn messages_of_a_later_release_are_read_as_far_as_possible() {
    let membership = sample::membership(&sample::members(2), 0);
    let heads = r#"{"node-00":[1,2,"AAAAAAAAAAA=",3,{"flags":1}],"node-01":[1,2,"AAAAAAAAAAA=",3,6,7]}"#;
    let later = r#""statements":[{"payload":1},2],"statements_root":7,"to":{"a":1},"new":[[{}]]"#;
    let body = format!(r#"{{"v":2,"heads":{heads},"reports":[{{}},7],"proofs":[[]],{later}}}"#);
    let request = Request::parse(body.as_bytes(), &membership).expect("a request");
    assert_eq!((request.reports.len(), request.proofs.len()), (2, 1));
    let equivocated = |index| request.heads.get(&membership, index).map(|head| head.equivocated);
    assert_eq!((equivocated(0), equivocated(1)), (Some(false), Some(false)), "unknown flags are ignored");
    let reply = format!(r#"{{"v":2,"from":"a","now":1,"took_us":2,"heads":{heads},"reports":[],{later}}}"#);
    assert!(Reply::parse(reply.as_bytes(), &membership).is_ok());
    let later = r#""proofs":{},"statements":null,"since":"x","mark":[],"partial":1e999"#;
    let body = format!(r#"{{"v":2,"heads":{heads},"reports":[],{later}}}"#);
    let request = Request::parse(body.as_bytes(), &membership).expect("a request");
    assert_eq!((request.proofs.len(), request.since, request.heads.is_partial()), (0, None, false));
    let body = format!(r#"{{"v":2,"from":"a","now":1,"took_us":2,"heads":{heads},"reports":[],{later}}}"#);
    let reply = Reply::parse(body.as_bytes(), &membership).expect("a reply");
    assert_eq!((reply.mark, reply.heads.is_partial()), (None, false));
    // Lists longer than a receiver reads are cut, not rejected.
    let list = vec!["0"; 5_000].join(",");
    let many =
        format!(r#"{{"v":2,"heads":{{}},"reports":[{list}],"proofs":[{list}],"statements":[{list}]}}"#);
    let request = Request::parse(many.as_bytes(), &membership).expect("a request");
    assert_eq!((request.reports.len(), request.proofs.len()), (MAX_REPORTS, MAX_PROOFS));
    for (v, expected) in [("1", true), ("3", true), ("\"2\"", false)] {
        let body = format!(r#"{{"v":{v},"heads":{{}},"reports":[]}}"#);
        let error = Request::parse(body.as_bytes(), &membership).expect_err("another version");
        assert_eq!(error == MessageError::OtherProtocol, expected, "{v}: {error}");
        let body = format!(r#"{{"v":{v},"changed":true}}"#);
        let error = Reply::parse(body.as_bytes(), &membership).expect_err("another version");
        assert_eq!(error == MessageError::OtherProtocol, expected, "{v}: {error}");
    }
}

#[test]
fn heads_are_found_after_the_configuration_has_changed() {
    let snapshot = latest(&[(1, 3, 4), (2, 5, 6)]);
    let heads = heads(&snapshot);
    let mut members = sample::members(5);
    members.remove(1);
    let other = sample::membership(&members, 0);
    assert!(!heads.matches(&other));
    assert_eq!(heads.get(&other, 1).map(|head| head.id), Some(ReportId { epoch: 5, seq: 6 }), "node-02");
    assert_eq!(heads.get(&other, 3), None, "node-04 was not a member");
    assert_eq!(heads.get(&other, 9), None);
}

/// The reports that the sender of `heads` lacks, where all fit in a message.
fn missing(heads: &Heads, table: &ReportTable) -> Vec<Arc<VerifiedReport>> {
    RoundRobin::default().select(1, missing_reports(heads, table, |_| true))
}

#[test]
fn missing_reports_are_those_newer_than_the_peers_heads() {
    let own = latest(&[(0, 1, 5), (1, 3, 9), (2, 5, 6), (3, 1, 1)]);
    for (theirs, expected) in [
        (latest(&[]), vec!["node-00", "node-01", "node-02", "node-03"]),
        (latest(&[(0, 1, 5), (1, 3, 9), (2, 5, 6), (3, 1, 1)]), vec![]),
        (latest(&[(0, 1, 4), (1, 3, 9), (2, 5, 7), (3, 2, 1)]), vec!["node-00"]),
        (latest(&[(0, 1, 4), (1, 3, 7), (2, 5, 1), (3, 1, 1)]), vec!["node-00", "node-01", "node-02"]),
        (latest(&[(0, 1, 5), (1, 2, 99), (2, 5, 6), (3, 1, 1)]), vec!["node-01"]),
    ] {
        assert_eq!(authors(&missing(&heads(&theirs), own.table())), expected);
    }
    let wanted = missing_reports(&heads(&latest(&[])), own.table(), |author| author == 2);
    assert_eq!(authors(&RoundRobin::default().select(1, wanted)), ["node-02"]);
}

#[test]
fn conflicting_reports_are_sent_until_the_proof_is_known() {
    let [one, other] =
        [true, false].map(|isolated| sample::sealed(1, Report { isolated, ..sample::report(1, 5, 3) }));
    let own = sample::snapshot(3, &[one]);
    let mut theirs = sample::snapshot(3, &[other]);
    assert_eq!(authors(&missing(&heads(&theirs), own.table())), ["node-01"]);
    theirs.table.states.get_mut(1).equivocation = Some(Arc::new(proof(1)));
    assert!(missing(&heads(&theirs), own.table()).is_empty());
    assert_eq!(missing_proofs(&heads(&own), theirs.table()).len(), 1);
    assert!(missing_proofs(&heads(&theirs), theirs.table()).is_empty());
    theirs.table.states.get_mut(1).latest = None;
    let heads = heads(&theirs);
    assert!(missing_proofs(&heads, theirs.table()).is_empty(), "a proof is named without a report");
    assert!(lacks_report(&heads, own.table(), 1), "the report is still missing");
}

/// A report of about `bytes` bytes.
fn large(author: usize, bytes: usize, mark: u8) -> VerifiedReport {
    let report = sample::report(author, 5, 3);
    let mut payload = serde_json::to_value(&report).expect("plain members");
    payload["more"] = serde_json::json!("x".repeat(bytes));
    payload["mark"] = serde_json::json!(mark);
    let payload = payload.to_string();
    let key = sample::keypair(author as u64);
    let envelope = crate::crypto::dsse::seal(&key, report.node_id.as_str(), PAYLOAD_TYPE, payload.as_bytes());
    VerifiedReport::own(report, payload.as_bytes(), envelope, key.public().clone())
}

#[test]
fn messages_do_not_exceed_the_maximum_size() {
    let count = 12;
    let reports: Vec<_> = (0..count).map(|author| large(author, 127 * 1024, 0)).collect();
    let mut snapshot = sample::snapshot(count, &reports);
    for (author, report) in reports.into_iter().enumerate() {
        let conflicting = large(author, 127 * 1024, 1);
        let proof = EquivocationProof::new(report, conflicting).expect("they differ");
        snapshot.table.states.get_mut(author).equivocation = Some(Arc::new(proof));
    }
    let none = Heads::empty(snapshot.membership().clone());
    let (reports, proofs) = (missing(&none, snapshot.table()), missing_proofs(&none, snapshot.table()));
    assert_eq!(authors(&reports), ["node-00"], "this node's own; a second one does not fit");
    assert_eq!(proofs.len(), 1, "at least one");
    let proof_bytes = proofs[0].to_json().len() + 1;
    let beside = missing_reports(&none, snapshot.table(), |_| true).beside(&proofs);
    assert_eq!(
        beside.room,
        2 * snapshot.membership().fill_bytes() - proof_bytes,
        "it uses a part of their room"
    );
    let few = missing_reports(&none, snapshot.table(), |_| true).beside(&[]);
    assert_eq!(few.room, snapshot.membership().fill_bytes());
    let body = request_body(&snapshot, 10_000, &reports, &proofs);
    assert!(body.len() <= MAX_BYTES, "{} bytes", body.len());
}

#[test]
fn a_proof_that_does_not_fit_is_skipped() {
    let mut snapshot = sample::snapshot(4, &[]);
    for (author, bytes) in [(1, 60_000), (2, 60_000), (3, 1_000)] {
        let [one, other] = [0, 1].map(|mark| large(author, bytes, mark));
        let proof = EquivocationProof::new(one, other).expect("they differ");
        snapshot.table.states.get_mut(author).equivocation = Some(Arc::new(proof));
    }
    let proofs = missing_proofs(&Heads::empty(snapshot.membership().clone()), snapshot.table());
    let authors: Vec<_> = proofs.iter().map(|proof| proof.author().as_str()).collect();
    assert_eq!(authors, ["node-01", "node-03"]);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_rejected(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let membership = sample::membership(&sample::members(2), 0);
        let _ = Request::parse(&body, &membership);
        let _ = Reply::parse(&body, &membership);
    }

    #[test]
    fn truncated_and_damaged_messages_do_not_panic(
        cut in 0_usize..3_000,
        at in 0_usize..3_000,
        byte in any::<u8>(),
    ) {
        let snapshot = latest(&[(0, 1, 2), (1, 3, 4)]);
        let reports = [snapshot.table.states[1].latest.clone().expect("latest")];
        let body = request_body(&snapshot, 10_500, &reports, &[Arc::new(proof(2))]);
        let body = body.as_bytes();
        let short = &body[..cut.min(body.len() - 1)];
        prop_assert!(Request::parse(short, snapshot.membership()).is_err());
        let mut damaged = body.to_vec();
        let at = at % damaged.len();
        damaged[at] = byte;
        if let Ok(request) = Request::parse(&damaged, snapshot.membership()) {
            for raw in request.reports {
                let report = crate::mesh::wire::report::UnverifiedReport::parse(raw.get(), snapshot.membership());
                let _ = report.and_then(|report| report.verify(snapshot.membership()));
            }
        }
    }

    #[test]
    fn heads_round_trip(epoch in 1..=MAX_INTEGER, seq in 1..=MAX_INTEGER, mono_ms in 0..=MAX_INTEGER) {
        let snapshot = latest(&[(2, epoch, seq)]);
        let body = request_body(&snapshot, mono_ms, &[], &[]);
        let request = Request::parse(body.as_bytes(), snapshot.membership()).expect("own message");
        let report = snapshot.table.states[2].latest.clone().expect("latest");
        let age_ms = mono_ms.saturating_sub(9_000);
        let expected =
            Head { id: report.id(), hash: report.short_digest(), age_ms, equivocated: false };
        prop_assert_eq!(request.heads.get(snapshot.membership(), 2), Some(&expected));
    }
}

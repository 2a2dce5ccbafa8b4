//! Both readers agree on every payload that this one reads, and it reads what this release writes.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;
use crate::mesh::sample;
use crate::mesh::wire::prior_run::PriorRun;

const NODES: usize = 6;

static MEMBERSHIP: LazyLock<Arc<Membership>> =
    LazyLock::new(|| sample::membership(&sample::members(NODES), 0));

fn read_sample(payload: &[u8]) -> Option<Report> {
    read(payload, &MEMBERSHIP)
}

/// What serde reads, without observations of nodes that are no members.
fn read_by_serde(payload: &[u8]) -> Option<Report> {
    let mut report: Report = serde_json::from_slice(payload).ok()?;
    report.observations.retain(|(id, _)| MEMBERSHIP.member(id.as_str()).is_some());
    Some(report)
}

fn report(observations: Vec<(NodeId, Observation)>) -> Report {
    let prior = Some(PriorRun { report: ReportId { epoch: 4, seq: 9 }, clean: true });
    Report { prev: Some([7; 32]), up_ms: Some(5), prior, observations, ..sample::report(1, 5, 3) }
}

fn report_ids() -> impl Strategy<Value = Option<ReportId>> {
    let integer = || prop_oneof![0..1_000_u64, Just(MAX_INTEGER)];
    prop::option::of((integer(), integer()).prop_map(|(epoch, seq)| ReportId { epoch, seq }))
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![0..1_000_u32, Just(u32::MAX)]
}

fn observations() -> impl Strategy<Value = Observation> {
    let status = prop::sample::select(&[ProbeStatus::Online, ProbeStatus::Offline, ProbeStatus::Unknown][..]);
    let max = i64::try_from(MAX_INTEGER).expect("it has 53 bits");
    let offset = prop_oneof![-1_000..1_000_i64, Just(-max), Just(max)];
    let numbers = (
        prop_oneof![Just(0), Just(MAX_INTEGER)],
        prop::option::of(small()),
        prop::option::of(small()),
        prop::option::of(offset),
    );
    let tries = prop::option::of((small(), small(), small()));
    let tries = tries
        .prop_map(|tries| tries.map(|(attempts, failures, late)| ProbeTries { attempts, failures, late }));
    let error = prop::option::of(prop::sample::select(Failure::ALL));
    let ids = (report_ids(), report_ids(), report_ids());
    (status, numbers, error, ids, tries).prop_map(|(status, numbers, error, ids, tries)| Observation {
        status,
        since_ms: numbers.0,
        rtt_us: numbers.1,
        took_us: numbers.2,
        clock_offset_ms: numbers.3,
        error,
        head: ids.0,
        first: ids.1,
        newest: ids.2,
        tries,
    })
}

/// A report on some nodes of the membership and, as `node-06` and `node-07`, on nodes that it lacks.
fn reports() -> impl Strategy<Value = Report> {
    prop::collection::btree_map(0..NODES + 2, observations(), 0..NODES + 2)
        .prop_map(|map| report(map.into_iter().map(|(node, found)| (sample::node_id(node), found)).collect()))
}

proptest! {
    #[test]
    fn written_reports_are_read(report in reports()) {
        let payload = report.to_payload();
        let read = read_sample(&payload);
        prop_assert!(read.is_some(), "{}", String::from_utf8_lossy(&payload));
        prop_assert_eq!(read, read_by_serde(&payload));
    }

    #[test]
    fn changed_payloads_are_read_as_serde_does_or_left_to_it(
        report in reports(),
        at in any::<prop::sample::Index>(),
        removed in 0_usize..4,
        inserted in "[-0-9a-z_\"{}\\[\\],:. \\\\]{0,4}",
    ) {
        let mut payload = report.to_payload();
        let at = at.index(payload.len());
        let end = (at + removed).min(payload.len());
        payload.splice(at..end, inserted.bytes());
        if let Some(read) = read_sample(&payload) {
            prop_assert_eq!(Some(read), read_by_serde(&payload), "{}", String::from_utf8_lossy(&payload));
        }
    }
}

#[test]
fn other_forms_are_left_to_serde() {
    let found = Observation { clock_offset_ms: Some(5), ..Observation::new(ProbeStatus::Online, 1) };
    let payload = String::from_utf8(report(vec![(sample::node_id(2), found)]).to_payload()).expect("text");
    assert!(read_sample(payload.as_bytes()).is_some());
    let one = "\"node-02\":{\"status\":\"online\",\"since\":1,\"clock_offset_ms\":5}";
    for (from, to) in [
        // Of these, serde reads some.
        ("\"since\":1", "\"since\":9007199254740992"),
        ("\"since\":1", "\"since\":18446744073709551617"),
        ("\"since\":1", "\"since\":01"),
        ("\"since\":1", "\"since\": 1"),
        ("\"since\":1", "\"since\":1,\"rtt_us\":4294967296"),
        ("_ms\":5}", "_ms\":-0}"),
        ("_ms\":5}", "_ms\":5.0}"),
        ("_ms\":5}", "_ms\":5,\"new\":1}"),
        ("_ms\":5}", "_ms\":5,\"head\":[1,9007199254740992]}"),
        ("_ms\":5}", "_ms\":5,\"tries\":[1,2]}"),
        ("\"online\"", "\"dozing\""),
        ("\"node-02\"", "\"node-0\\u0032\""),
        ("\"node-02\"", "\"\""),
        (one, &format!("{one},")),
        (one, &format!("{one},{one}")),
        (one, &format!("{one},{}", one.replace("node-02", "node-00"))),
        ("{\"v\":2", "{\"observations\":{},\"v\":2"),
        ("{\"v\":2", "{\"new\":{\"a\":1,\"observations\":{}},\"v\":2"),
        ("}}", "}}}"),
        ("}}", "},\"new\":{}}"),
    ] {
        let other = payload.replacen(from, to, 1);
        assert_ne!(other, payload, "{from}");
        assert_eq!(read_sample(other.as_bytes()), None, "{to}");
    }
}

#[test]
fn few_observations_need_little_memory() {
    let payload = report(vec![(sample::node_id(2), Observation::new(ProbeStatus::Online, 1))]).to_payload();
    let members = sample::members(50);
    let report = read(&payload, &sample::membership(&members, 0)).expect("a payload");
    assert!(report.observations.capacity() <= 2, "{}", report.observations.capacity());
}

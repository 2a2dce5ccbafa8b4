//! The limits on the silence of a node, and what its observers' answers say about it, each one off by one.

use super::*;
use crate::mesh::id::ReportId;
use crate::mesh::sample;
use crate::mesh::wire::observation::{Failure, Observation, ProbeStatus};
use crate::mesh::wire::report::Report;

/// The samples have an interval and a timeout of 1 s.
const NOW_MS: u64 = 100_000;

/// What the observers 0 and 1 of node 2 report, and what node 2 reported before it became silent.
#[derive(Clone, Copy)]
struct Case {
    status: ProbeStatus,
    error: Failure,
    /// Whether node 2 has reported more than once since the observers found it offline.
    refuted: bool,
    overloaded: bool,
}

const HUNG: Case =
    Case { status: ProbeStatus::Offline, error: Failure::Timeout, refuted: false, overloaded: false };

/// The verdict on node 2 after it has been silent for a time, in ms.
fn verdict(case: Case, silent_ms: u64) -> (NodeStatus, Rule, Vec<Cause>) {
    let newest = ReportId { epoch: 5, seq: 9 };
    let head = ReportId { seq: if case.refuted { 3 } else { 9 }, ..newest };
    let observation = Observation {
        error: Some(case.error),
        head: (case.status == ProbeStatus::Offline).then_some(head),
        ..Observation::new(case.status, 1_763_884_700_000)
    };
    let online = Observation::new(ProbeStatus::Online, 1);
    let observer = |author: usize| Report {
        observations: vec![(sample::node_id(1 - author), online), (sample::node_id(2), observation)],
        ..sample::report(author, 5, 9)
    };
    let target =
        Report { overloaded: case.overloaded.then_some(true), ..sample::report(2, newest.epoch, newest.seq) };
    let reports = [observer(0), observer(1), target].into_iter().enumerate();
    let reports: Vec<_> = reports.map(|(author, report)| sample::sealed(author, report)).collect();
    let mut table = sample::table(3, &reports);
    for (index, age_ms) in [(0, 0), (1, 0), (2, silent_ms)] {
        let state = table.states.get_mut(index);
        (state.created_ms, state.received_ms) = (NOW_MS - age_ms, NOW_MS - age_ms);
    }
    let now = Timestamps { mono_ms: NOW_MS, wall_ms: 1_763_884_900_000 };
    let verdict = evaluate(&table, now).nodes.swap_remove(2);
    (verdict.status, verdict.rule, verdict.causes)
}

#[test]
fn node_is_down_beyond_the_limit_in_force() {
    let refused = Case { error: Failure::Refused, ..HUNG };
    let refuted = Case { refuted: true, ..HUNG };
    let overloaded = |case| Case { overloaded: true, ..case };
    for (case, limit_ms, rule) in [
        (refused, 2_250, Rule::Refused),
        (HUNG, 3_750, Rule::Unrefuted),
        (refuted, 6_000, Rule::Silent),
        (overloaded(refused), 2_250, Rule::Refused),
        (overloaded(HUNG), 6_000, Rule::Unrefuted),
        (overloaded(refuted), 12_000, Rule::Silent),
    ] {
        let (status, ..) = verdict(case, limit_ms);
        assert_ne!(status, NodeStatus::Down, "{rule:?} {limit_ms} {}", case.overloaded);
        let (status, found, _) = verdict(case, limit_ms + 1);
        assert_eq!((status, found), (NodeStatus::Down, rule), "{limit_ms} {}", case.overloaded);
    }
}

#[test]
fn overload_extends_the_time_until_a_node_is_unknown() {
    // Nobody finds it offline.
    let online = Case { status: ProbeStatus::Online, error: Failure::Other, ..HUNG };
    for (overloaded, limit_ms) in [(false, 6_000), (true, 12_000)] {
        let case = Case { overloaded, ..online };
        assert_eq!(verdict(case, limit_ms).0, NodeStatus::Up, "{overloaded}");
        assert_eq!(verdict(case, limit_ms + 1).0, NodeStatus::Unknown, "{overloaded}");
    }
}

#[test]
fn node_that_answers_a_quorum_that_it_is_busy_is_degraded() {
    let expected = (NodeStatus::Degraded, Rule::Busy, vec![Cause::Overload]);
    for status in [ProbeStatus::Online, ProbeStatus::Unknown] {
        let busy = Case { status, error: Failure::Busy, ..HUNG };
        assert_eq!(verdict(busy, 0), expected, "{status}");
        assert_eq!(verdict(busy, 60_000), expected, "{status}, although its reports do not advance");
        let other = Case { status, error: Failure::Other, ..HUNG };
        assert_eq!(verdict(other, 0).0, NodeStatus::Up, "{status}");
    }
}

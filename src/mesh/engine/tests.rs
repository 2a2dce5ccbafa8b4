//! One engine alone; the test decides the results of its calls.

use std::sync::Arc;

use crate::mesh::engine::event::{Call, CallFinished, CallPurpose, CallReply, Notice, ReceivedReports};
use crate::mesh::id::{MAX_INTEGER, ReportId};
use crate::mesh::membership::Member;
use crate::mesh::sample::{self, TestSigner};
use crate::mesh::sync::compose::{RequestContent, write_request};
use crate::mesh::verdict::{Cause, NodeStatus, Rule};
use crate::mesh::wire::heads::Heads;
use crate::mesh::wire::leave::{LeaveKind, LeaveNotice};
use crate::mesh::wire::message::Request;
use crate::mesh::wire::observation::{Failure, ProbeStatus};
use crate::mesh::wire::report::{Report, VerifiedReport};
use crate::mesh::{Effect, Engine, EngineInit, Event, StartEpoch, Timestamps};

const EPOCH: u64 = 1_000;

/// Node 0 of several, each probed every 10 s, and its latest effects.
struct Harness {
    engine: Engine,
    now: Timestamps,
    effects: Vec<Effect>,
}

impl Harness {
    fn start(count: usize) -> Self {
        Self::start_in(sample::members(count), StartEpoch::New(EPOCH))
    }

    fn start_in(mut members: Vec<Member>, epoch: StartEpoch) -> Self {
        for member in &mut members {
            member.poll_rate_ms = 10_000;
        }
        let init = EngineInit {
            membership: sample::membership(&members, 0),
            signer: Box::new(TestSigner(sample::keypair(0))),
            seed: 1,
            epoch,
            prior: None,
            min_reports: Vec::new(),
            proofs: Vec::new(),
            boot: None,
        };
        // The wall clock is behind the epochs, as after a power cut.
        let now = Timestamps { mono_ms: 1, wall_ms: 500 };
        Self { engine: Engine::new(init, now), now, effects: Vec::new() }
    }

    fn step(&mut self, event: Event) {
        self.effects = self.engine.step(self.now, event);
    }

    /// Lets both clocks run.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = Timestamps { mono_ms: self.now.mono_ms + 1, wall_ms: self.now.wall_ms + 1 };
            if self.engine.deadline_ms() <= self.now.mono_ms {
                self.step(Event::Tick);
                if self.calls().next().is_some() {
                    return;
                }
            }
        }
    }

    /// Makes the node report a change.
    fn change(&mut self) {
        let membership = self.membership().clone();
        self.step(Event::Reconfigured(membership));
    }

    fn calls(&self) -> impl Iterator<Item = &Call> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Call(call) => Some(call),
            _ => None,
        })
    }

    /// The one call in the latest effects.
    fn call(&self) -> Call {
        let calls: Vec<_> = self.calls().collect();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls[0].clone()
    }

    fn finish(&mut self, call: &Call, outcome: Result<CallReply, Failure>, evidence: Vec<VerifiedReport>) {
        let (id, peer) = (call.id, call.peer.clone());
        self.step(Event::CallFinished(CallFinished {
            id,
            peer,
            outcome,
            evidence,
            lateness_ms: 0,
            may_answer_late: false,
        }));
    }

    /// The peer answers; it holds the reports `latest` and sends them.
    fn answer(&mut self, call: &Call, latest: Vec<VerifiedReport>) {
        let snapshot = sample::snapshot(self.membership().members().len(), &latest);
        let content = RequestContent {
            mono_ms: snapshot.at().mono_ms,
            base: None,
            own_only: false,
            reports: &[],
            proofs: &[],
        };
        let body = write_request(snapshot.table(), content);
        let heads = Request::parse(body.as_bytes(), self.membership()).expect("own message").heads;
        let received = ReceivedReports { heads, reports: latest, proofs: Vec::new() };
        self.finish(call, Ok(reply(received)), Vec::new());
    }

    fn membership(&self) -> &Arc<crate::mesh::membership::Membership> {
        &self.engine.table.membership
    }

    fn own(&self) -> Arc<VerifiedReport> {
        self.engine.table.own_report().expect("it reports").clone()
    }
}

fn reply(received: ReceivedReports) -> CallReply {
    CallReply { rtt_us: 900, took_us: 100, clock_offset_ms: 0, received, mark: None, snapshot_ms: 0 }
}

#[test]
fn change_is_pushed_when_the_call_in_flight_ends() {
    let mut harness = Harness::start(2);
    harness.step(Event::Tick);
    let probe = harness.call();
    let first = harness.own();
    assert_eq!(probe.purpose, CallPurpose::Probe);
    harness.pass(200);
    // The peer holds no report: the follow-up sends the first one.
    harness.answer(&probe, Vec::new());
    let follow_up = harness.call();
    assert_eq!((follow_up.purpose, follow_up.reports[0].id()), (CallPurpose::FollowUp, first.id()));
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Online);
    assert_eq!(harness.own().id(), first.id(), "a first contact waits for the next report");
    harness.change();
    let second = harness.own();
    assert!(second.id() > first.id(), "published immediately");
    harness.answer(&follow_up, vec![first.as_ref().clone()]);
    let push = harness.call();
    assert_eq!((push.purpose, push.reports[0].id()), (CallPurpose::Push, second.id()));
    harness.answer(&push, vec![second.as_ref().clone()]);
    assert_eq!(harness.calls().count(), 0, "the peer is known to hold it");
}

#[test]
fn request_refused_for_an_old_epoch_is_retried() {
    let mut harness = Harness::start(2);
    harness.step(Event::Tick);
    let probe = harness.call();
    let later = sample::sealed(0, sample::report(0, EPOCH + 5, 3));
    harness.finish(&probe, Err(Failure::Replayed), vec![later]);
    assert!(
        matches!(harness.effects[0], Effect::SaveEpoch(epoch) if epoch == EPOCH + 6),
        "{:?}",
        harness.effects
    );
    assert_eq!(harness.engine.peers[1].observation.error, None, "nothing is wrong with the peer");
    harness.pass(1_000);
    let again = harness.call();
    assert_eq!((again.purpose, again.epoch), (CallPurpose::Probe, EPOCH + 6));
    // The second refusal counts.
    harness.finish(&again, Err(Failure::Replayed), Vec::new());
    assert_eq!(harness.engine.peers[1].observation.error, Some(Failure::Replayed));
}

#[test]
fn lost_epoch_is_recovered_from_own_reports_before_anything_is_published() {
    let held = sample::sealed(0, sample::report(0, EPOCH * 1_000, 9));
    let mut harness = Harness::start_in(sample::members(3), StartEpoch::Lost { known: 0 });
    let start = harness.now;
    harness.step(Event::Tick);
    assert!(harness.engine.take_snapshot(start).is_some_and(|snapshot| snapshot.recovers_epoch()));
    while harness.now.mono_ms < start.mono_ms + 20_000 {
        let calls: Vec<_> = harness.calls().cloned().collect();
        for call in calls {
            assert_eq!((call.purpose, call.reports.len()), (CallPurpose::Probe, 0));
            harness.answer(&call, vec![held.clone()]);
            assert_eq!(harness.calls().count(), 0, "nothing to send");
        }
        assert!(harness.engine.table.own_report().is_none());
        harness.pass(20_000 - (harness.now.mono_ms - start.mono_ms));
    }
    let [Effect::SaveEpoch(saved), Effect::Notice(Notice::EpochRecovered { epoch }), ..] =
        harness.effects[..]
    else {
        panic!("{:?}", harness.effects)
    };
    assert_eq!((saved, harness.own().id()), (epoch, ReportId { epoch, seq: 1 }));
    assert!(epoch > held.id().epoch);
    assert!(!harness.engine.take_snapshot(harness.now).expect("a change").recovers_epoch());
    // Another report under this node's key is still the first one that supersedes.
    let later = sample::sealed(0, sample::report(0, epoch + 5, 1));
    let call = harness.calls().next().expect("it pushes the first report").clone();
    harness.answer(&call, vec![later]);
    assert!(matches!(harness.effects[0], Effect::SaveEpoch(next) if next == epoch + 6));
    assert!(!harness.engine.self_health.has_duplicate_key());
}

#[test]
fn refused_nonce_raises_the_provisional_epoch() {
    for evidence in [vec![sample::sealed(0, sample::report(0, EPOCH * 1_000, 9))], Vec::new()] {
        let mut harness = Harness::start_in(sample::members(2), StartEpoch::Lost { known: 0 });
        harness.step(Event::Tick);
        let probe = harness.call();
        assert!(probe.epoch >= harness.now.wall_ms);
        let least = evidence.first().map_or(probe.epoch + 1, |held| held.id().epoch + 1);
        harness.finish(&probe, Err(Failure::Replayed), evidence);
        assert!(harness.effects.is_empty(), "{:?}", harness.effects);
        harness.pass(1_000);
        let again = harness.call();
        assert_eq!(again.purpose, CallPurpose::Probe);
        assert!(again.epoch >= least, "{} of {least}", again.epoch);
        assert_eq!(harness.engine.peers[1].observation.error, None, "nothing is wrong with the peer");
    }
}

#[test]
fn no_epoch_is_recovered_if_the_largest_one_was_used() {
    let mut harness = Harness::start_in(sample::members(2), StartEpoch::Lost { known: 0 });
    let held = sample::sealed(0, sample::report(0, MAX_INTEGER, 9));
    harness.step(Event::Tick);
    let snapshot = harness.engine.take_snapshot(harness.now).expect("a first snapshot");
    assert!(snapshot.recovers_epoch() && !snapshot.epoch_exhausted());
    let mut notices = 0;
    while harness.now.mono_ms < 100_000 {
        let calls: Vec<_> = harness.calls().cloned().collect();
        for call in calls {
            harness.answer(&call, vec![held.clone()]);
            let is_notice = |effect: &&Effect| matches!(effect, Effect::Notice(Notice::NoEpochLeft { .. }));
            notices += harness.effects.iter().filter(is_notice).count();
        }
        harness.pass(10_000);
    }
    assert_eq!(notices, 1);
    assert!(harness.engine.table.own_report().is_none());
    let snapshot = harness.engine.take_snapshot(harness.now).expect("a changed snapshot");
    assert!(snapshot.recovers_epoch() && snapshot.epoch_exhausted());
    assert_eq!(snapshot.verdicts().nodes[0].rule, Rule::EpochExhausted);
    assert_eq!(snapshot.verdicts().nodes[0].causes, [Cause::NotPublishing]);
}

#[test]
fn node_that_stops_while_it_recovers_publishes_nothing() {
    let mut harness = Harness::start_in(sample::members(2), StartEpoch::Lost { known: 0 });
    harness.step(Event::Tick);
    harness.call();
    harness.step(Event::Leaving(LeaveNotice { kind: LeaveKind::Stop, expect_ms: None }));
    assert!(harness.engine.is_idle());
    assert!(harness.effects.is_empty(), "{:?}", harness.effects);
    assert!(harness.engine.table.own_report().is_none());
}

#[test]
fn gap_restarts_the_recovery() {
    let mut harness = Harness::start_in(sample::members(2), StartEpoch::Lost { known: 0 });
    harness.step(Event::Tick);
    harness.now.mono_ms += 60_000;
    harness.step(Event::Tick);
    assert!(harness.engine.table.own_report().is_none());
    let start_ms = harness.now.mono_ms;
    while harness.engine.table.own_report().is_none() {
        harness.pass(1_000);
        let calls: Vec<_> = harness.calls().cloned().collect();
        for call in calls {
            harness.finish(&call, Err(Failure::Timeout), Vec::new());
        }
    }
    assert_eq!(harness.engine.table.states[0].created_ms - start_ms, 30_000);
}

#[test]
fn reply_to_a_call_from_before_a_gap_is_no_sign_of_life() {
    let mut harness = Harness::start(2);
    harness.step(Event::Tick);
    let probe = harness.call();
    // As Harness::pass does, but without a tick before the answer.
    harness.now.mono_ms += 3_600_000;
    harness.now.wall_ms += 3_600_000;
    harness.answer(&probe, vec![sample::sealed(1, sample::report(1, 7, 7))]);
    assert!(harness.engine.table.states[1].latest.is_none());
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Unknown);
    let probe = harness.call();
    assert_eq!(probe.purpose, CallPurpose::Probe, "it probes again immediately");
    harness.answer(&probe, vec![sample::sealed(1, sample::report(1, 7, 8))]);
    assert!(harness.engine.table.is_fresh(1, harness.now.mono_ms));
}

#[test]
fn leaving_waits_only_for_calls_with_the_last_report() {
    let mut harness = Harness::start(3);
    harness.step(Event::Tick);
    let probe = harness.call();
    harness.pass(200);
    let own = harness.own().as_ref().clone();
    harness.answer(&probe, vec![own]);
    harness.pass(10_000);
    let unanswered = harness.call();
    assert_eq!(unanswered.peer, sample::node_id(2), "which never answered");
    harness.step(Event::Leaving(LeaveNotice { kind: LeaveKind::Stop, expect_ms: None }));
    let last = harness.call();
    assert_eq!(last.peer, sample::node_id(1));
    assert!(last.reports[0].report().leaving.is_some());
    assert!(!harness.engine.is_idle());
    let own = harness.own().as_ref().clone();
    harness.answer(&last, vec![own]);
    assert!(harness.engine.is_idle(), "not for the peer that never answered");
    assert_eq!(harness.engine.deadline_ms(), u64::MAX);
    harness.finish(&unanswered, Err(Failure::Timeout), Vec::new());
    assert_eq!(harness.calls().count(), 0);
}

#[test]
fn report_by_a_key_removed_meanwhile_is_not_stored() {
    let mut harness = Harness::start(3);
    harness.step(Event::Tick);
    let probe = harness.call();
    let heads = Heads::empty(harness.membership().clone());
    let mut members = sample::members(3);
    members[2].keys = vec![sample::keypair(99).public().clone()];
    harness.step(Event::Reconfigured(sample::membership(&members, 0)));
    // Verified with the keys of the earlier configuration.
    let reports =
        vec![sample::sealed(1, sample::report(1, 7, 7)), sample::sealed(2, sample::report(2, 7, 7))];
    let received = ReceivedReports { heads, reports, proofs: Vec::new() };
    harness.finish(&probe, Ok(reply(received)), Vec::new());
    assert!(harness.engine.table.states[1].latest.is_some());
    assert!(harness.engine.table.states[2].latest.is_none(), "signed by a removed key");
}

#[test]
fn impostor_at_a_peers_address_is_no_outage_if_configurations_differ() {
    let other_config = "AAAAAAAAAAA=".to_owned();
    for (differs, expected) in [(true, ProbeStatus::Unknown), (false, ProbeStatus::Offline)] {
        let mut harness = Harness::start(2);
        let config = if differs { other_config.clone() } else { harness.membership().digest().to_owned() };
        let report = |seq| sample::sealed(1, Report { config: config.clone(), ..sample::report(1, 7, seq) });
        harness.step(Event::Tick);
        let probe = harness.call();
        harness.answer(&probe, vec![report(1)]);
        for seq in 2..10 {
            let mut probe = harness.call();
            while probe.purpose != CallPurpose::Probe {
                let own = harness.own().as_ref().clone();
                harness.answer(&probe, vec![own]);
                harness.pass(12_000);
                probe = harness.call();
            }
            let heads = Heads::empty(harness.membership().clone());
            let received = ReceivedReports { heads, reports: vec![report(seq)], proofs: Vec::new() };
            harness.step(Event::RequestReceived { from: sample::node_id(1), received });
            harness.finish(&probe, Err(Failure::HttpStatus), Vec::new());
            let observation = harness.engine.peers[1].observation;
            assert_eq!(observation.error, Some(Failure::HttpStatus));
            assert!(seq > 2 || observation.status == ProbeStatus::Unknown, "it may have changed just now");
            harness.pass(12_000);
        }
        assert_eq!(harness.engine.peers[1].observation.status, expected);
    }
}

#[test]
fn impostor_at_the_address_of_a_silent_peer_counts_after_four_intervals() {
    let mut harness = Harness::start(2);
    harness.step(Event::Tick);
    let mut probe = harness.call();
    while harness.engine.peers[1].observation.status != ProbeStatus::Offline {
        harness.finish(&probe, Err(Failure::HttpStatus), Vec::new());
        harness.pass(12_000);
        probe = harness.call();
        assert!(harness.now.mono_ms < 60_000);
    }
    assert!(harness.now.mono_ms > 40_000, "four intervals");
}

#[test]
fn every_probe_attempt_is_counted() {
    let mut harness = Harness::start(2);
    harness.step(Event::Tick);
    let mut answers = vec![true, false, true];
    while !answers.is_empty() {
        if harness.calls().next().is_none() {
            harness.pass(60_000);
        }
        let call = harness.call();
        // Follow-ups and pushes do not count.
        if call.purpose == CallPurpose::Probe && !answers.remove(0) {
            harness.finish(&call, Err(Failure::Timeout), Vec::new());
        } else {
            let own = harness.own().as_ref().clone();
            harness.answer(&call, vec![own]);
        }
    }
    // A single loss makes no peer offline but is counted.
    let expected = crate::mesh::member_state::ProbeCounts { answered: 2, failed: 1 };
    assert_eq!(harness.engine.table.states[1].probes, expected);
}

/// What node 0 observes of node 1, and its verdict, in the next report.
fn reported(harness: &mut Harness) -> (ProbeStatus, Option<Failure>, NodeStatus, Vec<Cause>) {
    harness.effects.clear();
    for _ in 0..11_000 {
        harness.pass(1);
    }
    let observation = *harness.own().report().observation("node-01").expect("observed");
    let verdict = &harness.engine.evaluator.verdicts.nodes[1];
    (observation.status, observation.error, verdict.status, verdict.causes.clone())
}

#[test]
fn a_peer_of_an_incompatible_release_is_unknown() {
    let mut harness = Harness::start(2);
    harness.step(Event::Tick);
    let expected = (
        ProbeStatus::Unknown,
        Some(Failure::Incompatible),
        NodeStatus::Unknown,
        vec![Cause::IncompatibleRelease],
    );
    let probe = harness.call();
    // Anybody may replay its requests to other nodes, so only its reply to a probe counts.
    harness.step(Event::IncompatibleRequest { from: sample::node_id(1) });
    assert_eq!(harness.engine.peers[1].observation.error, None);
    harness.finish(&probe, Err(Failure::Incompatible), Vec::new());
    assert_eq!(reported(&mut harness), expected);
}

#[test]
fn a_caller_of_an_incompatible_release_is_unknown_while_it_calls() {
    let mut members = sample::members(2);
    members[1].url = None;
    let mut harness = Harness::start_in(members, StartEpoch::New(EPOCH));
    harness.step(Event::IncompatibleRequest { from: sample::node_id(1) });
    let (status, error, verdict, causes) = reported(&mut harness);
    assert_eq!((status, error), (ProbeStatus::Unknown, Some(Failure::Incompatible)));
    assert_eq!((verdict, causes), (NodeStatus::Unknown, vec![Cause::IncompatibleRelease]));
    // Three poll rates and a timeout after its last request it is offline, whatever release it ran.
    for _ in 0..32_000 {
        harness.pass(1);
    }
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Offline);
    let received = ReceivedReports {
        heads: Heads::empty(harness.membership().clone()),
        reports: Vec::new(),
        proofs: Vec::new(),
    };
    harness.step(Event::RequestReceived { from: sample::node_id(1), received });
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Online);
}

#[test]
fn reports_name_what_their_author_tried_and_held() {
    let mut harness = Harness::start(3);
    harness.step(Event::Tick);
    let first_id = harness.own().id();
    assert_eq!(harness.own().report().held, None, "nothing was held");
    let peer = |harness: &Harness| *harness.own().report().observation("node-01").expect("observed");
    assert_eq!((peer(&harness).tries, peer(&harness).first), (None, Some(first_id)));
    let held = sample::sealed(1, sample::report(1, 7, 3));
    let mut online_id = None;
    for attempt in 0..6_u32 {
        while !harness.calls().any(|call| call.peer == sample::node_id(1)) {
            harness.pass(1);
            let others: Vec<_> =
                harness.calls().filter(|call| call.peer != sample::node_id(1)).cloned().collect();
            for call in others {
                harness.finish(&call, Err(Failure::Refused), Vec::new());
            }
        }
        let call = harness.calls().find(|call| call.peer == sample::node_id(1)).expect("a call").clone();
        if attempt == 0 {
            let own = harness.own().as_ref().clone();
            harness.answer(&call, vec![own, held.clone()]);
            harness.pass(200);
            harness.change();
            online_id = Some(harness.own().id());
            assert_eq!((peer(&harness).status, peer(&harness).first), (ProbeStatus::Online, None));
            assert_eq!(peer(&harness).newest, None, "only peers that are not online have it");
        } else {
            harness.finish(&call, Err(Failure::Timeout), Vec::new());
        }
        harness.effects.retain(|effect| !matches!(effect, Effect::Call(made) if made.id == call.id));
    }
    let (own, offline) = (harness.own(), peer(&harness));
    assert_eq!(offline.status, ProbeStatus::Offline);
    assert_eq!(offline.newest, Some(held.id()));
    let tries = offline.tries.expect("it was probed");
    assert!(tries.attempts > tries.failures && tries.failures >= 3 && tries.late == 0, "{tries:?}");
    let first = offline.first.expect("it is not online");
    assert!(Some(first) > online_id && first <= own.id(), "{first}");
    assert!(own.report().held.is_some() && own.report().up_ms.is_some_and(|up_ms| up_ms > 10_000));
    assert_eq!(own.report().began_ms, Some(500));
}

/// Lets the next probe of node 1 end with `outcome`; this node is late with it by a number of ms.
fn probe(harness: &mut Harness, outcome: Result<(), Failure>, lateness_ms: u64) -> Call {
    while !harness.calls().any(|call| call.purpose == CallPurpose::Probe) {
        let other = harness.calls().next().cloned();
        match other {
            Some(other) => harness.finish(&other, Err(Failure::Timeout), Vec::new()),
            None => harness.pass(20_000),
        }
    }
    let call = harness.calls().find(|call| call.purpose == CallPurpose::Probe).expect("a probe").clone();
    finish_late(harness, &call, outcome, lateness_ms);
    call
}

fn finish_late(harness: &mut Harness, call: &Call, outcome: Result<(), Failure>, lateness_ms: u64) {
    let received = ReceivedReports {
        heads: Heads::empty(harness.membership().clone()),
        reports: Vec::new(),
        proofs: Vec::new(),
    };
    let may_answer_late = outcome == Err(Failure::Timeout);
    harness.step(Event::CallFinished(CallFinished {
        id: call.id,
        peer: call.peer.clone(),
        outcome: outcome.map(|()| reply(received)),
        evidence: Vec::new(),
        lateness_ms,
        may_answer_late,
    }));
}

fn online() -> Harness {
    let mut harness = Harness::start(2);
    harness.step(Event::Tick);
    probe(&mut harness, Ok(()), 0);
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Online);
    harness
}

#[test]
fn failures_that_this_node_delayed_do_not_count() {
    // T / 4 of the samples' timeout of 1 s; refused connections and signed refusals always count.
    for (failure, lateness_ms, expected) in [
        (Failure::Timeout, 250, ProbeStatus::Offline),
        (Failure::Timeout, 251, ProbeStatus::Online),
        (Failure::Reset, 251, ProbeStatus::Online),
        (Failure::Refused, 60_000, ProbeStatus::Offline),
        (Failure::Rejected, 60_000, ProbeStatus::Unknown),
    ] {
        let mut harness = online();
        for _ in 0..10 {
            probe(&mut harness, Err(failure), lateness_ms);
        }
        let observation = harness.engine.peers[1].observation;
        assert_eq!(observation.status, expected, "{failure} {lateness_ms}");
        let tries = observation.tries.expect("it is probed");
        let (failures, late) = match (failure, lateness_ms) {
            (Failure::Rejected, _) => (0, 0),
            (Failure::Refused, _) | (_, 250) => (10, 0),
            _ => (0, 10),
        };
        assert_eq!((tries.attempts, tries.failures, tries.late), (11, failures, late), "{failure}");
    }
}

#[test]
fn delayed_failures_are_retried_unless_this_node_is_overloaded() {
    let mut harness = online();
    let mut starts = Vec::new();
    for _ in 0..6 {
        probe(&mut harness, Err(Failure::Timeout), 251);
        starts.push(harness.now.mono_ms);
    }
    // The samples have retries a second apart, and rounds every 10 s. The third late probe is overload.
    let gaps: Vec<_> = starts.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    assert!(gaps[..2].iter().all(|gap| *gap < 2) && gaps[2..].iter().all(|gap| *gap > 5), "{gaps:?}");
}

#[test]
fn delayed_failures_are_retried_no_more_often_than_others() {
    let member = sample::member(1);
    let mut peer = super::peer_state::PeerState::new(Timestamps { mono_ms: 0, wall_ms: 0 }, 0);
    for _ in 0..member.retry {
        peer.on_late_failure();
        assert!(peer.should_retry_late(&member));
    }
    peer.on_late_failure();
    assert!(!peer.should_retry_late(&member));
}

#[test]
fn late_reply_shows_that_the_peer_lives_and_widens_its_time_limits() {
    let mut harness = online();
    let missed = probe(&mut harness, Err(Failure::Timeout), 0);
    assert_eq!((missed.timeout_ms, missed.patience_ms), (250, 1_000));
    probe(&mut harness, Err(Failure::Timeout), 0);
    let last = probe(&mut harness, Err(Failure::Timeout), 0);
    assert_eq!((last.timeout_ms, last.patience_ms), (1_000, 1_000), "no answer widens nothing");
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Offline);
    finish_late(&mut harness, &missed, Ok(()), 0);
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Offline, "only the last call counts");
    finish_late(&mut harness, &last, Ok(()), 0);
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Online);
    let limits: Vec<_> = (0..4).map(|_| probe(&mut harness, Ok(()), 0).timeout_ms).collect();
    assert_eq!(limits, [1_000, 1_000, 1_000, 250]);
    // A success that this node delayed is late, too.
    probe(&mut harness, Ok(()), 251);
    assert_eq!(probe(&mut harness, Ok(()), 250).timeout_ms, 1_000);
}

#[test]
fn delayed_call_that_was_refused_after_its_time_counts() {
    for (lateness_ms, expected) in [(0, 1), (251, 1)] {
        let mut harness = online();
        let call = probe(&mut harness, Err(Failure::Timeout), lateness_ms);
        finish_late(&mut harness, &call, Err(Failure::Refused), lateness_ms);
        let is_retried = harness.engine.peers[1].should_retry();
        assert_eq!(u64::from(is_retried), expected, "{lateness_ms}");
        probe(&mut harness, Err(Failure::Timeout), 0);
        assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Online, "it counts once");
        probe(&mut harness, Err(Failure::Timeout), 0);
        assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Offline);
    }
}

#[test]
fn busy_peer_keeps_its_status_for_three_probes() {
    let mut harness = online();
    let since_ms = harness.engine.peers[1].observation.since_ms;
    for _ in 0..3 {
        probe(&mut harness, Err(Failure::Busy), 0);
        let observation = harness.engine.peers[1].observation;
        assert_eq!(
            (observation.status, observation.since_ms, observation.error),
            (ProbeStatus::Online, since_ms, Some(Failure::Busy))
        );
        assert!(!harness.engine.peers[1].is_reachable(), "nothing is pushed to it");
    }
    probe(&mut harness, Err(Failure::Busy), 0);
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Unknown);
    probe(&mut harness, Ok(()), 0);
    probe(&mut harness, Err(Failure::Busy), 0);
    assert_eq!(harness.engine.peers[1].observation.status, ProbeStatus::Online, "it counts from zero");
    // An offline peer, too, keeps its status.
    for _ in 0..3 {
        probe(&mut harness, Err(Failure::Refused), 0);
    }
    for expected in [ProbeStatus::Offline, ProbeStatus::Offline, ProbeStatus::Offline, ProbeStatus::Unknown] {
        probe(&mut harness, Err(Failure::Busy), 0);
        assert_eq!(harness.engine.peers[1].observation.status, expected);
    }
}

#[test]
fn overloaded_node_says_so_in_its_reports() {
    let mut harness = online();
    for lateness_ms in [250, 251, 499] {
        harness.pass(500);
        harness.step(Event::Late(lateness_ms));
    }
    assert!(!harness.engine.take_snapshot(harness.now).is_some_and(|snapshot| snapshot.overloaded()));
    harness.pass(500);
    harness.step(Event::Late(400));
    let notice = Effect::Notice(Notice::OverloadChanged(true));
    assert!(harness.effects.iter().any(|effect| format!("{effect:?}") == format!("{notice:?}")));
    assert!(harness.engine.take_snapshot(harness.now).expect("a change").overloaded());
    harness.pass(200);
    let report = harness.own().report().clone();
    assert_eq!((report.overloaded, report.lateness_ms), (Some(true), Some(499)));
    for _ in 0..25_000 {
        harness.pass(1);
    }
    assert_eq!((harness.own().report().overloaded, harness.own().report().lateness_ms), (None, None));
}

#[test]
fn changes_are_reported_by_their_urgency() {
    use super::change_limiter::Urgency;
    let harness = self::online();
    let urgency = |harness: &Harness, from, to| harness.engine.urgency(1, from, to);
    let (unknown, online, offline) = (ProbeStatus::Unknown, ProbeStatus::Online, ProbeStatus::Offline);
    assert_eq!(urgency(&harness, unknown, online), Urgency::Deferred);
    assert_eq!(urgency(&harness, online, unknown), Urgency::Ordinary);
    assert_eq!(urgency(&harness, offline, online), Urgency::Ordinary, "no quorum found it offline");
    // The status before held for less than four intervals, then for as long.
    assert_eq!(urgency(&harness, online, offline), Urgency::Ordinary);
    for (held_ms, expected) in [(39_999, Urgency::Ordinary), (40_000, Urgency::Urgent)] {
        let mut harness = self::online();
        harness.now.mono_ms += held_ms;
        let now = harness.now;
        let member = harness.membership().members()[1].clone();
        for _ in 0..=member.retry {
            harness.engine.peers[1].on_failure(now, &member, Failure::Timeout, None);
        }
        assert_eq!(urgency(&harness, online, offline), expected, "{held_ms}");
    }
}

#[test]
fn a_first_contact_that_this_node_delayed_is_still_the_first() {
    let mut harness = Harness::start(2);
    harness.step(Event::Tick);
    probe(&mut harness, Ok(()), 251);
    assert!(harness.engine.peers[1].is_first_contact());
    probe(&mut harness, Ok(()), 0);
    assert!(!harness.engine.peers[1].is_first_contact());
}

//! One core alone, whose calls end as told.

use std::sync::Arc;

use crate::mesh::engine::event::{Call, CallFinished, CallPurpose, CallReply, ReceivedReports};
use crate::mesh::sample::{self, Pen};
use crate::mesh::wire::message::{Heads, Request, write_request};
use crate::mesh::wire::observation::{Failure, ProbeStatus};
use crate::mesh::wire::report::{Report, VerifiedReport};
use crate::mesh::{Effect, Engine, EngineInit, Event, Timestamps};

const EPOCH: u64 = 1_000;

/// Node 0 of `count`, each probed every 10 s, and what it asked for last.
struct Core {
    mesh: Engine,
    now: Timestamps,
    effects: Vec<Effect>,
}

impl Core {
    fn start(count: usize) -> Self {
        let mut members = sample::members(count);
        for member in &mut members {
            member.poll_rate_ms = 10_000;
        }
        let setup = EngineInit {
            membership: sample::membership(&members, 0),
            signer: Box::new(Pen(sample::keypair(0))),
            seed: 1,
            epoch: EPOCH,
            min_reports: Vec::new(),
            proofs: Vec::new(),
        };
        // The wall clock is behind the epochs, as after a power cut.
        let now = Timestamps { mono_ms: 1, wall_ms: 500 };
        Self { mesh: Engine::new(setup, now), now, effects: Vec::new() }
    }

    fn step(&mut self, event: Event) {
        self.effects = self.mesh.step(self.now, event);
    }

    /// Lets both clocks run.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = Timestamps { mono_ms: self.now.mono_ms + 1, wall_ms: self.now.wall_ms + 1 };
            if self.mesh.deadline_ms() <= self.now.mono_ms {
                self.step(Event::Tick);
                if self.calls().next().is_some() {
                    return;
                }
            }
        }
    }

    fn calls(&self) -> impl Iterator<Item = &Call> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Call(call) => Some(call),
            _ => None,
        })
    }

    /// The one call that was asked for last.
    fn call(&self) -> Call {
        let calls: Vec<_> = self.calls().collect();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls[0].clone()
    }

    fn end(&mut self, call: &Call, outcome: Result<CallReply, Failure>, evidence: Vec<VerifiedReport>) {
        let (id, peer) = (call.id, call.peer.clone());
        self.step(Event::CallFinished(CallFinished { id, peer, outcome, evidence }));
    }

    /// The peer answers; it holds what `held` lists and sends it along.
    fn answer(&mut self, call: &Call, latest: Vec<VerifiedReport>) {
        let snapshot = sample::snapshot(self.membership().members().len(), &latest);
        let body = write_request("node-00", &snapshot, snapshot.at().mono_ms, None, &[], &[]);
        let heads = Request::parse(body.as_bytes(), self.membership()).expect("own message").heads;
        let delivery = ReceivedReports { heads, reports: latest, proofs: Vec::new() };
        self.end(
            call,
            Ok(CallReply { rtt_us: 900, took_us: 100, clock_offset_ms: 0, received: delivery }),
            Vec::new(),
        );
    }

    fn membership(&self) -> &Arc<crate::mesh::membership::Membership> {
        &self.mesh.snapshot.membership
    }

    fn own(&self) -> Arc<VerifiedReport> {
        self.mesh.snapshot.own_report().expect("it reports").clone()
    }
}

#[test]
fn a_change_that_meets_a_busy_peer_is_pushed_when_that_is_over() {
    let mut core = Core::start(2);
    core.step(Event::Tick);
    let probe = core.call();
    let first = core.own();
    assert_eq!(probe.purpose, CallPurpose::Probe);
    core.pass(200);
    // It answers and holds nothing: it is handed what there was; that it is online comes a moment later.
    core.answer(&probe, Vec::new());
    let follow_up = core.call();
    assert_eq!((follow_up.purpose, follow_up.reports[0].id()), (CallPurpose::FollowUp, first.id()));
    let second = core.own();
    assert!(second.id() > first.id(), "published at once");
    assert_eq!(core.mesh.peers[1].observation.status, ProbeStatus::Online);
    core.answer(&follow_up, vec![first.as_ref().clone()]);
    let push = core.call();
    assert_eq!((push.purpose, push.reports[0].id()), (CallPurpose::Push, second.id()));
    core.answer(&push, vec![second.as_ref().clone()]);
    assert_eq!(core.calls().count(), 0, "it is known to hold it");
}

#[test]
fn a_request_refused_for_an_epoch_that_was_left_is_sent_again() {
    let mut core = Core::start(2);
    core.step(Event::Tick);
    let probe = core.call();
    let later = sample::sealed(0, sample::report(0, EPOCH + 5, 3));
    core.end(&probe, Err(Failure::Replayed), vec![later]);
    assert!(matches!(core.effects[0], Effect::SaveEpoch(epoch) if epoch == EPOCH + 6), "{:?}", core.effects);
    assert_eq!(core.mesh.peers[1].observation.error, None, "nothing is wrong with the peer");
    core.pass(1_000);
    let again = core.call();
    assert_eq!((again.purpose, again.epoch), (CallPurpose::Probe, EPOCH + 6));
    // The second time it is the peer's word.
    core.end(&again, Err(Failure::Replayed), Vec::new());
    assert_eq!(core.mesh.peers[1].observation.error, Some(Failure::Replayed));
}

#[test]
fn a_reply_to_a_call_from_before_a_gap_of_time_is_no_sign_of_life() {
    let mut core = Core::start(2);
    core.step(Event::Tick);
    let probe = core.call();
    // As Core::pass does, but without a turn before the answer.
    core.now.mono_ms += 3_600_000;
    core.now.wall_ms += 3_600_000;
    core.answer(&probe, vec![sample::sealed(1, sample::report(1, 7, 7))]);
    assert!(core.mesh.snapshot.states[1].latest.is_none());
    assert_eq!(core.mesh.peers[1].observation.status, ProbeStatus::Unknown);
    let probe = core.call();
    assert_eq!(probe.purpose, CallPurpose::Probe, "it asks anew at once");
    core.answer(&probe, vec![sample::sealed(1, sample::report(1, 7, 8))]);
    assert!(core.mesh.snapshot.is_fresh(1, core.now.mono_ms));
}

#[test]
fn leaving_waits_for_its_last_report_alone() {
    let mut core = Core::start(3);
    core.step(Event::Tick);
    let probe = core.call();
    core.pass(200);
    let own = core.own().as_ref().clone();
    core.answer(&probe, vec![own]);
    let push = core.call();
    let own = core.own().as_ref().clone();
    core.answer(&push, vec![own]);
    core.pass(10_000);
    let hopeless = core.call();
    assert_eq!(hopeless.peer, sample::node_id(2), "which never answered");
    core.step(Event::Leaving);
    let last = core.call();
    assert_eq!(last.peer, sample::node_id(1));
    assert!(last.reports[0].report().leaving);
    assert!(!core.mesh.is_idle());
    let own = core.own().as_ref().clone();
    core.answer(&last, vec![own]);
    assert!(core.mesh.is_idle(), "it does not wait for the one that never answered");
    assert_eq!(core.mesh.deadline_ms(), u64::MAX);
    core.end(&hopeless, Err(Failure::Timeout), Vec::new());
    assert_eq!(core.calls().count(), 0);
}

#[test]
fn what_the_configuration_left_out_meanwhile_is_not_taken() {
    let mut core = Core::start(3);
    core.step(Event::Tick);
    let probe = core.call();
    let heads = Heads::empty(core.membership().clone());
    let mut members = sample::members(3);
    members[2].keys = vec![sample::keypair(99).public().clone()];
    core.step(Event::Reconfigured(sample::membership(&members, 0)));
    // Verified with the keys of before.
    let reports =
        vec![sample::sealed(1, sample::report(1, 7, 7)), sample::sealed(2, sample::report(2, 7, 7))];
    let delivery = ReceivedReports { heads, reports, proofs: Vec::new() };
    let answer = CallReply { rtt_us: 900, took_us: 100, clock_offset_ms: 0, received: delivery };
    core.end(&probe, Ok(answer), Vec::new());
    assert!(core.mesh.snapshot.states[1].latest.is_some());
    assert!(core.mesh.snapshot.states[2].latest.is_none(), "by a key that does not count any more");
}

#[test]
fn something_else_at_a_peers_address_is_no_outage_where_configurations_differ() {
    let differing = "AAAAAAAAAAA=".to_owned();
    for (differs, expected) in [(true, ProbeStatus::Unknown), (false, ProbeStatus::Offline)] {
        let mut core = Core::start(2);
        let config = if differs { differing.clone() } else { core.membership().digest().to_owned() };
        let report = |seq| sample::sealed(1, Report { config: config.clone(), ..sample::report(1, 7, seq) });
        core.step(Event::Tick);
        let probe = core.call();
        core.answer(&probe, vec![report(1)]);
        for seq in 2..10 {
            let mut probe = core.call();
            while probe.purpose != CallPurpose::Probe {
                let own = core.own().as_ref().clone();
                core.answer(&probe, vec![own]);
                core.pass(12_000);
                probe = core.call();
            }
            let heads = Heads::empty(core.membership().clone());
            let delivery = ReceivedReports { heads, reports: vec![report(seq)], proofs: Vec::new() };
            core.step(Event::RequestReceived { from: sample::node_id(1), received: delivery });
            core.end(&probe, Err(Failure::HttpStatus), Vec::new());
            let found = core.mesh.peers[1].observation;
            assert_eq!(found.error, Some(Failure::HttpStatus));
            assert!(seq > 2 || found.status == ProbeStatus::Unknown, "it may have changed just now");
            core.pass(12_000);
        }
        assert_eq!(core.mesh.peers[1].observation.status, expected);
    }
}

#[test]
fn something_else_at_the_address_of_who_is_not_heard_of_counts_in_the_end() {
    let mut core = Core::start(2);
    core.step(Event::Tick);
    let mut probe = core.call();
    while core.mesh.peers[1].observation.status != ProbeStatus::Offline {
        core.end(&probe, Err(Failure::HttpStatus), Vec::new());
        core.pass(12_000);
        probe = core.call();
        assert!(core.now.mono_ms < 60_000);
    }
    assert!(core.now.mono_ms > 40_000, "four intervals");
}

#[test]
fn every_attempt_of_a_probe_counts() {
    let mut core = Core::start(2);
    core.step(Event::Tick);
    let mut answers = vec![true, false, true];
    while !answers.is_empty() {
        if core.calls().next().is_none() {
            core.pass(60_000);
        }
        let call = core.call();
        // What follows a probe, or tells what changed, does not count.
        if call.purpose == CallPurpose::Probe && !answers.remove(0) {
            core.end(&call, Err(Failure::Timeout), Vec::new());
        } else {
            let own = core.own().as_ref().clone();
            core.answer(&call, vec![own]);
        }
    }
    // A single loss makes nobody offline, and is known all the same.
    let expected = crate::mesh::snapshot::ProbeCounts { answered: 2, failed: 1 };
    assert_eq!(core.mesh.snapshot.states[1].probes, expected);
}

"""One fault on one network: its beginning, its end, and an evaluation of the views of all nodes."""

import statistics
import time
from dataclasses import dataclass, field

from timeline import description, links, timeline, words
from truth import ALIVE, Truth

# Tolerated ratio of measured to promised times, for debug builds on busy machines; the table shows measured times.
SLACK = 2
# The longest time until all verdicts are as expected, with those that have no promised time.
DETECT_S = 20
STEADY_S = 3
HEAL_S = 20
# The time after recovery in which verdicts are still checked.
AFTER_S = 2.5
# The time until the first report over a restored path: an interval and a timeout.
GRACE_S = 2


class Stopped(Exception):
    """The run ends early."""


@dataclass
class Result:
    name: str
    expects: str
    # Verdicts at the end of the fault, as (viewer, target, status).
    seen: list = field(default_factory=list)
    agreeing: int = 0
    viewers: int = 0
    # By viewer, in s.
    detect_s: dict = field(default_factory=dict)
    bound_s: float = None
    heal_s: float = None
    lasted_s: float = 0
    # Wrong verdicts, and all other failures.
    wrong: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    timeline: list = field(default_factory=list)

    @property
    def passed(self):
        return not self.wrong and not self.failures

    @property
    def detect(self):
        times = self.detect_s.values()
        return (statistics.median(times), max(times)) if times else None


class Experiment:
    def __init__(self, name, fault, network, ended):
        self.name, self.fault, self.network, self.ended = name, fault, network, ended
        self.names = [node.name for node in network.nodes]
        self.healthy = Truth(self.names)
        self.afterwards = fault.afterwards or self.healthy
        self.viewers = [viewer for viewer in network.viewers if viewer.node.name not in fault.truth.without_view]
        self.result = Result(name, fault.expects, viewers=len(self.viewers))

    def run(self, pause_s):
        # A random moment between two probes.
        self.wait(pause_s)
        self.first = {viewer: len(viewer.states) - 1 for viewer in self.network.viewers}
        self.began = time.monotonic()
        self.fault.begin()
        if self.fault.settles:
            self.wait_until(self.all_views_are_correct, DETECT_S)
        self.wait(self.began + self.fault.hold_s - time.monotonic())
        if self.fault.settles:
            # Verdicts may change for a moment when relayed reports become stale.
            self.wait_until(self.all_views_are_correct, STEADY_S)
        self.check_processes(self.fault.truth.dead | self.fault.truth.stopped)
        # Proves that the fault is real.
        self.result.failures += self.fault.check()
        self.lifted = time.monotonic()
        self.fault.lift()
        self.wait_until(lambda: all(self.is_recovered(viewer.newest) for viewer in self.network.viewers), HEAL_S)
        self.wait(AFTER_S)
        self.check_processes(())
        self.over = time.monotonic()
        self.evaluate()
        return self.result

    def wait(self, seconds):
        if seconds > 0 and self.ended.wait(seconds):
            raise Stopped

    def wait_until(self, holds, seconds):
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            self.wait(0.05)

    def check_processes(self, expected):
        for node in self.network.nodes:
            if node.name not in expected and (not node.process or node.process.poll() is not None):
                self.result.failures.append(f"{node.name} has ended")

    def has_expected_verdicts(self, viewer, state):
        """Whether all verdicts are as expected."""
        name = viewer.node.name
        return state.verdicts is not None and all(
            state.status(target) in self.fault.truth.expected(name, target) for target in self.names)

    def all_views_are_correct(self):
        """Whether the views of all nodes show the fault correctly."""
        return all(self.is_correct(viewer.node.name, viewer.newest) for viewer in self.viewers)

    def is_correct(self, name, state):
        truth = self.fault.truth
        if state.verdicts is None or any(state.status(target) not in truth.expected(name, target)
                                         for target in self.names):
            return False
        return bool(truth.unreliable) or (
            state.links == truth.links(name) and state.partitions == truth.partitions(name))

    def is_recovered(self, state):
        return state.verdicts is not None and not state.links and not state.partitions and all(
            state.status(name) in self.afterwards.expected(self.names[0], name) for name in self.names)

    # The evaluation of the recorded views.

    def evaluate(self):
        self.states = {viewer: viewer.states[self.first[viewer]:] for viewer in self.network.viewers}
        self.result.lasted_s = self.over - self.began
        self.check_end()
        self.check_times()
        self.check_recovery()
        for viewer in self.network.viewers:
            self.check_history(viewer)
        self.result.timeline = timeline(self.began, self.lifted, self.states)

    def state_at_lift(self, viewer):
        return [state for state in self.states[viewer] if state.at <= self.lifted][-1]

    def check_end(self):
        """Checks the views at the end of the fault."""
        fail = self.result.failures.append
        for viewer in self.viewers:
            name, state, truth = viewer.node.name, self.state_at_lift(viewer), self.fault.truth
            if state.verdicts is None:
                fail(f"{name} has no view at the end of the fault")
                continue
            self.result.seen += [(name, target, state.status(target)) for target in self.names]
            if not self.fault.settles:
                self.result.agreeing += 1
                continue
            has_expected_verdicts = self.has_expected_verdicts(viewer, state)
            self.result.agreeing += has_expected_verdicts
            if not has_expected_verdicts:
                fail(f"{name} has unexpected verdicts: " + ", ".join(
                    f"{target} {state.status(target)} instead of {' or '.join(sorted(truth.expected(name, target)))}"
                    for target in self.names if state.status(target) not in truth.expected(name, target)))
                continue
            for target in self.names:
                missing = truth.causes(name, target) - set(state.verdicts[target].causes)
                if missing:
                    fail(f"{name}: {target} is {state.status(target)} by {words(state.verdicts[target].causes)}: "
                         f"expected {words(missing)} among the causes")
            if not truth.unreliable:
                if state.links != truth.links(name):
                    fail(f"{name} reports the links {links(state.links)}: expected {links(truth.links(name))}")
                if state.partitions != truth.partitions(name):
                    fail(f"{name} reports the partitions {state.partitions}: expected {truth.partitions(name)}")

    def check_times(self):
        """Measures the time until expected `down` verdicts, or else until the view is correct, and checks its limit."""
        truth = self.fault.truth
        if not self.fault.settles or truth.unreliable or truth.has_no_fault:
            return
        down = [(viewer, target) for viewer in self.viewers for target in self.names
                if "down" in truth.expected(viewer.node.name, target)]
        for viewer in self.viewers:
            name = viewer.node.name
            if not down:
                self.record_time(viewer, lambda state: self.is_correct(name, state))
            for target in (target for other, target in down if other is viewer):
                self.record_time(viewer, lambda state: state.status(target) in truth.expected(name, target))
        if down:
            self.result.bound_s = self.fault.bound_s
            worst = max(self.result.detect_s.values(), default=0)
            if worst > SLACK * self.fault.bound_s:
                self.result.failures.append(
                    f"down after {worst:.1f} s: expected {self.fault.bound_s} s, at most {SLACK} times that")

    def record_time(self, viewer, holds):
        """Records the time from the beginning of the fault until the condition lasts, the longest of each viewer."""
        since = None
        for state in self.states[viewer]:
            if state.at > self.lifted:
                break
            if not holds(state):
                since = None
            elif since is None:
                since = state.at
        if since is not None:
            name = viewer.node.name
            self.result.detect_s[name] = max(self.result.detect_s.get(name, 0), since - self.began, 0)

    def check_recovery(self):
        last = []
        for viewer in self.network.viewers:
            since = None
            for state in self.states[viewer]:
                if not self.is_recovered(state):
                    since = None
                elif since is None:
                    since = state.at
            if since is None:
                state = self.states[viewer][-1]
                text = "no view" if state.verdicts is None else description(state)
                self.result.failures.append(f"{viewer.node.name} has not healed {self.over - self.lifted:.0f} s "
                                            f"after the fault: {text}")
            else:
                last.append(max(0, since - self.lifted))
                self.check_outages(viewer)
        if len(last) == len(self.network.viewers):
            self.result.heal_s = max(last)

    def check_outages(self, viewer):
        """Checks that outages distinguish nodes that were cut off from restarted ones. A hung node is neither."""
        before, state = self.state_at_lift(viewer), self.states[viewer][-1]
        for target in self.names:
            if before.status(target) != "down" or target in self.fault.truth.hung:
                continue
            outage = state.verdicts[target].outage
            cut_off = target not in self.fault.truth.dead
            if not outage or outage[1] != cut_off:
                self.result.failures.append(
                    f"{viewer.node.name} reports the outage {outage} of {target}: expected one that is "
                    f"{'cut off' if cut_off else 'not cut off'}")

    def check_history(self, viewer):
        """Checks each verdict of this node at any time."""
        name, states = viewer.node.name, self.states[viewer]
        before = None
        for state, until in zip(states, [state.at for state in states[1:]] + [self.over]):
            if state.verdicts is None:
                continue
            for target in self.names:
                status = state.status(target)
                old = before.status(target) if before else None
                reason = None
                if status == "down" and old != "down" and not self.may_be_down(name, target, state.at):
                    reason = "it is alive with a path to the viewer, or the viewer is in the smaller partition"
                elif status == "conflict" and target not in self.fault.truth.conflict:
                    reason = "it has signed no number twice"
                elif status == "stopped" and target not in self.fault.truth.stopped:
                    reason = "it was not stopped"
                elif status == "never seen" and name not in self.fault.restarted and target not in self.fault.restarted:
                    reason = "it has reported before"
                elif status in ALIVE and target in self.fault.truth.dead | self.fault.truth.hung:
                    limit_s = SLACK * self.fault.bound_s
                    if state.at < self.lifted and min(until, self.lifted) - self.began > limit_s:
                        reason = f"it has been dead for more than {limit_s} s"
                elif status == "unknown" and old not in (None, "unknown"):
                    # No wrong verdict, but a failure.
                    if not self.may_be_unknown(name, target, state.at):
                        self.result.failures.append(f"{self.time(state.at)} {name} reports unknown for {target}, "
                                                    "which is alive with a path to the viewer")
                if reason:
                    self.result.wrong.append(
                        f"{self.time(state.at)} {name} reports {target} {status}: {reason}")
            before = state

    def may_be_down(self, viewer, target, at):
        # A node that was dead or hung has missed the end of others.
        return (viewer not in self.fault.truth.without_view and self.fault.truth.may_be_down(viewer, target)
                and self.began <= at <= self.lifted + GRACE_S)

    def may_be_unknown(self, viewer, target, at):
        if viewer in self.fault.restarted:
            return True
        return target not in self.fault.truth.component(viewer) and self.began <= at <= self.lifted + GRACE_S

    def time(self, at):
        if at < self.lifted or self.lifted < self.began:
            return f"{at - self.began:+7.2f} s"
        return f"{at - self.began:+7.2f} s (lifted {at - self.lifted:+.2f} s)"

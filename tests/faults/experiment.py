"""One fault on one network: done, watched, undone, and judged by everything that was seen."""

import statistics
import time
from dataclasses import dataclass, field

from timeline import describe, links, timeline, words
from truth import ALIVE, Truth

# How far a debug build on a busy machine may miss what the design promises; the true figures are told.
SLACK = 2
# Until all verdicts are as they must be, those too that the design gives no time for.
SETTLED_S = 20
STEADY_S = 3
HEALED_S = 20
# How long the end of a fault is watched on.
AFTER_S = 2.5
# A path that has just come back has not brought anything yet: an interval and a timeout.
GRACE_S = 2


class Ended(Exception):
    """Somebody wants the whole to end."""


@dataclass
class Result:
    name: str
    expects: str
    # (viewer, target, verdict) at the end of the fault.
    seen: list = field(default_factory=list)
    agreeing: int = 0
    viewers: int = 0
    # By viewer, in s.
    detect_s: dict = field(default_factory=dict)
    bound_s: float = None
    heal_s: float = None
    lasted_s: float = 0
    # Verdicts that nothing excuses, and everything else that is not as it must be.
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
        self.viewers = [viewer for viewer in network.viewers if viewer.node.name not in fault.truth.mute]
        self.result = Result(name, fault.expects, viewers=len(self.viewers))

    def run(self, pause_s):
        # At any moment between two probes.
        self.wait(pause_s)
        self.first = {viewer: len(viewer.looks) - 1 for viewer in self.network.viewers}
        self.began = time.monotonic()
        self.fault.begin()
        if self.fault.settles:
            self.wait_until(self.is_told, SETTLED_S)
        self.wait(self.began + self.fault.hold_s - time.monotonic())
        if self.fault.settles:
            # It may change for a moment what is told, as reports that came a long way grow old.
            self.wait_until(self.is_told, STEADY_S)
        self.check_processes(self.fault.truth.dead | self.fault.truth.stopped)
        # That the fault is real, before anything is said of what was seen of it.
        self.result.failures += self.fault.check()
        self.lifted = time.monotonic()
        self.fault.lift()
        self.wait_until(lambda: all(self.is_well(viewer.newest) for viewer in self.network.viewers), HEALED_S)
        self.wait(AFTER_S)
        self.check_processes(())
        self.over = time.monotonic()
        self.judge()
        return self.result

    def wait(self, seconds):
        if seconds > 0 and self.ended.wait(seconds):
            raise Ended

    def wait_until(self, holds, seconds):
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            self.wait(0.05)

    def check_processes(self, expected):
        for node in self.network.nodes:
            if node.name not in expected and (not node.process or node.process.poll() is not None):
                self.result.failures.append(f"{node.name} has ended by itself")

    def agrees(self, viewer, look):
        """Whether all verdicts are those that the truth demands."""
        name = viewer.node.name
        return look.standings is not None and all(
            look.status(target) in self.fault.truth.expected(name, target) for target in self.names)

    def is_told(self):
        """Whether every viewer tells the fault as it is."""
        return all(self.tells_all(viewer.node.name, viewer.newest) for viewer in self.viewers)

    def tells_all(self, name, look):
        truth = self.fault.truth
        if look.standings is None or any(look.status(target) not in truth.expected(name, target)
                                         for target in self.names):
            return False
        return bool(truth.unsure) or (look.links == truth.links(name) and look.sides == truth.sides(name))

    def is_well(self, look):
        return look.standings is not None and not look.links and not look.sides and all(
            look.status(name) in self.afterwards.expected(self.names[0], name) for name in self.names)

    # Afterwards, from all that was seen.

    def judge(self):
        self.looks = {viewer: viewer.looks[self.first[viewer]:] for viewer in self.network.viewers}
        self.result.lasted_s = self.over - self.began
        self.judge_end()
        self.judge_times()
        self.judge_heal()
        for viewer in self.network.viewers:
            self.judge_all(viewer)
        self.result.timeline = timeline(self.began, self.lifted, self.looks)

    def at_lift(self, viewer):
        return [look for look in self.looks[viewer] if look.at <= self.lifted][-1]

    def judge_end(self):
        """What stood when the fault was lifted."""
        fail = self.result.failures.append
        for viewer in self.viewers:
            name, look, truth = viewer.node.name, self.at_lift(viewer), self.fault.truth
            if look.standings is None:
                fail(f"{name} cannot be asked at the end of the fault")
                continue
            self.result.seen += [(name, target, look.status(target)) for target in self.names]
            if not self.fault.settles:
                self.result.agreeing += 1
                continue
            agrees = self.agrees(viewer, look)
            self.result.agreeing += agrees
            if not agrees:
                fail(f"{name} does not come to the verdicts that must stand: " + ", ".join(
                    f"{target} {look.status(target)} instead of {' or '.join(sorted(truth.expected(name, target)))}"
                    for target in self.names if look.status(target) not in truth.expected(name, target)))
                continue
            for target in self.names:
                missing = truth.causes(name, target) - set(look.standings[target].causes)
                if missing:
                    fail(f"{name}: {target} is {look.status(target)} by {words(look.standings[target].causes)}: "
                         f"expected {words(missing)} among the causes")
            if not truth.unsure:
                if look.links != truth.links(name):
                    fail(f"{name} names the links {links(look.links)}: expected {links(truth.links(name))}")
                if look.sides != truth.sides(name):
                    fail(f"{name} names the sides {look.sides}: expected {truth.sides(name)}")

    def judge_times(self):
        """How long it took until what must be down was down; where nothing is, until all was told as it is."""
        truth = self.fault.truth
        if not self.fault.settles or truth.unsure or truth.is_all_well:
            return
        down = [(viewer, target) for viewer in self.viewers for target in self.names
                if "down" in truth.expected(viewer.node.name, target)]
        for viewer in self.viewers:
            name = viewer.node.name
            if not down:
                self.note_time(viewer, lambda look: self.tells_all(name, look))
            for target in (target for other, target in down if other is viewer):
                self.note_time(viewer, lambda look: look.status(target) in truth.expected(name, target))
        if down:
            self.result.bound_s = self.fault.bound_s
            worst = max(self.result.detect_s.values(), default=0)
            if worst > SLACK * self.fault.bound_s:
                self.result.failures.append(
                    f"down after {worst:.1f} s: expected {self.fault.bound_s} s, at most {SLACK} times that")

    def note_time(self, viewer, holds):
        """How long after the fault began it came to hold for good, the longest for each viewer."""
        since = None
        for look in self.looks[viewer]:
            if look.at > self.lifted:
                break
            if not holds(look):
                since = None
            elif since is None:
                since = look.at
        if since is not None:
            name = viewer.node.name
            self.result.detect_s[name] = max(self.result.detect_s.get(name, 0), since - self.began, 0)

    def judge_heal(self):
        last = []
        for viewer in self.network.viewers:
            since = None
            for look in self.looks[viewer]:
                if not self.is_well(look):
                    since = None
                elif since is None:
                    since = look.at
            if since is None:
                look = self.looks[viewer][-1]
                told = "cannot be asked" if look.standings is None else describe(look)
                self.result.failures.append(f"{viewer.node.name} has not healed {self.over - self.lifted:.0f} s "
                                            f"after the fault: {told}")
            else:
                last.append(max(0, since - self.lifted))
                self.judge_outages(viewer)
        if len(last) == len(self.network.viewers):
            self.result.heal_s = max(last)

    def judge_outages(self, viewer):
        """A node that lived beyond a cut is told apart from one that was started anew. A hung one is neither."""
        before, look = self.at_lift(viewer), self.looks[viewer][-1]
        for target in self.names:
            if before.status(target) != "down" or target in self.fault.truth.hung:
                continue
            outage = look.standings[target].outage
            cut_off = target not in self.fault.truth.dead
            if not outage or outage[1] != cut_off:
                self.result.failures.append(
                    f"{viewer.node.name} tells of {target} afterwards {outage}: expected an outage, "
                    f"{'cut off' if cut_off else 'not cut off'}")

    def judge_all(self, viewer):
        """Each verdict that this node has shown, at any time."""
        name, looks = viewer.node.name, self.looks[viewer]
        before = None
        for look, until in zip(looks, [look.at for look in looks[1:]] + [self.over]):
            if look.standings is None:
                continue
            for target in self.names:
                status = look.status(target)
                old = before.status(target) if before else None
                reason = None
                if status == "down" and old != "down" and not self.may_be_down(name, target, look.at):
                    reason = "it lives, and a path joins the two, or this is the smaller side"
                elif status == "conflict" and target not in self.fault.truth.conflict:
                    reason = "it signed nothing twice"
                elif status == "stopped" and target not in self.fault.truth.stopped:
                    reason = "nobody stopped it"
                elif status == "never seen" and name not in self.fault.renewed and target not in self.fault.renewed:
                    reason = "it was seen before"
                elif status in ALIVE and target in self.fault.truth.dead | self.fault.truth.hung:
                    limit_s = SLACK * self.fault.bound_s
                    if look.at < self.lifted and min(until, self.lifted) - self.began > limit_s:
                        reason = f"it has been dead for more than {limit_s} s"
                elif status == "unknown" and old not in (None, "unknown"):
                    # Not wrong, and yet not as it must be.
                    if not self.may_be_unknown(name, target, look.at):
                        self.result.failures.append(f"{self.time(look.at)} {name} cannot tell of {target}, which "
                                                    "lives, and whose reports come")
                if reason:
                    self.result.wrong.append(
                        f"{self.time(look.at)} {name} says that {target} is {status}: {reason}")
            before = look

    def may_be_down(self, viewer, target, at):
        # A node that was dead itself, or hung, knows of nobody's end.
        return (viewer not in self.fault.truth.mute and self.fault.truth.may_be_down(viewer, target)
                and self.began <= at <= self.lifted + GRACE_S)

    def may_be_unknown(self, viewer, target, at):
        if viewer in self.fault.renewed:
            return True
        return target not in self.fault.truth.component(viewer) and self.began <= at <= self.lifted + GRACE_S

    def time(self, at):
        if at < self.lifted or self.lifted < self.began:
            return f"{at - self.began:+7.2f} s"
        return f"{at - self.began:+7.2f} s (lifted {at - self.lifted:+.2f} s)"

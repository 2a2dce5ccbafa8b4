"""A large network in which every node observes every other: started at the same moment, partly suspended, short of
processor time, and with one killed node."""

import contextlib
import statistics
import time

from network import Network
from processor_limit import processor_limit
from scenario import MEMORY_RATIO, MEMORY_S, Scenario

NODES = 64
# How much slower than the reference a machine may be before the network is smaller: the steady state of 64 nodes in a
# development build needs two fifths of the reference.
SPARE = 1.5
COLD_S = 20
# How much longer than its limit a cold start is observed, before the scenarios that need the network are given up.
PATIENCE_S = 40
# The time over which the steady state is measured, in intervals.
STEADY_INTERVALS = 2
# Memory depends on the program and hardly on the machine: twice the target for release builds (tests/bench).
STEADY_MB = 32
# Of 64 nodes, in which the others are a quorum.
SUSPENDED = 24 / 64
SUSPENDED_S = 45
LIMITED_SHARE = 0.5
LIMITED_S = 60
RECOVERY_INTERVALS = 3
KILLED_INTERVALS = (2, 2.6)


def node_count(factor):
    """Returns the number of nodes for a machine that is slower by `factor`: their work grows with its square."""
    return round(NODES / max(1, factor / SPARE) ** 0.5)


class LargeNetwork:
    """The scenarios of one large network, of which each begins in the state that the one before left."""

    def __init__(self, run, chosen, count):
        self.run, self.chosen = run, chosen
        self.network = Network(run.program, run.directory / "large", count)
        self.steady = None

    def scenarios(self):
        with self.network:
            self.cold()
            for name in ("resume", "limited", "killed"):
                if name not in self.chosen:
                    continue
                if self.steady is None:
                    self.run.not_run(name, "the network did not come up")
                else:
                    # Each scenario finds the network as after the start, or it would measure the one before.
                    if getattr(self, name)() is False:
                        self.steady = None

    def scenario(self, name, begun=None):
        return Scenario(self.run, name, self.network, begun)

    def cold(self):
        """All nodes start at the same moment, as after a power cut."""
        begun = self.network.start()
        with self.scenario("cold", begun) as scenario:
            recording = scenario.recording
            if not scenario.check_settled(begun, COLD_S * self.run.factor, PATIENCE_S):
                return
            settled = time.time()
            scenario.result.processor_s = recording.processor_s()
            recording.wait(STEADY_INTERVALS * self.network.poll_rate_s)
            share = (recording.processor_s() - scenario.result.processor_s) / (time.time() - settled)
            print(f"  note    {share:.0%} of one processor in the steady state", flush=True)

            # All nodes do the same work: one that is larger than most has kept what the start needed.
            def is_flat():
                found = recording.usage()
                return found.largest_mb <= MEMORY_RATIO * found.median_mb

            is_met = recording.wait_until(is_flat, settled + MEMORY_S - time.time())
            steady = recording.usage()
            scenario.checks.that(
                f"no node has more than {MEMORY_RATIO} times the resident memory of the median a minute later: "
                f"{steady.largest_mb:.1f} MB of {steady.median_mb:.1f} MB", is_met)
            scenario.checks.that(f"no node has more than {STEADY_MB} MB resident: {steady.largest_mb:.1f} MB",
                                 steady.largest_mb <= STEADY_MB)
            self.steady = steady

    def resume(self):
        """Many nodes are suspended together, as guests of one hypervisor, and continue together."""
        nodes = self.run.random.sample(self.network.nodes, round(SUSPENDED * len(self.network.nodes)))
        suspended = {node.name for node in nodes}
        live = set(self.network.names) - suspended
        interval_s, timeout_s = self.network.poll_rate_s, self.network.timeout_s
        is_settled = False
        with self.scenario("resume") as scenario, contextlib.ExitStack() as stack:
            stack.callback(lambda: [node.resume() for node in nodes])
            for node in nodes:
                node.suspend()
            began = time.time()
            scenario.recording.wait(SUSPENDED_S)
            scenario.network.journal.update()
            detected = [scenario.network.journal.first_down(live, name, began) for name in suspended]
            stack.close()
            resumed = time.time()

            # A verdict may be decided just before the first sign of life, which arrives with a probe.
            def may_be_down(change):
                return (change.viewer in live and change.node in suspended
                        and began <= change.at <= resumed + interval_s + timeout_s)

            scenario.may_be_down = may_be_down
            # Suspended nodes accept connections, so that only the limit for unanswered probes applies: 2 I + 1.75 T of
            # silence. It is counted from the last report, but votes may come an interval and a quarter later.
            limit_s = min(SUSPENDED_S, 3.25 * interval_s + 1.75 * timeout_s + (self.run.factor - 1) * timeout_s)
            times = [at - began for found in detected for at in found.values()]
            expected = len(live) * len(suspended)
            scenario.check_time("suspended down", max(times) if len(times) == expected else None, limit_s,
                                f"{len(times)} of {expected} verdicts down")
            is_settled = scenario.check_settled(resumed, scenario.limit(RECOVERY_INTERVALS), interval_s)
            scenario.check_memory(self.steady, resumed)
        return is_settled

    def limited(self):
        """All nodes together get half of the processor, and nothing else fails."""
        is_settled = False
        with self.scenario("limited") as scenario:
            with processor_limit(self.network.pids(), LIMITED_SHARE) as limit:
                scenario.recording.wait(LIMITED_S)
            lifted = time.time()
            scenario.result.note = limit.description()
            print(f"  note    {scenario.result.note}", flush=True)
            is_settled = scenario.check_settled(lifted, scenario.limit(RECOVERY_INTERVALS), self.network.poll_rate_s)
            scenario.check_memory(self.steady, lifted)
        return is_settled

    def killed(self):
        """One node is killed in the steady state after the storms."""
        with self.scenario("killed") as scenario:
            victim = self.run.random.choice(self.network.nodes)
            viewers = set(self.network.names) - {victim.name}
            # A random moment between two probes.
            scenario.recording.wait(self.run.random.random() * self.network.poll_rate_s)
            killed = time.time()
            victim.kill()
            scenario.may_be_down = lambda change: change.node == victim.name and change.at >= killed
            check_killed(scenario, viewers, [(victim.name, killed)], KILLED_INTERVALS)
        return True


def check_killed(scenario, viewers, killed, intervals, is_over=False):
    """Waits until all `viewers` call the nodes down that were killed, given with the Unix time, and checks the median and
    the worst time. `is_over` means that the time to wait is over."""
    journal = scenario.network.journal
    median_s, worst_s = map(scenario.limit, intervals)

    def times():
        return [at - since for name, since in killed for at in journal.first_down(viewers, name, since).values()]

    expected = sum(len(viewers - {name}) for name, _ in killed)
    if not is_over:
        scenario.recording.wait_until(lambda: len(times()) == expected, 2 * worst_s)
    found = times()
    is_complete = len(found) == expected
    otherwise = "" if is_complete else f"{len(found)} of {expected} verdicts down"
    scenario.check_time("median", statistics.median(found) if is_complete else None, median_s, otherwise)
    scenario.check_time("worst", max(found) if is_complete else None, worst_s, otherwise)

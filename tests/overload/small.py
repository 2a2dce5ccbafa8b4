"""Networks of five nodes: one that runs for a small part of the time, and killed nodes."""

import statistics
import time

from gaps import GapMeter
from large import RECOVERY_INTERVALS, check_killed
from network import Network
from processor_limit import DutyCycle
from scenario import Scenario

NODES = 5
POLL_RATE_S = 1
TIMEOUT_S = 1
START_S = 10
# Two per cent of the time, in slices that are shorter than a timeout.
SLICE_S = 0.01
PERIOD_S = 0.5
SLICES_S = 30
REPETITIONS = 8
KILLED_INTERVALS = (2.2, 3.2)


class SmallNetwork(Network):
    """Five nodes, which are up when the context begins."""

    def __init__(self, run, name):
        super().__init__(run.program, run.directory / name, NODES, POLL_RATE_S, TIMEOUT_S)


def check_started(scenario, begun):
    if not scenario.recording.wait_until_settled(START_S * scenario.factor)[0]:
        raise RuntimeError("the five nodes do not call each other up")


def slices(run, meanwhile):
    """One node is nearly without processor time; `meanwhile` runs during that, on other nodes."""
    with SmallNetwork(run, "slices") as network:
        begun = network.start()
        with Scenario(run, "slices", network, begun) as scenario:
            check_started(scenario, begun)
            node = run.random.choice(network.nodes)
            token = network.request_token()
            meters = {viewer.name: GapMeter(viewer, node, token) for viewer in network.nodes if viewer is not node}
            for meter in meters.values():
                meter.start()
            if not scenario.recording.wait_until(lambda: all(meter.advances for meter in meters.values()), START_S):
                raise RuntimeError(f"no new report of {node.name} arrives")
            with DutyCycle([node.process.pid], SLICE_S, PERIOD_S) as duty_cycle:
                until = time.monotonic() + SLICES_S
                meanwhile()
                scenario.recording.wait(until - time.monotonic())
            lifted = time.time()
            for meter in meters.values():
                meter.end()
            scenario.result.note = duty_cycle.description()
            check_gaps(scenario, meters)
            scenario.may_be_down = lambda change: (
                change.node == node.name and change.viewer in meters and is_hang(change.at, meters[change.viewer]))
            scenario.check_settled(lifted, scenario.limit(RECOVERY_INTERVALS), POLL_RATE_S)


def check_gaps(scenario, meters):
    """Prints the gaps between reports. Checks that most are within the limit, without which the scenario proves nothing."""
    for meter in meters.values():
        if meter.error:
            raise meter.error
    gaps = [gap for meter in meters.values() for gap in meter.gaps()]
    median_s, worst_s = (statistics.median(gaps), max(gaps)) if gaps else (None, None)
    scenario.result.times["gaps, worst"] = worst_s
    scenario.result.limits["gaps, worst"] = limit_s(False)
    found = f"median {median_s:.1f} s, worst {worst_s:.1f} s" if gaps else "no report"
    scenario.checks.that(f"the reports of the node in slices advance: {found}",
                         gaps and median_s <= limit_s(False) - 2 * PERIOD_S, "expected a shorter median")


def limit_s(is_overloaded):
    """Returns the longest silence without a verdict `down` for a node that refuses no connection: 2 I + 1.75 T, or
    4 I + 2 T after a report that says `overloaded`."""
    return 4 * POLL_RATE_S + 2 * TIMEOUT_S if is_overloaded else 2 * POLL_RATE_S + 1.75 * TIMEOUT_S


def is_hang(at, meter):
    """Whether the silence at the Unix time `at` was too long for the verdict `up`."""
    silent_s, is_overloaded = meter.silence(at)
    return silent_s > limit_s(is_overloaded)


def killed(run):
    """One node after the other is killed."""
    with SmallNetwork(run, "killed5") as network:
        begun = network.start()
        with Scenario(run, "killed5", network, begun) as scenario:
            check_started(scenario, begun)
            kills = []

            def may_be_down(change):
                return any(change.node == name and killed <= change.at <= up for name, killed, up in kills)

            scenario.may_be_down = may_be_down
            for repetition in range(REPETITIONS):
                victim = network.nodes[repetition % NODES]
                # A random moment between two probes.
                scenario.recording.wait(run.random.random() * POLL_RATE_S)
                at = time.time()
                victim.kill()
                kills.append((victim.name, at, float("inf")))
                viewers = set(network.names) - {victim.name}
                scenario.recording.wait_until(
                    lambda: len(network.journal.first_down(viewers, victim.name, at)) == len(viewers), 10 * POLL_RATE_S)
                victim.start()
                # The first report of the new process takes up to an interval and a timeout.
                kills[-1] = (victim.name, at, time.time() + POLL_RATE_S + TIMEOUT_S)
                check_started(scenario, at)
            check_killed(scenario, set(network.names), [kill[:2] for kill in kills], KILLED_INTERVALS, is_over=True)

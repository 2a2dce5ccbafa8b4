"""A network with observer rings, in which each node observes ten others."""

from network import Network
from scenario import Scenario

NODES = 200
RINGS = 10
COLD_S = 30
# How much longer than its limit the start is observed.
PATIENCE_S = 15


def rings(run, count=NODES):
    """All nodes start at the same moment."""
    with Network(run.program, run.directory / "rings", count, rings=RINGS) as network:
        begun = network.start()
        with Scenario(run, "rings", network, begun) as scenario:
            if scenario.check_settled(begun, COLD_S * run.factor, PATIENCE_S):
                scenario.result.processor_s = scenario.recording.processor_s()
                # Verdicts on live nodes become wrong only when reports are overdue.
                scenario.recording.wait(network.poll_rate_s)

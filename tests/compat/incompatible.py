"""Networks with the last incompatible release: it and this one do not read each other's reports, and neither calls the
other down while it runs."""

from network import SILENCE_S, Network
from previous import is_whole
from timeline import Timeline

INCOMPATIBLE = ("unknown", "incompatible release")


def check(checks, programs):
    print("a new network of 1 node of this release and 2 of the incompatible one, which are upgraded:", flush=True)
    mixed = [programs.current] + [programs.incompatible] * 2
    with Network(programs.incompatible, mixed) as network, Timeline(network) as timeline:
        with checks.logs_if_failed(network):
            check_upgrade(checks, programs, network, timeline)
    print("a network of 4 nodes of the incompatible release, of which 3 are upgraded and the other one crashes:", flush=True)
    with Network(programs.incompatible, [programs.incompatible] * 4) as network, Timeline(network) as timeline:
        with checks.logs_if_failed(network):
            check_crash(checks, programs, network, timeline)


def check_upgrade(checks, programs, network, timeline):
    check_side_by_side(checks, programs, network, timeline)
    network.replace("node-2", programs.current)
    check_side_by_side(checks, programs, network, timeline)
    network.replace("node-3", programs.current)
    timeline.settle(checks, "after the upgrade of the last one, every node is up on every node", is_whole)


def check_side_by_side(checks, programs, network, timeline):
    current, earlier = network.running(programs.current), network.running(programs.incompatible)

    def is_settled(verdicts):
        return all(
            verdicts[viewer, subject] == INCOMPATIBLE if subject in earlier else verdicts[viewer, subject][0] == "up"
            for viewer in current for subject in network.running())

    def is_right(viewer, subject, status, cause):
        if viewer in current:
            return (status, cause) == INCOMPATIBLE if subject in earlier else status == "up"
        return status != "down"

    def is_tolerable(viewer, subject, status, cause):
        """The restart for an upgrade may count as a failure, but no node of the incompatible release was restarted."""
        return status != "down" or (viewer in current and subject in current)

    listed = " and ".join(earlier)
    timeline.settle(checks, f"{listed} of the incompatible release becomes unknown, with that cause", is_settled)
    begin = timeline.pause(3 * SILENCE_S)
    checks.equal("… and stays that, while no other node is down", timeline.exceptions(begin, is_right), [])
    checks.equal("neither release ever called the other down", timeline.exceptions(0, is_tolerable), [])


def check_crash(checks, programs, network, timeline):
    timeline.settle(checks, "every node is up on every node", is_whole)
    for node in ("node-1", "node-2", "node-3"):
        network.replace(node, programs.current)
    check_side_by_side(checks, programs, network, timeline)
    network.kill("node-4")

    def is_down(verdicts):
        return all(status == ("down" if subject == "node-4" else "up") for (_, subject), (status, _) in verdicts.items())

    timeline.settle(checks, "the node of the incompatible release is down after it was killed", is_down)
    network.programs["node-4"] = programs.current
    network.start("node-4")
    timeline.settle(checks, "it is up again after a start with this release", is_whole)

"""Networks with the last incompatible release: it and this one do not read each other's reports, and neither calls the
other down while it runs."""

import parallel
from network import SILENCE_S, TIMEOUT_S, Network
from node_process import free_ports
from previous import is_whole
from recorder import Recorder, Replay
from timeline import NO_VOTES, Timeline

INCOMPATIBLE = ("unknown", "incompatible release")
# The verdict while the reports of all observers that can vote are too old.
WITHOUT_VOTES = ("unknown", NO_VOTES)
# The poll rate of the slow nodes of a network.
SLOW_S = 2
# Requests replayed in a second.
REPLAY_RATE = 2
# The statuses of rejected requests.
REJECTED = {"400", "401", "409", "429"}


def check(checks, programs):
    # Allocated here, so that no two scenarios choose the same ones.
    ports = iter(free_ports(6 * 7))

    def scenario(function):
        taken = [next(ports) for _ in range(7)]
        return lambda checks: function(checks, programs, taken)

    parallel.run(checks, [scenario(function) for function in (upgrade, crash, replay)])
    parallel.run(checks, [scenario(function) for function in (rings, without_url, poll_rates)])


def upgrade(checks, programs, ports):
    print("a new network of 1 node of this release and 2 of the incompatible one, which are upgraded:", flush=True)
    mixed = [programs.current] + [programs.incompatible] * 2
    with Network(programs.incompatible, mixed, ports) as network, Timeline(network) as timeline:
        with checks.logs_if_failed(network):
            check_upgrade(checks, programs, network, timeline)


def crash(checks, programs, ports):
    print("a network of 4 nodes of the incompatible release, of which 3 are upgraded and the other one crashes:", flush=True)
    with Network(programs.incompatible, [programs.incompatible] * 4, ports) as network, Timeline(network) as timeline:
        with checks.logs_if_failed(network):
            check_crash(checks, programs, network, timeline)


def rings(checks, programs, ports):
    print("a network of 7 nodes of the incompatible release with 3 observers each, of which 4 are upgraded:", flush=True)
    upgraded = ("node-1", "node-2", "node-3", "node-4")
    earlier = [programs.incompatible] * 7
    with Network(programs.incompatible, earlier, ports, observers=3) as network, Timeline(network) as timeline:
        with checks.logs_if_failed(network):
            check_partial_upgrade(checks, programs, network, timeline, upgraded)
            observed = {node: set(network.observed(node)) for node in network.programs}
            one_way = [(node, other) for node in upgraded for other in observed[node].difference(upgraded)
                       if node not in observed[other]]
            what = "upgraded nodes observe nodes of the incompatible release that do not probe them"
            checks.that(what, one_way, observed)


def without_url(checks, programs, ports):
    print("a network of 6 nodes of the incompatible release, 4 of them without url, of which 4 are upgraded:", flush=True)
    # Of the 4 upgraded nodes that observe node-5, it calls one only.
    without_url = ("node-2", "node-3", "node-4", "node-6")
    earlier = [programs.incompatible] * 6
    network = Network(programs.incompatible, earlier, ports, without_url=without_url)
    with network, Timeline(network) as timeline, checks.logs_if_failed(network):
        check_partial_upgrade(checks, programs, network, timeline, ("node-1", "node-2", "node-3", "node-4"))


def poll_rates(checks, programs, ports):
    print("a network of 5 nodes of the incompatible release, of which 3 are upgraded and 2 are polled at a slow rate:", flush=True)
    slow = {"node-3": SLOW_S, "node-4": SLOW_S}
    earlier = [programs.incompatible] * 5
    # A slow node is called less often than (retry + 1) × POLL_RATE_S + timeout.
    network = Network(programs.incompatible, earlier, ports, poll_rates=slow, timeout=1)
    with network, Timeline(network, interval_s=0.1) as timeline, checks.logs_if_failed(network):
        upgraded = ("node-1", "node-2", "node-3")
        check_partial_upgrade(checks, programs, network, timeline, upgraded)
        begin = timeline.pause(5 * SLOW_S)
        checks.equal("no observation of an upgraded node changes any more", timeline.changes(begin, upgraded), {})


def check_partial_upgrade(checks, programs, network, timeline, upgraded):
    timeline.settle(checks, "every node is up on every node", is_whole)
    network.upgrade(upgraded, programs.current)
    begin = check_side_by_side(checks, programs, network, timeline)
    offline = timeline.offline(begin, upgraded, network.running(programs.incompatible))
    checks.equal("no upgraded node observes one of the incompatible release offline", offline, [])


def replay(checks, programs, ports):
    print("a network of 4 nodes of the incompatible release, of which 3 are upgraded; requests of the other one are replayed:", flush=True)
    earlier = [programs.incompatible] * 4
    *ports, proxy = ports[:5]
    urls = {("node-4", "node-1"): f"http://127.0.0.1:{proxy}"}
    with Recorder(proxy, ports[0]) as recorder:
        network = Network(programs.incompatible, earlier, ports, replaced_urls=urls)
        with network, Timeline(network) as timeline, checks.logs_if_failed(network):
            check_replay(checks, programs, network, timeline, recorder)


def check_replay(checks, programs, network, timeline, recorder):
    # A node of which no report ever arrived would be never seen, not down.
    check_partial_upgrade(checks, programs, network, timeline, ("node-1", "node-2", "node-3"))
    checks.that("requests were recorded", len(recorder.requests) >= 30, len(recorder.requests))
    # Without the last ones: each is newer than what the other observers received, and counts as a sign of life once there.
    requests = recorder.requests[-30:-10]

    def is_down(verdicts):
        return all(status == ("down" if subject == "node-4" else "up") for (_, subject), (status, _) in verdicts.items())

    def check_crash(release):
        network.kill("node-4")
        ports = [network.ports[number] for number in range(3)]
        with Replay(requests, ports, REPLAY_RATE) as replay:
            what = f"the node of {release} is down after it was killed while its old requests are replayed"
            timeline.settle(checks, what, is_down, SILENCE_S + TIMEOUT_S)
            begin = timeline.pause(2 * SILENCE_S)
            exceptions = timeline.exceptions(begin, lambda _, subject, status, __: (subject != "node-4") or status == "down")
            checks.equal("… and stays that", exceptions, [])
        replies = {reply.split(" ")[1] if reply.startswith("HTTP/1.1 4") else reply for reply in replay.replies}
        checks.that("… which rejects the replayed requests", replies and replies <= REJECTED, replies)

    check_crash("the incompatible release")
    network.programs["node-4"] = programs.current
    network.start("node-4")
    timeline.settle(checks, "it is up again after a start with this release", is_whole)
    check_crash("this release")


def check_upgrade(checks, programs, network, timeline):
    check_side_by_side(checks, programs, network, timeline)
    network.replace("node-2", programs.current)
    check_side_by_side(checks, programs, network, timeline)
    network.replace("node-3", programs.current)
    timeline.settle(checks, "after the upgrade of the last one, every node is up on every node", is_whole)


def check_side_by_side(checks, programs, network, timeline):
    """Returns the time at which the verdicts had settled."""
    current, earlier = network.running(programs.current), network.running(programs.incompatible)

    def is_settled(verdicts):
        return all(
            verdicts[viewer, subject] == INCOMPATIBLE if subject in earlier else verdicts[viewer, subject][0] == "up"
            for viewer in current for subject in network.running())

    def is_right(viewer, subject, status, cause):
        if viewer in current:
            return (status, cause) in (INCOMPATIBLE, WITHOUT_VOTES) if subject in earlier else status == "up"
        return status != "down"

    def is_tolerable(viewer, subject, status, cause):
        """The restart for an upgrade may count as a failure, but no node of the incompatible release was restarted."""
        return status != "down" or (viewer in current and subject in current)

    listed = " and ".join(earlier)
    timeline.settle(checks, f"{listed} of the incompatible release becomes unknown, with that cause", is_settled)
    begin = timeline.pause(3 * SILENCE_S)
    checks.equal("… and stays that by all votes that count, while no other node is down", timeline.exceptions(begin, is_right), [])
    checks.equal("neither release ever called the other down", timeline.exceptions(0, is_tolerable), [])
    return begin


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

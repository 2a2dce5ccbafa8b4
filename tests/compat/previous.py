"""Networks with the previous release, which works with this one as with itself."""

from network import SILENCE_S, Network
from timeline import Timeline


def check(checks, programs):
    for count in (1, 2):
        mixed = [programs.current] * (3 - count) + [programs.previous] * count
        print(f"nodes of this release and of the previous one: {3 - count} + {count}", flush=True)
        with Network(programs.previous, mixed) as network, Timeline(network) as timeline:
            with checks.logs_if_failed(network):
                check_mixed(checks, programs, network, timeline)


def check_mixed(checks, programs, network, timeline):
    def check_up(when):
        timeline.settle(checks, f"{when}every node is up on every node", is_whole)
        begin = timeline.pause(SILENCE_S)
        checks.equal("… and stays up", timeline.exceptions(begin, is_up), [])

    check_up("")
    found = network.view("node-1")["data"]
    checks.equal("each node runs the release that it should", {node: found[node]["node_version"] for node in found},
                 {node: network.version(node) for node in network.programs})
    node = network.running(programs.previous)[0]
    network.replace(node, programs.current)
    check_up(f"after an upgrade of {node}, ")
    network.replace(node, programs.previous)
    check_up(f"after a downgrade of {node}, ")
    wrong = timeline.exceptions(0, lambda viewer, subject, status, cause: status not in ("down", "conflict"))
    checks.equal("no node was ever down or in conflict on any node", wrong, [])
    checks.equal("no node rejected a report or a request", network.log_lines("rejected", "incompatible"), [])
    views = [network.view(node) for node in network.running()]
    checks.equal("no node finds another configuration on another node",
                 [found["config_differs"] for view in views for found in view["nodes"].values()], [False] * 9)
    rejected = [view["counters"][name] for view in views for name in ("reports_refused", "requests_refused")]
    checks.equal("no node counted a rejected report or request", rejected, [0] * 6)


def is_up(viewer, subject, status, cause):
    return status == "up"


def is_whole(verdicts):
    return all(status == "up" for status, _ in verdicts.values())

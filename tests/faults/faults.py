"""The faults: how each begins and ends, and what is true while it lasts."""

import itertools
import time
from dataclasses import dataclass, field
from typing import Callable

from network import calls, packets
from node import Node
from truth import Truth

# With poll rate and timeout of 1 s: the time until all survivors report a killed node down, or a hung or cut-off one.
KILLED_S, CUT_OFF_S = 3.2, 5.0
CLOCK_S = 288


@dataclass
class Fault:
    # A short text of the expected verdicts.
    expects: str
    truth: Truth
    begin: Callable
    lift: Callable
    # The nodes that need a relay, or a separate clock, from their start.
    needs_relay: Node = None
    needs_clock: Node = None
    # The promised time until `down`.
    bound_s: float = CUT_OFF_S
    # The shortest duration.
    hold_s: float = 8.0
    # Whether the fault lasts until all verdicts are as expected; otherwise it ends after `hold_s`.
    settles: bool = True
    # What is true afterwards, if the fault has a permanent effect.
    afterwards: Truth = None
    # Returns violations of other conditions while the fault lasts.
    check: Callable = lambda: []
    # Nodes that restart, and do not know of others for a moment.
    restarted: frozenset = field(default_factory=frozenset)


def both(*pairs):
    return [way for one, other in pairs for way in ((one, other), (other, one))]


def ways(sources, targets):
    return [(one, other) for one, other in itertools.product(names(sources), names(targets)) if one != other]


def names(nodes):
    return [node.name for node in nodes]


def killed(network, nodes, rng):
    victim = nodes[0]
    return Fault(f"{victim.name} down", Truth(names(nodes), dead=[victim.name]), victim.kill, victim.start,
                 bound_s=KILLED_S, restarted=frozenset({victim.name}))


def hung(network, nodes, rng):
    victim = nodes[0]
    return Fault(f"{victim.name} down", Truth(names(nodes), hung=[victim.name]), victim.suspend, victim.resume,
                 restarted=frozenset({victim.name}))


def stopped(network, nodes, rng):
    """A regular stop, which must not look like a fault."""
    victim = nodes[0]
    return Fault(f"{victim.name} stopped", Truth(names(nodes), stopped=[victim.name]), victim.terminate, victim.start,
                 restarted=frozenset({victim.name}))


def reboot(network, nodes, rng):
    return reboot_with(nodes, rng, "state kept", lambda: None)


def reboot_without_state(network, nodes, rng):
    return reboot_with(nodes, rng, "state lost", nodes[0].delete_state)


def reboot_in_the_past(network, nodes, rng):
    """The state is lost, and the clock starts before the last reports, as on a board without a real-time clock."""
    victim = nodes[0]

    fault = reboot_with(nodes, rng, "state lost, clock behind", victim.delete_state)
    fault.needs_clock = victim
    fault.lift = lambda: victim.start(-CLOCK_S)
    return fault


def reboot_with(nodes, rng, description, lose_state):
    victim = nodes[0]

    def begin():
        victim.kill()
        lose_state()

    return Fault(f"{victim.name} up again; {description}", Truth(names(nodes), dead=[victim.name]), begin, victim.start,
                 bound_s=KILLED_S, hold_s=rng.uniform(0.2, 5), settles=False, restarted=frozenset({victim.name}))


def cable(network, nodes, rng):
    """The node's port on the switch goes down."""
    victim = nodes[0]
    port = f"p{network.nodes.index(victim) + 1}"
    return cut_off(nodes, lambda: network.switch.run("ip", "link", "set", port, "down"),
                   lambda: network.switch.run("ip", "link", "set", port, "up"))


def uplink(network, nodes, rng):
    """The node's network interface goes down, so that the kernel refuses its calls immediately."""
    victim = nodes[0]
    return cut_off(nodes, lambda: victim.namespace.run("ip", "link", "set", "eth0", "down"),
                   lambda: victim.namespace.run("ip", "link", "set", "eth0", "up"))


def cut_off(nodes, begin, lift):
    victim = nodes[0]
    truth = Truth(names(nodes), broken=both(*ways([victim], nodes[1:])))
    return Fault(f"{victim.name} down; its view: others unknown", truth, begin, lift)


def link(network, nodes, rng):
    """One link in both directions."""
    a, b = nodes[:2]
    return drops(network, nodes, f"all up; link {a.name} - {b.name}", both((a.name, b.name)),
                 packets([a], [b]), packets([b], [a]))


def link_one_way(network, nodes, rng):
    """A firewall drops the calls of one node to another, but not those in the other direction."""
    a, b = nodes[:2]
    return drops(network, nodes, f"all up; link {a.name} > {b.name}", [(a.name, b.name)], calls([a], [b]))


def packets_one_way(network, nodes, rng):
    """All packets from one node to another are lost, so that no connection works in either direction."""
    a, b = nodes[:2]
    return drops(network, nodes, f"all up; link {a.name} - {b.name}", both((a.name, b.name)), packets([a], [b]))


def halves(network, nodes, rng):
    few, many = nodes[:2], nodes[2:]
    return drops(network, nodes, "two down; their view: three unknown", both(*ways(few, many)),
                 packets(few, many), packets(many, few))


def bridge(network, nodes, rng):
    """Two halves, both of which reach one node."""
    one, other = nodes[:2], nodes[3:]
    return drops(network, nodes, "halves degraded, none down", both(*ways(one, other)),
                 packets(one, other), packets(other, one))


def chain(network, nodes, rng):
    """Each node reaches only its predecessor and successor."""
    broken = [(a, b) for a, b in itertools.combinations(nodes, 2) if nodes.index(b) - nodes.index(a) > 1]
    truth = [way for a, b in broken for way in both((a.name, b.name))]
    return drops(network, nodes, "none down", truth, *(packets([a], [b]) for a, b in broken),
                 *(packets([b], [a]) for a, b in broken))


def calls_out_only(network, nodes, rng):
    victim, others = nodes[0], nodes[1:]
    return drops(network, nodes, f"{victim.name} degraded, ingress", ways(others, [victim]), calls(others, [victim]))


def called_only(network, nodes, rng):
    victim, others = nodes[0], nodes[1:]
    return drops(network, nodes, f"{victim.name} degraded, egress", ways([victim], others), calls([victim], others))


def loss_10(network, nodes, rng):
    return loss(network, nodes, 10)


def loss_30(network, nodes, rng):
    return loss(network, nodes, 30)


def loss(network, nodes, percent):
    fault = drops(network, nodes, "none down", [], f"ip protocol tcp numgen random mod 100 < {percent}")
    fault.truth = Truth(names(nodes), unreliable=names(nodes))
    fault.hold_s = 20
    return fault


def drops(network, nodes, expects, broken, *rules):
    def check():
        return [f"no packet matches the rule {handle}" for handle in network.idle_rules()]

    return Fault(expects, Truth(names(nodes), broken=broken), lambda: network.drop(*rules), network.drop_nothing,
                 check=check)


def slow(network, nodes, rng):
    """Each reply of one node needs 0.8 to 0.9 s; the timeout is 1 s."""
    victim = nodes[0]

    def delay(least, most):
        def set_delay():
            network.relays[victim].delay_s = (least, most)
        return set_delay

    def check():
        took = [network.viewer(node).took_ms.get(victim.name) for node in nodes[1:]]
        return [] if any(ms and ms >= 800 for ms in took) else [f"replies of {victim.name} took {took} ms"]

    # The relay delays both the request and the reply.
    return Fault("none down", Truth(names(nodes), unreliable=[victim.name]), delay(0.4, 0.45), delay(0, 0),
                 needs_relay=victim, hold_s=15, check=check)


def clock_ahead(network, nodes, rng):
    return clock(network, nodes, CLOCK_S)


def clock_behind(network, nodes, rng):
    return clock(network, nodes, -CLOCK_S)


def clock(network, nodes, offset_s):
    """The wall clock of a running node changes."""
    victim, other = nodes[:2]

    def check():
        differs_s = network.viewer(other).created_ms[victim.name] / 1000 - time.time()
        if abs(differs_s - offset_s) < 5:
            return []
        return [f"the clock of {victim.name}'s reports is {differs_s:+.1f} s off: expected {offset_s:+} s"]

    return Fault("all up", Truth(names(nodes)), lambda: victim.set_clock(offset_s), lambda: victim.set_clock(0),
                 needs_clock=victim, check=check, restarted=frozenset({victim.name}))


def false_votes(network, nodes, rng):
    """A lying member reports two others offline, too few to count as isolated."""
    return false_reports(network, nodes, names(nodes[1:3]), "none down or degraded")


def all_false_votes(network, nodes, rng):
    """A lying member reports all others offline."""
    return false_reports(network, nodes, names(nodes[1:]), f"{nodes[0].name} degraded, egress")


def false_ages(network, nodes, rng):
    """A lying member relays the reports of others with a false age before their authors send them, and reports two of
    them offline."""
    return false_reports(network, nodes, names(nodes[1:3]), "none down or degraded", "ages")


def false_reports(network, nodes, offline, expects, *more):
    lying_peer = nodes[0]
    truth = Truth(names(nodes), broken=[(lying_peer.name, name) for name in offline])
    return replaced(network, lying_peer, Fault(
        expects, truth, lambda: network.start_lying_peer(lying_peer, *offline, *more), lying_peer.start))


def equivocation(network, nodes, rng):
    """A member signs two different reports with one number, for different peers."""
    lying_peer = nodes[0]
    truth = Truth(names(nodes), conflict=[lying_peer.name])
    # The verdict remains until the configuration has another key.
    return replaced(network, lying_peer, Fault(f"{lying_peer.name} conflict", truth,
                                         lambda: network.start_lying_peer(lying_peer, "equivocate"), lying_peer.start,
                                         afterwards=truth))


def replaced(network, lying_peer, fault):
    """Lets the lying peer replace the node, which has no view while the fault lasts."""
    begin, lift = fault.begin, fault.lift
    fault.begin = lambda: (lying_peer.kill(), begin())
    fault.lift = lambda: (lying_peer.kill(), lift())
    fault.truth.without_view = frozenset({lying_peer.name})
    fault.restarted = frozenset({lying_peer.name})
    return fault


FAULTS = {fault.__name__.replace("_", "-"): fault for fault in (
    loss_30, loss_10, slow, killed, hung, halves, cable, uplink, bridge, chain, link, link_one_way, packets_one_way,
    calls_out_only, called_only, clock_ahead, clock_behind, false_votes, all_false_votes, false_ages, equivocation,
    stopped, reboot, reboot_without_state, reboot_in_the_past)}

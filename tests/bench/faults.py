"""How long until a node that fails is offline for everyone else."""

import random
import signal
import statistics
import time

from nodes import Nodes, wait_for

REPETITIONS = 10


def killed(program):
    def fail(nodes, node):
        nodes.processes[node].kill()

    def mend(nodes, node):
        nodes.processes[node].wait(15)
        nodes.start(node)
        nodes.wait_until_serving(node)

    measure(program, "killed", fail, mend, (2.2, 3.2))


def hung(program):
    def fail(nodes, node):
        nodes.processes[node].send_signal(signal.SIGSTOP)

    def mend(nodes, node):
        nodes.processes[node].send_signal(signal.SIGCONT)

    measure(program, "hung", fail, mend, (3.8, 5.0))


def measure(program, word, fail, mend, target):
    """The target is the verdict's; that all survivors' findings are on every survivor is what the verdict waits
    for, so this is the least that it can take."""
    times = []
    with Nodes(program, 3, 1, timeout=1) as nodes:
        for repetition in range(REPETITIONS):
            nodes.wait_until_whole()
            # At any moment between two probes.
            time.sleep(random.random())
            victim = nodes.ids[repetition % len(nodes.ids)]
            survivors = [node for node in nodes.ids if node != victim]
            begun = time.monotonic()
            fail(nodes, victim)
            try:
                wait_for(f"{victim} being offline for all others",
                         lambda: all(says_offline(nodes.view(node), survivors, victim) for node in survivors), 30, 0.005)
                times.append(time.monotonic() - begun)
            finally:
                mend(nodes, victim)
    median, worst = statistics.median(times), max(times)
    within = median <= target[0] and worst <= target[1]
    print(f"{word}, until every survivor's view shows all survivors' reports saying offline, 3 nodes, poll 1 s, "
          f"{REPETITIONS} times: median {median:.2f} s, worst {worst:.2f} s (target for the verdict: {target[0]} s / "
          f"{target[1]} s: {'within it, the verdict itself is not measured' if within else 'NOT MET'})")


def says_offline(view, survivors, victim):
    """Whether the view holds a report of each survivor that says so."""
    data = view["data"]
    return all(data.get(node, {}).get("ping_data", {}).get(victim, {}).get("status") == "offline"
               for node in survivors)

"""Time until all other nodes report a failed node offline."""

import random
import signal
import statistics
import time

from nodes import Nodes, wait_for

REPETITIONS = 10


def killed(program):
    def fail(nodes, node):
        nodes.processes[node].kill()

    def repair(nodes, node):
        nodes.processes[node].wait(15)
        nodes.start(node)
        nodes.wait_until_serving(node)

    measure(program, "killed", fail, repair, (2.2, 3.2))


def hung(program):
    def fail(nodes, node):
        nodes.processes[node].send_signal(signal.SIGSTOP)

    def repair(nodes, node):
        nodes.processes[node].send_signal(signal.SIGCONT)

    measure(program, "hung", fail, repair, (3.8, 5.0))


def measure(program, word, fail, repair, target):
    """Measures the time until every survivor has an offline report of all survivors, the earliest moment of a verdict, and
    compares it with the target for the verdict."""
    times = []
    with Nodes(program, 3, 1, timeout=1) as nodes:
        for repetition in range(REPETITIONS):
            nodes.wait_until_all_online()
            # A random moment between two probes.
            time.sleep(random.random())
            victim = nodes.ids[repetition % len(nodes.ids)]
            survivors = [node for node in nodes.ids if node != victim]
            begun = time.monotonic()
            fail(nodes, victim)
            try:
                wait_for(f"{victim} being offline for all others",
                         lambda: all(reports_offline(nodes.view(node), survivors, victim) for node in survivors), 30, 0.005)
                times.append(time.monotonic() - begun)
            finally:
                repair(nodes, victim)
    median, worst = statistics.median(times), max(times)
    within = median <= target[0] and worst <= target[1]
    print(f"{word}, until every survivor has an offline report of all survivors, 3 nodes, poll 1 s, "
          f"{REPETITIONS} times: median {median:.2f} s, worst {worst:.2f} s (target for the verdict: {target[0]} s / "
          f"{target[1]} s: {'met, without the verdict itself' if within else 'NOT MET'})")


def reports_offline(view, survivors, victim):
    """Whether the view has a report of each survivor that shows the victim offline."""
    data = view["data"]
    return all(data.get(node, {}).get("ping_data", {}).get(victim, {}).get("status") == "offline"
               for node in survivors)

"""How long until a node that fails is offline for everyone else."""

import random
import signal
import statistics
import time

from nodes import Nodes, judge, wait_for

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
    """Until each survivor's view shows itself the node as offline, and until it shows that all survivors do,
    which is what a verdict needs."""
    own, all_agree = [], []
    with Nodes(program, 3, 1, timeout=1) as nodes:
        for repetition in range(REPETITIONS):
            nodes.wait_until_whole()
            # At any moment between two probes.
            time.sleep(random.random())
            victim = nodes.ids[repetition % len(nodes.ids)]
            begun = time.monotonic()
            fail(nodes, victim)
            try:
                times = watch(nodes, victim, begun)
            finally:
                mend(nodes, victim)
            own.append(times[0])
            all_agree.append(times[1])
    for what, times in (("its own finding", own), ("the findings of all survivors", all_agree)):
        median, worst = statistics.median(times), max(times)
        met = median <= target[0] and worst <= target[1]
        print(f"{word}, until every survivor's view shows it offline by {what}, 3 nodes, poll 1 s, {REPETITIONS} times: "
              f"median {median:.2f} s, worst {worst:.2f} s (target {target[0]} s / {target[1]} s: {judge(met)})")


def watch(nodes, victim, begun):
    """Seconds until every survivor says so itself, and until every survivor holds that all of them say so."""
    survivors = [node for node in nodes.ids if node != victim]
    first = []

    def looks():
        findings = {node: says_offline(nodes.view(node), survivors, victim) for node in survivors}
        if not first and all(findings[node][node] for node in survivors):
            first.append(time.monotonic() - begun)
        return all(all(said.values()) for said in findings.values())

    wait_for(f"{victim} being offline for all others", looks, 30, 0.005)
    return first[0], time.monotonic() - begun


def says_offline(view, survivors, victim):
    data = view["data"]
    return {node: data.get(node, {}).get("ping_data", {}).get(victim, {}).get("status") == "offline"
            for node in survivors}

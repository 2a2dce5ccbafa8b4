"""What a network costs while nothing fails."""

import re
import statistics
import subprocess
import time

from nodes import NETWORK_ID, Nodes, judge


def start(program):
    """From the call that makes the process to the end of its first answer, state and key being there."""
    times = []
    with Nodes(program, 3, 10) as nodes:
        node = nodes.ids[0]
        for _ in range(20):
            nodes.processes[node].terminate()
            nodes.processes[node].wait(15)
            begun = time.monotonic()
            nodes.start(node)
            nodes.wait_until_serving(node, pause=0.0005)
            times.append((time.monotonic() - begun) * 1000)
    median, worst = statistics.median(times), max(times)
    print(f"start to serving, 20 times: median {median:.0f} ms, worst {worst:.0f} ms (target 50 ms: "
          f"median {judge(median <= 50)})")


def memory(program):
    measure_memory(program, 3, 1, 8)
    measure_memory(program, 10, 1, None)


def memory64(program):
    """64 processes and their 4,000 threads want a machine of their own."""
    measure_memory(program, 64, 30, 16)


def measure_memory(program, count, poll_rate, target):
    """After every node has seen all others online, and half a minute more."""
    with Nodes(program, count, poll_rate) as nodes:
        nodes.wait_until_whole(seconds=60 + 3 * poll_rate)
        time.sleep(30)
        found = [nodes.memory_mb(node) for node in nodes.ids]
    now, most = max(rss for rss, _ in found), max(peak for _, peak in found[1:])
    median = statistics.median(rss for rss, _ in found[1:])
    against = f"target {target} MB: {judge(now <= target)}" if target else "no target"
    # The first node has checked a password, which takes some 20 MB for a moment.
    print(f"resident memory, {count} nodes polling every {poll_rate} s: median {median:.1f} MB, largest {now:.1f} MB, "
          f"highest ever without a login {most:.1f} MB ({against})")


def exchanges(program):
    """All that the nodes do, divided by the number of exchanges: reports, timers and the rest included."""
    for poll_rate in (0.1, 1):
        seconds = 20 if poll_rate < 1 else 60
        with Nodes(program, 3, poll_rate, timeout=1) as nodes:
            nodes.wait_until_whole()
            before = total(nodes)
            time.sleep(seconds)
            after = total(nodes)
        user_s, system_s, calls = (late - early for late, early in zip(after, before))
        if not calls:
            raise RuntimeError("no exchange was counted")
        each_ms, processor_s = (user_s + system_s) / calls * 1000, user_s + system_s
        print(f"processor time for an exchange, both sides, 3 nodes polling every {poll_rate} s: {each_ms:.2f} ms "
              f"({100 * system_s / processor_s:.0f} % of it in the kernel; {calls} exchanges, {100 * processor_s / 3 / seconds:.2f} % of a core for each node; target 0.5 ms: "
              f"{judge(each_ms <= 0.5)})")


def total(nodes):
    """Processor time and exchanges of all nodes. An exchange is counted where it was begun."""
    counters = [nodes.view(node)["counters"] for node in nodes.ids]
    calls = sum(counter["exchanges_ok"] + counter["exchanges_failed"] for counter in counters)
    user_s, system_s = map(sum, zip(*map(nodes.processor_s, nodes.ids)))
    return user_s, system_s, calls


def views(program):
    """By wrk over kept connections. Its own processor time does not count, only the node's."""
    with Nodes(program, 3, 1) as nodes:
        nodes.wait_until_whole()
        node = nodes.ids[0]
        for connections in (1, 16):
            before, begun = sum(nodes.processor_s(node)), time.monotonic()
            told = subprocess.run(
                ["wrk", "-t1", f"-c{connections}", "-d8s", "--timeout", "5s",
                 "-H", f"Authorization: Bearer {nodes.token}", f"http://127.0.0.1:{nodes.ports[node]}/view/{NETWORK_ID}"],
                check=True, timeout=60, capture_output=True, text=True).stdout
            processor_s, passed = sum(nodes.processor_s(node)) - before, time.monotonic() - begun
            if "Non-2xx" in told:
                raise RuntimeError(f"not every view was answered with 200: {told}")
            count = int(re.search(r"(\d+) requests in", told)[1])
            errors = re.search(r"Socket errors: (.*)", told)
            a_core = count / processor_s
            print(f"GET /view, 3 nodes, {connections} connections: {a_core:.0f} a second and core of the node, "
                  f"{count / passed:.0f} a second beside the client on this machine (target 20000: "
                  f"{judge(a_core >= 20000)}){'; ' + errors[0] if errors else ''}")

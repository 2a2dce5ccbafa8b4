"""Costs of a network without failures."""

import re
import statistics
import subprocess
import time

from nodes import LargeNetwork, Nodes, processor_s, result

# The processor time of an exchange, both sides, in ms.
EXCHANGE_TARGET_MS = 0.7
EXCHANGE_GOAL_MS = 0.5


def start(program):
    """Measures from the creation of the process to the end of its first answer, with an existing state and key."""
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
          f"median {result(median <= 50)})")


def memory(program):
    measure_memory(program, 3, 1, 8)
    measure_memory(program, 10, 1, None)


def memory64(program):
    """Measures 64 processes with 4,000 threads, which need a machine without other work."""
    measure_memory(program, 64, 30, 16)


def measure_memory(program, count, poll_rate, target):
    """Measures half a minute after every node has reported all others online."""
    with Nodes(program, count, poll_rate) as nodes:
        nodes.wait_until_all_online(seconds=60 + 3 * poll_rate)
        time.sleep(30)
        memory_mb = [nodes.memory_mb(node) for node in nodes.ids]
    # The first node has verified a password, which needs about 20 MB for a moment.
    largest, highest = max(rss for rss, _ in memory_mb), max(peak for _, peak in memory_mb[1:])
    median = statistics.median(rss for rss, _ in memory_mb[1:])
    comparison = f"target {target} MB: {result(largest <= target)}" if target else "no target"
    print(f"resident memory, {count} nodes polling every {poll_rate} s: median {median:.1f} MB, largest {largest:.1f} MB, "
          f"peak without a login {highest:.1f} MB ({comparison})")


def exchanges(program):
    """Measures the processor time of all nodes per exchange, which includes reports and timers."""
    for poll_rate in (0.1, 1):
        seconds = 20 if poll_rate < 1 else 60
        with Nodes(program, 3, poll_rate, timeout=1) as nodes:
            nodes.wait_until_all_online()
            before = total(nodes)
            time.sleep(seconds)
            after = total(nodes)
        user_s, system_s, calls = (late - early for late, early in zip(after, before))
        if not calls:
            raise RuntimeError("no exchange was counted")
        each_ms, processor_s = (user_s + system_s) / calls * 1000, user_s + system_s
        target = (f"target {EXCHANGE_TARGET_MS} ms at poll 1 s: {result(each_ms <= EXCHANGE_TARGET_MS)}, "
                  f"goal {EXCHANGE_GOAL_MS} ms: {result(each_ms <= EXCHANGE_GOAL_MS)}")
        print(f"processor time of an exchange, both sides, 3 nodes polling every {poll_rate} s: {each_ms:.2f} ms "
              f"({100 * system_s / processor_s:.0f} % of it in the kernel; {calls} exchanges, "
              f"{100 * processor_s / 3 / seconds:.2f} % of a core per node; {target})")


def total(nodes):
    """Returns the processor time and exchanges of all nodes. The caller counts an exchange."""
    counters = [nodes.view(node)["counters"] for node in nodes.ids]
    calls = sum(counter["exchanges_ok"] + counter["exchanges_failed"] for counter in counters)
    user_s, system_s = map(sum, zip(*map(nodes.processor_s, nodes.ids)))
    return user_s, system_s, calls


def views(program):
    with Nodes(program, 3, 1) as nodes:
        nodes.wait_until_all_online()
        node = nodes.ids[0]
        for connections in (1, 16):
            measure_views(3, nodes.pid(node), nodes.view_request(node), connections, 20_000)
    with LargeNetwork(program, 1_000) as network:
        network.wait_until_all_reported()
        for connections in (1, 16):
            measure_views(1_000, network.pid(), network.view_request(), connections, 500)


def measure_views(count, pid, request, connections, target):
    """Measures requests of wrk over persistent connections, per second of the node's processor time."""
    before, begun = sum(processor_s(pid)), time.monotonic()
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", "-d8s", "--timeout", "5s", *request],
        check=True, timeout=60, capture_output=True, text=True).stdout
    used_s, passed = sum(processor_s(pid)) - before, time.monotonic() - begun
    if "Non-2xx" in output:
        raise RuntimeError(f"GET /view with another status than 200: {output}")
    requests = int(re.search(r"(\d+) requests in", output)[1])
    errors = re.search(r"Socket errors: (.*)", output)
    print(f"GET /view, {count} nodes, {connections} connections: {requests / used_s:.0f} per second and core of the node, "
          f"{requests / passed:.0f} per second with the client on the same machine (target {target}: "
          f"{result(requests / used_s >= target)}){'; ' + errors[0] if errors else ''}")

"""The processor time that open dashboards cost a node."""

import json
import os
import threading
import time

from nodes import NETWORK_ID, Nodes, result

COUNT = 200
# The time between two polls of live_updates.js, in s.
PERIOD_S = 1.3
SECONDS = 30
# Dashboards polled by one thread of this process.
PER_THREAD = 50
TARGET_PERCENT = 5


class Dashboard:
    """An open page, which polls like live_updates.js: over a new connection each time."""

    def __init__(self, nodes, path):
        self.nodes, self.path = nodes, path
        self.hashes, self.since = {}, ""
        self.answers = self.bytes = 0

    def poll(self):
        have = ",".join(self.hashes.values())
        reply = self.nodes.get(self.nodes.ids[0], f"/live{self.path}?have={have}&since={self.since}",
                               headers={"Authorization": f"Bearer {self.nodes.token}", "Accept-Encoding": "identity"})
        if reply.status != 200 or reply.headers["Connection"] != "close":
            raise RuntimeError(f"status {reply.status}, connection {reply.headers['Connection']}")
        live = json.loads(reply.body)
        self.hashes |= {name: digest for name, digest, _ in live["regions"]}
        self.since = live["cells"]["version"]
        self.answers += 1
        self.bytes += len(reply.body)


def dashboards(program):
    """Measures the processor time of one node of three, without and with open dashboards."""
    with Nodes(program, 3, 1, timeout=1) as nodes:
        nodes.wait_until_all_online()
        idle, *_ = measure(nodes, [])
        pages = [Dashboard(nodes, f"/network/{NETWORK_ID}") for _ in range(COUNT)]
        busy, threads, failures = measure(nodes, pages)
        data = nodes.view(nodes.ids[1])["data"]
        offline = [target for found in data.values() for target, entry in found["ping_data"].items()
                   if entry["status"] != "online"]
    cost = busy - idle
    answers, size = sum(page.answers for page in pages), sum(page.bytes for page in pages)
    print(f"{COUNT} open dashboards on one node of three: {100 * cost:.1f} % of a core on top of {100 * idle:.1f} % "
          f"({answers / SECONDS:.0f} answers per second of {size / max(1, answers) / 1000:.1f} kB, {failures} failed; "
          f"at most {threads} threads; nodes not online meanwhile: {', '.join(offline) or 'none'}; "
          f"target {TARGET_PERCENT} %: {result(100 * cost <= TARGET_PERCENT and not offline and not failures)})")


def measure(nodes, pages):
    """Returns the processor time per second, the highest number of threads and the number of failed answers."""
    ended = threading.Event()
    failures = []

    def poll_all(some):
        due = [time.monotonic() + number * PERIOD_S / len(some) for number in range(len(some))]
        while not ended.is_set():
            for number, page in enumerate(some):
                if ended.wait(max(0, due[number] - time.monotonic())):
                    return
                due[number] += PERIOD_S
                try:
                    page.poll()
                except (OSError, RuntimeError, ValueError) as error:
                    failures.append(error)

    pollers = [threading.Thread(target=poll_all, args=(pages[at:at + PER_THREAD],))
               for at in range(0, len(pages), PER_THREAD)]
    for poller in pollers:
        poller.start()
    time.sleep(2)
    begun, most = time.monotonic(), 0
    before = sum(nodes.processor_s(nodes.ids[0]))
    while time.monotonic() - begun < SECONDS:
        most = max(most, len(os.listdir(f"/proc/{nodes.pid(nodes.ids[0])}/task")))
        time.sleep(0.05)
    used, took = sum(nodes.processor_s(nodes.ids[0])) - before, time.monotonic() - begun
    ended.set()
    for poller in pollers:
        poller.join()
    return used / took, most, len(failures)

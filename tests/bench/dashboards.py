"""What it costs a node that people look at its dashboard."""

import json
import os
import threading
import time

from nodes import NETWORK_ID, Nodes

COUNT = 200
# How often live.js asks, in s.
PERIOD_S = 1.3
SECONDS = 30
# So many dashboards share a thread here; the node knows nothing of that.
EACH = 50
TARGET_PERCENT = 5


class Dashboard:
    """One open page, as live.js keeps it up to date: over a connection of its own each time."""

    def __init__(self, nodes, path):
        self.nodes, self.path = nodes, path
        self.hashes, self.since = {}, ""
        self.answers = self.bytes = 0

    def ask(self):
        have = ",".join(self.hashes.values())
        reply = self.nodes.get(self.nodes.ids[0], f"/live{self.path}?have={have}&since={self.since}",
                               headers={"Authorization": f"Bearer {self.nodes.token}", "Accept-Encoding": "identity"})
        if reply.status != 200 or reply.headers["Connection"] != "close":
            raise RuntimeError(f"status {reply.status}, connection {reply.headers['Connection']}")
        live = json.loads(reply.body)
        self.hashes |= {name: digest for name, digest, _ in live["regions"]}
        self.since = live["cells"]["frame"]
        self.answers += 1
        self.bytes += len(reply.body)


def dashboards(program):
    """The processor time of one node of three, with nobody and with many looking at its network's page."""
    with Nodes(program, 3, 1, timeout=1) as nodes:
        nodes.wait_until_whole()
        alone, *_ = measure(nodes, [])
        pages = [Dashboard(nodes, f"/network/{NETWORK_ID}") for _ in range(COUNT)]
        seen, threads, failures = measure(nodes, pages)
        data = nodes.view(nodes.ids[1])["data"]
        offline = [target for found in data.values() for target, entry in found["ping_data"].items()
                   if entry["status"] != "online"]
    cost = seen - alone
    answers, size = sum(page.answers for page in pages), sum(page.bytes for page in pages)
    print(f"{COUNT} open dashboards on one node of three: {100 * cost:.1f} % of a core on top of {100 * alone:.1f} % "
          f"({answers / SECONDS:.0f} answers a second of {size / max(1, answers) / 1000:.1f} kB, {failures} failed; "
          f"at most {threads} threads; nodes not online meanwhile: {', '.join(offline) or 'none'}; "
          f"target {TARGET_PERCENT} %: {'reached' if 100 * cost <= TARGET_PERCENT and not offline and not failures else 'MISSED'})")


def measure(nodes, pages):
    """The processor time in each second, the most threads, and how many answers failed."""
    ended = threading.Event()
    failures = []

    def look(some):
        due = [time.monotonic() + number * PERIOD_S / len(some) for number in range(len(some))]
        while not ended.is_set():
            for number, page in enumerate(some):
                if ended.wait(max(0, due[number] - time.monotonic())):
                    return
                due[number] += PERIOD_S
                try:
                    page.ask()
                except (OSError, RuntimeError, ValueError) as error:
                    failures.append(error)

    lookers = [threading.Thread(target=look, args=(pages[at:at + EACH],)) for at in range(0, len(pages), EACH)]
    for looker in lookers:
        looker.start()
    time.sleep(2)
    begun, most = time.monotonic(), 0
    before = sum(nodes.processor_s(nodes.ids[0]))
    while time.monotonic() - begun < SECONDS:
        most = max(most, len(os.listdir(f"/proc/{nodes.pid(nodes.ids[0])}/task")))
        time.sleep(0.05)
    used, took = sum(nodes.processor_s(nodes.ids[0])) - before, time.monotonic() - begun
    ended.set()
    for looker in lookers:
        looker.join()
    return used / took, most, len(failures)

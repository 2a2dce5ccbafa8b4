"""What happens in a network from one moment on: the changes in the logs, the use of memory, threads and processor time."""

import time

from usage import Usage, processor_s, usage

PAUSE_S = 0.2
# Reading the status of many processes costs the processor time that the nodes need.
SAMPLE_S = 1


class Ended(Exception):
    """The process of a node ended by itself."""


class Recording:
    def __init__(self, network, begun=None):
        """`begun` is the Unix time in s of the start of all nodes, by default now, in nodes that run already."""
        self.network = network
        self.processor_before_s = {} if begun else {pid: processor_s(pid) for pid in network.pids()}
        self.begun = begun or time.time()
        self.peak = Usage(0, 0, 0)
        self.sampled = 0
        self.failures_before = len(network.journal.failures)

    def elapsed(self):
        return time.time() - self.begun

    def wait(self, seconds):
        self.wait_until(lambda: False, seconds)

    def wait_until(self, holds, seconds):
        """Waits until `holds` or the time is over, and returns whether it holds."""
        deadline = time.monotonic() + seconds
        while True:
            self.update()
            if holds():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(PAUSE_S, left))

    def update(self):
        ended = self.network.ended()
        if ended:
            name = ended[0]
            lines = self.network.node(name).log.read_text(errors="replace").splitlines()
            raise Ended(f"{name} has ended: {' '.join(lines[-3:])}")
        self.network.journal.update()
        if time.monotonic() - self.sampled >= SAMPLE_S:
            self.usage()

    def usage(self):
        """Returns the present use of memory and threads."""
        self.sampled = time.monotonic()
        found = usage(self.network.pids())
        self.peak = Usage(*(max(pair) for pair in zip(
            (self.peak.median_mb, self.peak.largest_mb, self.peak.threads),
            (found.median_mb, found.largest_mb, found.threads))))
        return found

    def processor_s(self):
        """Returns the processor time of all running nodes since the beginning, in s."""
        return sum(processor_s(pid) - self.processor_before_s.get(pid, 0) for pid in self.network.pids())

    def wait_until_settled(self, seconds):
        """Waits until all running nodes call each other up and online by their logs and by their views. Returns the Unix
        time since when that holds, or None, and what it contradicts."""
        deadline = time.monotonic() + seconds
        contradicted = 0
        while self.wait_until(self.network.settled, deadline - time.monotonic()):
            contradictions = self.network.contradictions()
            # The logs may have changed since.
            self.update()
            if self.network.settled() and not contradictions:
                return max(contradicted, self.network.journal.last_change_at()), []
            contradicted = time.time()
            if time.monotonic() >= deadline:
                return None, contradictions
        return None, self.network.unsettled(5)

    def wrong(self, may_be_down=lambda change: False):
        """Returns the lines with a wrong verdict since the beginning: `down`, unless `may_be_down`, and verdicts that no
        event here causes."""
        changes = self.network.journal.verdict_changes
        wrong = [change for change in changes("down", self.begun) if not may_be_down(change)]
        wrong += [change for status in ("stopped", "conflict") for change in changes(status, self.begun)]
        return [f"{change.viewer}, {change.at - self.begun:+.1f} s: {change.line}" for change in wrong]

    def unreadable(self):
        return self.network.journal.failures[self.failures_before:]

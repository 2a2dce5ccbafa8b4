"""The times at which the reports of one node advance at another one."""

import base64
import json
import threading
import time

from node_process import get

from network import NETWORK_ID

PERIOD_S = 0.1


class GapMeter(threading.Thread):
    """A thread that polls the newest report of `node` that `viewer` holds."""

    def __init__(self, viewer, node, token):
        super().__init__(name=f"gaps of {node.name} at {viewer.name}", daemon=True)
        self.viewer, self.node, self.token = viewer, node, token
        # When a new report was found, as Unix time in s, and whether it says that its author is overloaded.
        self.advances = []
        self.ended = threading.Event()
        self.error = None

    def run(self):
        self.viewer.namespace.enter()
        before = None
        while not self.ended.wait(PERIOD_S):
            try:
                found, is_overloaded = self.newest()
            except (OSError, RuntimeError, ValueError, LookupError) as error:
                self.error = error
                return
            if found != before:
                self.advances.append((time.time(), is_overloaded))
                before = found

    def newest(self):
        status, body = get(f"{self.viewer.url}/report/{NETWORK_ID}/{self.node.name}",
                           {"Authorization": f"Bearer {self.token}"})
        if status != 200:
            raise RuntimeError(f"GET /report of {self.viewer.name}: status {status}")
        report = json.loads(base64.b64decode(json.loads(body)["payload"]))
        return (report["epoch"], report["seq"]), bool(report.get("overloaded"))

    def end(self):
        self.ended.set()
        self.join()

    def gaps(self):
        """Returns the times in s between reports."""
        return [later - earlier for (earlier, _), (later, _) in zip(self.advances, self.advances[1:])]

    def silence(self, at):
        """Returns for how long the reports had not advanced at the Unix time `at`, at most, and whether the newest one
        said that its author was overloaded."""
        found = [advance for advance in self.advances if advance[0] <= at]
        if not found:
            return float("inf"), False
        # The report arrived up to a period before this thread found it.
        return at - found[-1][0] + PERIOD_S, found[-1][1]

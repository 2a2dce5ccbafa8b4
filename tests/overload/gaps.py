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
        # New reports as (creation by the clock of this machine, arrival, whether it says that its author is overloaded), in
        # Unix time in s.
        self.advances = []
        self.ended = threading.Event()
        self.error = None

    def run(self):
        self.viewer.namespace.enter()
        newest = None
        while not self.ended.wait(PERIOD_S):
            try:
                report = self.newest()
                report_id = report["epoch"], report["seq"]
                if report_id != newest:
                    newest = report_id
                    self.advances.append((report["at"] / 1000, time.time(), bool(report.get("overloaded"))))
            except (OSError, RuntimeError, ValueError, LookupError) as error:
                self.error = error
                return

    def newest(self):
        status, body = get(f"{self.viewer.url}/report/{NETWORK_ID}/{self.node.name}",
                           {"Authorization": f"Bearer {self.token}"})
        if status != 200:
            raise RuntimeError(f"GET /report of {self.viewer.name}: status {status}")
        return json.loads(base64.b64decode(json.loads(body)["payload"]))

    def end(self):
        self.ended.set()
        self.join()

    def gaps(self):
        """Returns the times in s between reports."""
        found = [at for _, at, _ in self.advances]
        return [later - earlier for earlier, later in zip(found, found[1:])]

    def silence(self, at):
        """Returns the age in s of the newest report that had arrived at the Unix time `at`, and whether it said that its
        author was overloaded."""
        created, _, is_overloaded = [advance for advance in self.advances if advance[1] <= at][-1]
        return at - created, is_overloaded

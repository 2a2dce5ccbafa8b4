"""Who looks at one node's view again and again, from inside the node's own namespace, so that no fault comes
between, and keeps what changed."""

import base64
import http.client
import json
import threading
import time
from dataclasses import dataclass

from node import PORT

PERIOD_S = 0.1


@dataclass(frozen=True)
class Standing:
    """A verdict on one node."""
    status: str
    causes: tuple
    # The newest outage that is over, as (from in ms, whether the node was cut off); or None.
    outage: tuple


@dataclass(frozen=True)
class Look:
    """What a view said from `at` on (monotonic s) until the next one. All is None while it could not be had."""
    at: float
    standings: dict
    links: frozenset
    sides: tuple

    def status(self, name):
        return self.standings[name].status if self.standings else None


class Viewer(threading.Thread):
    def __init__(self, node, network_id, password):
        super().__init__(name=f"viewer of {node.name}", daemon=True)
        self.node, self.network_id, self.password = node, network_id, password
        self.looks = [Look(time.monotonic(), None, None, None)]
        # By node: when its newest report was made, by its own clock, in ms; and how long its newest answer took.
        self.told_at_ms, self.took_ms = {}, {}
        self.ended = threading.Event()
        self.connection = self.token = self.etag = None

    def run(self):
        self.node.namespace.enter()
        while not self.ended.wait(PERIOD_S):
            try:
                try:
                    self.look()
                except (OSError, http.client.HTTPException):
                    # A connection that was kept may have been closed for its age: only a new one tells.
                    self.disconnect()
                    self.look()
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                self.disconnect()
                self.keep(Look(time.monotonic(), None, None, None))
        self.disconnect()

    def end(self):
        self.ended.set()

    @property
    def newest(self):
        return self.looks[-1]

    def look(self):
        if not self.token:
            self.token = self.ask_for_token()
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.etag:
            headers["If-None-Match"] = self.etag
        status, fields, body = self.ask("GET", f"/view/{self.network_id}", headers)
        at = time.monotonic()
        if status == 401:
            # It has expired, or the node's clock was set.
            self.token = None
        elif status == 200:
            self.etag = fields["ETag"]
            self.keep(self.read(at, json.loads(body)))
        elif status != 304:
            raise http.client.HTTPException(f"status {status}")

    def read(self, at, view):
        def standing(entry):
            outage = entry.get("outage")
            return Standing(entry["status"], tuple(entry["causes"]), outage and (outage["from"], outage["cut_off"]))

        self.told_at_ms = {name: found["at"] for name, found in view["data"].items()}
        own = view["data"].get(self.node.name, {"ping_data": {}})["ping_data"]
        self.took_ms = {name: found["response_time_rtt"] for name, found in own.items()}
        links = frozenset((link["from"], link["to"], link["both"]) for link in view["links"])
        sides = tuple(tuple(side) for side in view["partitions"])
        return Look(at, {name: standing(entry) for name, entry in view["verdicts"].items()}, links, sides)

    def keep(self, look):
        last = self.looks[-1]
        if (look.standings, look.links, look.sides) != (last.standings, last.links, last.sides):
            self.looks.append(look)

    def ask_for_token(self):
        basic = base64.b64encode(f"admin:{self.password}".encode()).decode()
        status, _, body = self.ask("POST", "/token", {"Authorization": f"Basic {basic}"})
        if status != 200:
            raise http.client.HTTPException(f"POST /token: status {status}")
        return json.loads(body)["access_token"]

    def ask(self, method, path, headers):
        if not self.connection:
            self.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=3)
        self.connection.request(method, path, body=b"" if method == "POST" else None, headers=headers)
        reply = self.connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def disconnect(self):
        # A picture that comes again after a gap is to be read again.
        self.etag = None
        if self.connection:
            self.connection.close()
            self.connection = None

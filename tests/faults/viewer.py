"""A thread that polls one node's view from inside the node's namespace, which faults do not affect, and keeps its
changes."""

import base64
import http.client
import json
import threading
import time
from dataclasses import dataclass

from node import PORT

PERIOD_S = 0.1


@dataclass(frozen=True)
class Verdict:
    """A verdict on one node."""
    status: str
    causes: tuple
    # The newest finished outage as (from in ms, whether the node was cut off), or None.
    outage: tuple


@dataclass(frozen=True)
class ViewState:
    """A state of a view from `at` (monotonic s) until the next state. Without a view, all other members are None."""
    at: float
    verdicts: dict
    links: frozenset
    partitions: tuple

    def status(self, name):
        return self.verdicts[name].status if self.verdicts else None


class Viewer(threading.Thread):
    def __init__(self, node, network_id, password):
        super().__init__(name=f"viewer of {node.name}", daemon=True)
        self.node, self.network_id, self.password = node, network_id, password
        self.states = [ViewState(time.monotonic(), None, None, None)]
        # By node: creation of its newest report by its clock, and duration of its newest reply, in ms.
        self.created_ms, self.took_ms = {}, {}
        self.ended = threading.Event()
        self.connection = self.token = self.etag = None

    def run(self):
        self.node.namespace.enter()
        while not self.ended.wait(PERIOD_S):
            try:
                try:
                    self.poll()
                except (OSError, http.client.HTTPException):
                    # The server may have closed an old persistent connection: only a new one proves a failure.
                    self.disconnect()
                    self.poll()
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                self.disconnect()
                self.keep(ViewState(time.monotonic(), None, None, None))
        self.disconnect()

    def end(self):
        self.ended.set()

    @property
    def newest(self):
        return self.states[-1]

    def poll(self):
        if not self.token:
            self.token = self.request_token()
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.etag:
            headers["If-None-Match"] = self.etag
        status, fields, body = self.request("GET", f"/view/{self.network_id}", headers)
        at = time.monotonic()
        if status == 401:
            # The token has expired, or the clock of the node has changed.
            self.token = None
        elif status == 200:
            self.etag = fields["ETag"]
            self.keep(self.read(at, json.loads(body)))
        elif status != 304:
            raise http.client.HTTPException(f"status {status}")

    def read(self, at, view):
        def verdict(entry):
            outage = entry.get("outage")
            return Verdict(entry["status"], tuple(entry["causes"]), outage and (outage["from"], outage["cut_off"]))

        self.created_ms = {name: found["at"] for name, found in view["data"].items()}
        own = view["data"].get(self.node.name, {"ping_data": {}})["ping_data"]
        self.took_ms = {name: found["response_time_rtt"] for name, found in own.items()}
        links = frozenset((link["from"], link["to"], link["both"]) for link in view["links"])
        partitions = tuple(tuple(partition) for partition in view["partitions"])
        return ViewState(at, {name: verdict(entry) for name, entry in view["verdicts"].items()}, links, partitions)

    def keep(self, state):
        last = self.states[-1]
        if (state.verdicts, state.links, state.partitions) != (last.verdicts, last.links, last.partitions):
            self.states.append(state)

    def request_token(self):
        basic = base64.b64encode(f"admin:{self.password}".encode()).decode()
        status, _, body = self.request("POST", "/token", {"Authorization": f"Basic {basic}"})
        if status != 200:
            raise http.client.HTTPException(f"POST /token: status {status}")
        return json.loads(body)["access_token"]

    def request(self, method, path, headers):
        if not self.connection:
            self.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=3)
        self.connection.request(method, path, body=b"" if method == "POST" else None, headers=headers)
        reply = self.connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def disconnect(self):
        # Requests the next view even if it equals the one before the gap.
        self.etag = None
        if self.connection:
            self.connection.close()
            self.connection = None

"""Nodes on loopback, in a network namespace that they have for themselves."""

import concurrent.futures
import hashlib
import json
import re
import shutil
import subprocess
import time

from namespace import Namespace
from node import PORT, Node
from node_process import get

from journal import Journal

NETWORK_ID = "overload"
# The program's own limit for a request is longer than any reply takes.
VIEW_TIMEOUT_S = 30


class Network:
    """A context manager for `count` nodes; `rings` is the number of observers of each, by default all others."""

    def __init__(self, program, directory, count, poll_rate_s=10, timeout_s=5, rings=None):
        self.program, self.directory = program, directory
        self.poll_rate_s, self.timeout_s, self.rings = poll_rate_s, timeout_s, rings
        self.namespace = Namespace()
        self.namespace.run("ip", "link", "set", "lo", "up")
        width = len(str(count))
        self.nodes = [Node(f"node-{number:0{width}}", f"127.0.0.{number}", self.namespace, program)
                      for number in range(1, count + 1)]
        self.names = [node.name for node in self.nodes]
        self.pairs = self.observed_pairs()
        # Threads in the namespace, which request views.
        self.pool = concurrent.futures.ThreadPoolExecutor(2, "views", self.namespace.enter)

    def __enter__(self):
        try:
            self.write()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        # SIGKILL ends suspended processes as well.
        for node in self.nodes:
            if node.process:
                node.process.kill()
        for node in self.nodes:
            node.kill()
        self.pool.shutdown(cancel_futures=True)
        self.namespace.close()

    def observed_pairs(self):
        """Returns the pairs (observer, observed node), by the published rule for rings."""
        if not self.rings:
            return {(one, other) for one in self.names for other in self.names if one != other}
        pairs = set()
        for ring in range(self.rings):
            order = sorted(self.names, key=lambda name: hashlib.sha256(f"{ring}/{name}".encode()).digest())
            pairs.update(zip(order, order[1:] + order[:1]))
        return pairs

    def write(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        subprocess.run(
            [self.program, "init", self.directory / "etc", "--network", NETWORK_ID, "--poll-rate", str(self.poll_rate_s),
             "--plain-password", *(word for node in self.nodes for word in ("--node", f"{node.name}={node.url}"))],
            check=True, timeout=60, capture_output=True)
        for node in self.nodes:
            node.use_directory(self.directory)
            node.log.touch()
            config = node.home / "networks" / NETWORK_ID / "config.yml"
            text, count = re.subn(r"(?m)^  timeout: .*$", f"  timeout: {self.timeout_s}", config.read_text())
            assert count == 1, text
            if self.rings:
                text, count = re.subn(r"(?m)^node_config:$", f"observers: {self.rings}\nnode_config:", text)
                assert count == 1, text
            config.write_text(text)
            with (node.home / "nodeconf.yml").open("a") as nodeconf:
                nodeconf.write(f'listen: "{node.address}:{PORT}"\n')

    def start(self):
        """Starts all nodes without waiting for any. Returns the Unix time before the first."""
        self.journal = Journal(NETWORK_ID, {node.name: node.log for node in self.nodes})
        begun = time.time()
        for node in self.nodes:
            node.start()
        return begun

    def node(self, name):
        return self.nodes[self.names.index(name)]

    def running(self):
        return [node for node in self.nodes if node.process]

    def pids(self):
        return [node.process.pid for node in self.running()]

    def ended(self):
        """Returns the names of nodes whose process has ended by itself."""
        return [node.name for node in self.running() if node.process.poll() is not None]

    def settled(self):
        """Whether by their logs all running nodes call each other up and online."""
        return not self.unsettled(1)

    def unsettled(self, limit):
        """Returns up to `limit` texts about verdicts other than up and observations other than online, by the logs."""
        names = {node.name for node in self.running()}
        texts = []
        for found, expected, pairs in (
                (self.journal.observations, "online", self.pairs),
                (self.journal.verdicts, "up", ((one, other) for one in names for other in names if one != other))):
            for one, other in pairs:
                if one in names and other in names:
                    change = found[one].get(other)
                    if not change or change.status != expected:
                        texts.append(f"{one}: {other} is {change.status if change else 'without a status'}")
                        if len(texts) == limit:
                            return texts
        return texts

    def online_pairs(self):
        """Returns the number of pairs whose observer finds the other online, by the logs."""
        return sum(1 for one, other in self.pairs
                   if (change := self.journal.observations[one].get(other)) and change.status == "online")

    def request_token(self):
        """Returns a token that all nodes accept, signed by the command line: a login would cost a node much memory and
        processor time."""
        node = self.running()[0]
        command = [self.program, "token", "--config", node.home, "--state", node.state, "--network", NETWORK_ID]
        return subprocess.run(command, check=True, timeout=30, capture_output=True, text=True).stdout.strip()

    def get(self, node, path, token):
        """Returns the JSON document at `path` of a node, requested in a thread of the pool."""
        status, body = get(f"{node.url}{path}", {"Authorization": f"Bearer {token}"}, VIEW_TIMEOUT_S)
        if status != 200:
            raise RuntimeError(f"GET {path} of {node.name}: status {status}")
        return json.loads(body)

    def contradictions(self):
        """Requests the view of each node and returns what in it is not up or not online, or not as in the logs."""
        token, names = self.request_token(), {node.name for node in self.running()}

        def check(node):
            view = self.get(node, f"/view/{NETWORK_ID}", token)
            observed = view["data"].get(node.name, {"ping_data": {}})["ping_data"]
            expected = {other for one, other in self.pairs if one == node.name}
            texts = [] if set(observed) == expected else [f"it observes {sorted(observed)}: expected {sorted(expected)}"]
            texts += [f"{other} is {found['status']}" for other, found in observed.items()
                      if other in names and found["status"] != "online"]
            texts += [f"{other} is {found['status']}" for other, found in view["verdicts"].items()
                      if other in names and found["status"] != "up"]
            if not names <= set(view["verdicts"]):
                texts.append("it has no verdicts on some nodes")
            return [f"view of {node.name}: {text}" for text in texts]

        return [text for texts in self.pool.map(check, self.running()) for text in texts]

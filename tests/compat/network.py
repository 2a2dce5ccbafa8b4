"""A network of nodes that run different releases."""

import json
import pathlib
import subprocess
import tempfile

from node_process import NodeProcess, free_ports, get

NETWORK_ID = "compat-network"
POLL_RATE_S = 0.3
TIMEOUT_S = 2
# The silence after which a node is no longer alive: 4 I + 2 T of the rules for verdicts.
SILENCE_S = 4 * POLL_RATE_S + 2 * TIMEOUT_S


class Network:
    """A network of one node for each of `programs`, configured by the program `configured_by`.

    Options: `ports` for the nodes (default: any); `observers` of each node (default: all); `poll_rates` in seconds of
    the nodes with another one than POLL_RATE_S; `timeout` of each probe in seconds; `without_url`, the nodes without url,
    which listen for views only; `replaced_urls`, the other url that one node has of another one, by (node, other node).
    """

    def __init__(self, configured_by, programs, ports=None, observers=None, poll_rates=None, timeout=TIMEOUT_S,
                 without_url=(), replaced_urls=None):
        self.configured_by = configured_by
        self.programs = {f"node-{number}": program for number, program in enumerate(programs, 1)}
        self.ports = ports or free_ports(len(programs))
        self.observers, self.poll_rates, self.timeout = observers, poll_rates or {}, timeout
        self.without_url, self.replaced_urls = without_url, replaced_urls or {}
        self.nodes = {}
        self.tokens = {}

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="distomon-compat-")
        try:
            self.write(pathlib.Path(self.temporary.name))
            for node in self.nodes:
                self.start(node)
            return self
        except BaseException:
            self.print_logs()
            self.__exit__()
            raise

    def __exit__(self, *_):
        for node in self.nodes.values():
            node.request_stop()
        for node in self.nodes.values():
            node.stop()
        self.temporary.cleanup()

    def write(self, directory):
        urls = {node: f"http://127.0.0.1:{port}" for node, port in zip(self.programs, self.ports)}
        members = [node if node in self.without_url else f"{node}={url}" for node, url in urls.items()]
        options = [word for member in members for word in ("--node", member)]
        subprocess.run([self.configured_by, "init", directory / "etc", "--network", NETWORK_ID,
                        "--poll-rate", str(POLL_RATE_S), *options], check=True, timeout=30, capture_output=True)
        for node, url in urls.items():
            home = directory / "etc" / node
            config = home / "networks" / NETWORK_ID / "config.yml"
            config.write_text(self.configure(node, config.read_text(), urls))
            with (home / "nodeconf.yml").open("a") as nodeconf:
                nodeconf.write(f'listen: "{url.removeprefix("http://")}"\n')
            self.nodes[node] = NodeProcess(home, directory / "state" / node, directory / f"{node}.log", url)

    def configure(self, node, text, urls):
        """Returns the text of the configuration of `node` with the options of this network."""
        def replace(old, new):
            nonlocal text
            assert text.count(old) == 1, text
            text = text.replace(old, new)

        replace("timeout: 5\n", f"timeout: {self.timeout}\n")
        if self.observers:
            replace("node_config:\n", f"observers: {self.observers}\nnode_config:\n")
        for member, poll_rate in self.poll_rates.items():
            replace(f"- node_id: {member}\n", f"- node_id: {member}\n  poll_rate: {poll_rate}\n")
        for (viewer, member), url in self.replaced_urls.items():
            if viewer == node:
                replace(f"url: {urls[member]}\n", f"url: {url}\n")
        return text

    def start(self, node):
        process = self.nodes[node]
        process.start(self.programs[node])
        self.tokens[node] = subprocess.run(
            [self.programs[node], "token", "--config", process.home, "--state", process.state],
            check=True, timeout=30, capture_output=True, text=True).stdout.strip()

    def replace(self, node, program):
        """Restarts `node` with another program and the same configuration and state."""
        self.nodes[node].stop()
        self.programs[node] = program
        self.start(node)

    def upgrade(self, nodes, program):
        """Restarts all these nodes with `program` at the same time."""
        for node in nodes:
            self.nodes[node].request_stop()
        for node in nodes:
            self.replace(node, program)

    def kill(self, node):
        self.nodes[node].kill()

    def running(self, *programs):
        """Returns the nodes that run one of `programs`, or all that run."""
        return [node for node, process in self.nodes.items()
                if process.process and (not programs or self.programs[node] in programs)]

    def version(self, node):
        """Returns the version of the program of `node`."""
        version = subprocess.run([self.programs[node], "version"], check=True, timeout=30, capture_output=True, text=True)
        return version.stdout.split()[1]

    def view(self, node):
        headers = {"Authorization": f"Bearer {self.tokens[node]}"}
        status, body = get(f"{self.nodes[node].url}/view/{NETWORK_ID}", headers)
        if status != 200:
            raise RuntimeError(f"{node} answered {status}: {body!r}")
        return json.loads(body)

    def observed(self, node):
        """Returns the nodes that `node` observes."""
        return list(self.view(node)["data"][node]["ping_data"])

    def log_lines(self, *words):
        """Returns the log lines with one of these words."""
        return [f"{name}: {line}" for name, node in self.nodes.items()
                for line in node.log.read_text(errors="replace").splitlines() if any(word in line for word in words)]

    def print_logs(self):
        for node in self.nodes.values():
            node.print_log(40)

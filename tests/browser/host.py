"""The tested network: five nodes as in tests/faults, and a sixth host on their bridge for the browser."""

import os
import re
import subprocess
import time

from namespace import Namespace
from network import NETWORK_ID, Network
from node import SERVICE_VARIABLES

ADDRESS = "10.77.0.9"
LONGEST_NAME = "a-node-whose-name-is-as-long-as-any-name-may-be-which-is-sixty-4"
assert len(LONGEST_NAME) == 64


class Host:
    def __init__(self, program, large_network, directory):
        self.program, self.large_network, self.directory = program, large_network, directory
        self.network = Network(program, None)
        self.namespace = Namespace()
        self.network.switch.run("ip", "-batch", "-", stdin=f"""
            link add p9 type veth peer name eth0 netns {self.namespace.path}
            link set p9 master br0 up
            """)
        self.namespace.run("ip", "-batch", "-", stdin=f"""
            link set lo up
            link set eth0 up
            address add {ADDRESS}/24 dev eth0
            """)
        self.processes = []

    def enter(self):
        self.namespace.enter()

    def start(self):
        self.network.write(self.directory / "network")
        self.network.start()
        wait("all nodes are up", 30, lambda: self.all_up())

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait(10)
        self.network.close()

    @property
    def nodes(self):
        return self.network.nodes

    @property
    def password(self):
        return self.network.password

    @property
    def id(self):
        return NETWORK_ID

    def view(self, node):
        return self.network.viewer(node).newest

    def all_up(self):
        states = [viewer.newest for viewer in self.network.viewers]
        return all(state.verdicts and not state.links
                   and all(verdict.status == "up" for verdict in state.verdicts.values()) for state in states)

    def start_large_network(self, count):
        """Starts a network of `count` nodes on this host's loopback. Returns the address of its page and the password."""
        password = "of a large network"
        process = subprocess.Popen([self.large_network, str(count), password], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process.stdout.readline().strip(), password

    def start_small(self):
        """Starts an instance with two networks: one with names of the greatest length, whose other node does not run, and
        one of a single node. Returns its address, its password and the name of its node in the first network."""
        directory = self.directory / "small"
        port = 9300
        others = [f"{word}-{LONGEST_NAME[len(word) + 1:]}" for word in ("first", "other")]
        passwords = []
        for name, nodes in (("long-names", others), ("alone", ["only"])):
            words = [word for at, node in enumerate(nodes)
                     for word in ("--node", f"{node}=http://127.0.0.1:{port + at}")]
            output = subprocess.run([self.program, "init", directory / name, "--network", name, "--poll-rate", "1",
                                   "--plain-password", *words],
                                  check=True, capture_output=True, text=True, timeout=60).stdout
            passwords.append(re.search(r"log in as admin with (\S+)", output)[1])
        home, other = directory / "long-names" / others[0], directory / "alone" / "only"
        (other / "networks" / "alone").rename(home / "networks" / "alone")
        for key in (other / ".private_keys").glob("*.key"):
            key.rename(home / ".private_keys" / key.name)
        nodeconf = home / "nodeconf.yml"
        text = nodeconf.read_text()
        nodeconf.write_text(text.replace("networks:\n", "networks:\n- name: alone\n  node_id: only\n", 1))
        environment = {name: value for name, value in os.environ.items() if name not in SERVICE_VARIABLES}
        log = (directory / "log").open("wb")
        self.processes.append(subprocess.Popen(
            [self.program, "run", "--exit-with-stdin", "--config", home, "--state", directory / "state"],
            stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment))
        return f"http://127.0.0.1:{port}", passwords[0], others[0]


def wait(what, seconds, condition):
    """Waits for a true result of `condition` and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)

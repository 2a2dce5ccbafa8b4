"""The network that is looked at: five nodes as in tests/faults, and a sixth host on their bridge for the browser."""

import os
import re
import subprocess
import time

from namespace import Namespace
from network import NETWORK_ID, Network
from node import NOT_OURS

ADDRESS = "10.77.0.9"
LONG = "a-node-whose-name-is-as-long-as-any-name-may-be-which-is-sixty-4"
assert len(LONG) == 64


class Host:
    def __init__(self, program, large_network, place):
        self.program, self.large_network, self.place = program, large_network, place
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
        self.network.write(self.place / "network")
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
        looks = [viewer.newest for viewer in self.network.viewers]
        return all(look.standings and not look.links
                   and all(standing.status == "up" for standing in look.standings.values()) for look in looks)

    def start_large_network(self, count):
        """A network of so many nodes on this host's loopback; where it is looked at, and with which password."""
        password = "of a large network"
        process = subprocess.Popen([self.large_network, str(count), password], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process.stdout.readline().strip(), password

    def start_small(self):
        """An instance with two networks of which little is known: one with names as long as they may be, whose other
        nodes do not run, and one of this node alone. Its address and password."""
        place = self.place / "small"
        port = 9300
        others = [f"{word}-{LONG[len(word) + 1:]}" for word in ("first", "other")]
        passwords = []
        for name, nodes in (("long-names", others), ("alone", ["only"])):
            words = [word for at, node in enumerate(nodes)
                     for word in ("--node", f"{node}=http://127.0.0.1:{port + at}")]
            told = subprocess.run([self.program, "init", place / name, "--network", name, "--poll-rate", "1",
                                   "--plain-password", *words],
                                  check=True, capture_output=True, text=True, timeout=60).stdout
            passwords.append(re.search(r"log in as admin with (\S+)", told)[1])
        home, other = place / "long-names" / others[0], place / "alone" / "only"
        (other / "networks" / "alone").rename(home / "networks" / "alone")
        for key in (other / ".private_keys").glob("*.key"):
            key.rename(home / ".private_keys" / key.name)
        nodeconf = home / "nodeconf.yml"
        text = nodeconf.read_text()
        nodeconf.write_text(text.replace("networks:\n", "networks:\n- name: alone\n  node_id: only\n", 1))
        environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        log = (place / "log").open("wb")
        self.processes.append(subprocess.Popen(
            [self.program, "run", "--exit-with-stdin", "--config", home, "--state", place / "state"],
            stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment))
        return f"http://127.0.0.1:{port}", passwords[0], others[0]


def wait(what, seconds, condition):
    """Waits until `condition` gives something, and gives that."""
    until = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise TimeoutError(f"still not, after {seconds} s: {what}")
        time.sleep(0.05)

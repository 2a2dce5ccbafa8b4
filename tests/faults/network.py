"""Five hosts on a bridge in a separate namespace, which leaves the network of this machine unchanged. Faults of links
are packet filters of the bridge."""

import json
import re
import shutil
import subprocess

from namespace import Namespace
from node import PORT, Node
from relay import Relay
from viewer import Viewer

NETWORK_ID = "faults"
POLL_RATE_S = 1
TIMEOUT_S = 1


class Network:
    def __init__(self, program, lying_peer):
        self.program, self.lying_peer = program, lying_peer
        self.switch = Namespace()
        self.nodes = []
        self.viewers = []
        self.relays = {}
        self.switch.run("ip", "-batch", "-", stdin="link add br0 type bridge\nlink set br0 up\nlink set lo up\n")
        for number in range(1, 6):
            node = Node(f"node-{number}", f"10.77.0.{number}", Namespace(), program)
            self.nodes.append(node)
            self.switch.run("ip", "-batch", "-", stdin=f"""
                link add p{number} type veth peer name eth0 netns {node.namespace.path}
                link set p{number} master br0 up
                """)
            node.namespace.run("ip", "-batch", "-", stdin=f"""
                link set lo up
                link set eth0 up
                address add {node.address}/24 dev eth0
                """)

    def close(self):
        self.stop()
        for node in self.nodes:
            node.namespace.close()
        self.switch.close()

    def write(self, directory):
        """Writes the files of all nodes below `directory`, after emptying it."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        output = subprocess.run(
            [self.program, "init", directory / "etc", "--network", NETWORK_ID, "--poll-rate", str(POLL_RATE_S),
             "--plain-password", *(word for node in self.nodes for word in ("--node", f"{node.name}={node.url}"))],
            check=True, timeout=60, capture_output=True, text=True).stdout
        self.password = re.search(r"log in as admin with (\S+)", output)[1]
        for node in self.nodes:
            node.use_directory(directory)
            node.has_separate_clock = False
            config = node.home / "networks" / NETWORK_ID / "config.yml"
            text, count = re.subn(r"(?m)^  timeout: .*$", f"  timeout: {TIMEOUT_S}", config.read_text())
            assert count == 1, text
            config.write_text(text)

    def start(self):
        """Starts all nodes and their viewers."""
        for node in self.nodes:
            if node not in self.relays:
                self.listen(node, "[::]")
            node.start()
        self.viewers = [Viewer(node, NETWORK_ID, self.password) for node in self.nodes]
        for viewer in self.viewers:
            viewer.start()

    def stop(self):
        for viewer in self.viewers:
            viewer.end()
        for node in self.nodes:
            node.kill()
        for relay in self.relays.values():
            relay.end()
        self.viewers, self.relays = [], {}

    def listen(self, node, host):
        nodeconf = node.home / "nodeconf.yml"
        kept = [line for line in nodeconf.read_text().splitlines() if not line.startswith("listen:")]
        nodeconf.write_text("\n".join([*kept, f'listen: "{host}:{PORT}"', ""]))

    def put_relay_before(self, node):
        """Puts a relay, which can delay connections, before a node that has not started."""
        self.listen(node, "127.0.0.1")
        self.relays[node] = Relay(node.namespace, node.address, PORT)

    def take_relay_from(self, node):
        """Removes the relay of a node that does not run."""
        self.relays.pop(node).end()
        self.listen(node, "[::]")

    def drop(self, *rules):
        """Drops the packets on the bridge that match one of these nftables conditions."""
        lines = [f"add rule bridge faults forward {rule} counter drop" for rule in rules]
        self.switch.run("nft", "-f", "-", stdin="\n".join([
            "add table bridge faults",
            "add chain bridge faults forward { type filter hook forward priority 0; }", *lines, ""]))

    def idle_rules(self):
        """Returns the handles of rules that have dropped nothing."""
        table = json.loads(self.switch.run("nft", "--json", "list", "table", "bridge", "faults"))
        rules = [entry["rule"] for entry in table["nftables"] if "rule" in entry]
        return [rule["handle"] for rule in rules
                if any(part.get("counter", {}).get("packets") == 0 for part in rule["expr"])]

    def drop_nothing(self):
        self.switch.run("nft", "delete", "table", "bridge", "faults")

    def start_lying_peer(self, node, *lies):
        """Starts the lying peer with the key and address of `node`."""
        peers = [f"{peer.name}={peer.url}" for peer in self.nodes if peer is not node]
        node.spawn([self.lying_peer, node.key_file(NETWORK_ID), NETWORK_ID, node.name, f"{node.address}:{PORT}",
                    ",".join(peers), *lies])

    def viewer(self, node):
        return self.viewers[self.nodes.index(node)]


def packets(sources, targets):
    """Returns a condition for packets from one of `sources` to one of `targets`."""
    def addresses(nodes):
        return "{ " + ", ".join(node.address for node in nodes) + " }"

    return f"ip saddr {addresses(sources)} ip daddr {addresses(targets)}"


def calls(sources, targets):
    """Returns a condition for packets of connections that one of `sources` opens to one of `targets`; connections in
    the other direction work."""
    return f"{packets(sources, targets)} tcp dport {PORT}"

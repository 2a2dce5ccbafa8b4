"""Five hosts on a bridge that is in a namespace of its own, so that nothing of this machine's network is touched.
All faults of links are rules of that bridge."""

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

    def write(self, place):
        """The files of all nodes, below the directory `place`, which is emptied."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        told = subprocess.run(
            [self.program, "init", place / "etc", "--network", NETWORK_ID, "--poll-rate", str(POLL_RATE_S),
             "--plain-password", *(word for node in self.nodes for word in ("--node", f"{node.name}={node.url}"))],
            check=True, timeout=60, capture_output=True, text=True).stdout
        self.password = re.search(r"log in as admin with (\S+)", told)[1]
        for node in self.nodes:
            node.move_to(place)
            node.has_own_clock = False
            config = node.home / "networks" / NETWORK_ID / "config.yml"
            text, count = re.subn(r"(?m)^  timeout: .*$", f"  timeout: {TIMEOUT_S}", config.read_text())
            assert count == 1, text
            config.write_text(text)

    def start(self):
        """Starts all nodes, and one who looks at each."""
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
        """Before the node starts: what calls it passes through a relay, which can be told to wait."""
        self.listen(node, "127.0.0.1")
        self.relays[node] = Relay(node.namespace, node.address, PORT)

    def take_relay_from(self, node):
        """While the node does not run: the other way round."""
        self.relays.pop(node).end()
        self.listen(node, "[::]")

    def drop(self, *rules):
        """Drops packets on their way over the bridge, by nftables' conditions."""
        lines = [f"add rule bridge faults forward {rule} counter drop" for rule in rules]
        self.switch.run("nft", "-f", "-", stdin="\n".join([
            "add table bridge faults",
            "add chain bridge faults forward { type filter hook forward priority 0; }", *lines, ""]))

    def idle_rules(self):
        """The rules that have dropped nothing."""
        told = json.loads(self.switch.run("nft", "--json", "list", "table", "bridge", "faults"))
        rules = [entry["rule"] for entry in told["nftables"] if "rule" in entry]
        return [rule["handle"] for rule in rules
                if any(part.get("counter", {}).get("packets") == 0 for part in rule["expr"])]

    def drop_nothing(self):
        self.switch.run("nft", "delete", "table", "bridge", "faults")

    def start_lying_peer(self, node, *lies):
        """Another program with `node`'s key takes its place."""
        peers = [f"{peer.name}={peer.url}" for peer in self.nodes if peer is not node]
        node.spawn([self.lying_peer, node.key_file(NETWORK_ID), NETWORK_ID, node.name, f"{node.address}:{PORT}",
                    ",".join(peers), *lies])

    def viewer(self, node):
        return self.viewers[self.nodes.index(node)]


def packets(sources, targets):
    """What matches each packet from one of `sources` to one of `targets`."""
    def addresses(nodes):
        return "{ " + ", ".join(node.address for node in nodes) + " }"

    return f"ip saddr {addresses(sources)} ip daddr {addresses(targets)}"


def calls(sources, targets):
    """What matches each packet of a connection that one of `sources` makes to one of `targets`, on its way
    there; connections the other way round pass."""
    return f"{packets(sources, targets)} tcp dport {PORT}"

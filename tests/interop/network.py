"""A network of two real nodes and a Python member without a URL, which no node can call."""

import base64
import http.client
import os
import pathlib
import re
import subprocess
import tempfile
from types import SimpleNamespace
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from node_process import NodeProcess, free_ports

NETWORK_ID = "interop-network"
NODES = ("node-1", "node-2")
PYTHON_NODE = "python-node"

def spki(key):
    """Returns the public key of a private key in the form of config.yml: base64."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def send(message, timeout=15):
    """Sends a request and returns the reply, both in the form that http-message-signatures expects."""
    parts = urlsplit(message.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(message.method, target, body=getattr(message, "body", None), headers=message.headers)
        reply = connection.getresponse()
        body = reply.read()
        return SimpleNamespace(
            status_code=reply.status, url=message.url, request=message, headers=dict(reply.getheaders()), body=body)
    finally:
        connection.close()


def get(url, headers=None):
    return send(SimpleNamespace(method="GET", url=url, headers=headers or {}))


class Network:
    """A network configured by `distomon init`, in which the Python member has a key that Python generated."""

    def __init__(self, program):
        self.program = os.path.abspath(program)
        self.processes = {}

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="distomon-interop-")
        self.directory = pathlib.Path(self.temporary.name)
        try:
            self.write()
            for node in NODES:
                self.start(node)
            return self
        except BaseException:
            self.print_logs()
            self.__exit__()
            raise

    def __exit__(self, *_):
        for process in self.processes.values():
            process.request_stop()
        for process in self.processes.values():
            process.stop()
        self.temporary.cleanup()

    def write(self):
        ports = dict(zip(NODES, free_ports(len(NODES))))
        self.urls = {node: f"http://127.0.0.1:{port}" for node, port in ports.items()}
        nodes = [f"{node}={url}" for node, url in self.urls.items()] + [PYTHON_NODE]
        output = subprocess.run(
            [self.program, "init", self.directory / "etc", "--network", NETWORK_ID, "--poll-rate", "1",
             *(word for node in nodes for word in ("--node", node))],
            check=True, timeout=30, capture_output=True, text=True).stdout
        self.password = re.search(r"log in as admin with (\S+)", output)[1]
        self.keys = {node: self.read_key(node) for node in (*NODES, PYTHON_NODE)}
        # One line of each configuration has the key that init generated.
        written = spki(self.keys[PYTHON_NODE])
        self.keys[PYTHON_NODE] = Ed25519PrivateKey.generate()
        for node in NODES:
            config = self.home(node) / "networks" / NETWORK_ID / "config.yml"
            text = config.read_text()
            assert text.count(written) == 1, text
            config.write_text(text.replace(written, spki(self.keys[PYTHON_NODE])))
            with (self.home(node) / "nodeconf.yml").open("a") as nodeconf:
                nodeconf.write(f'listen: "127.0.0.1:{ports[node]}"\n')
            self.processes[node] = NodeProcess(
                self.home(node), self.directory / "state" / node, self.directory / f"{node}.log", self.urls[node])

    def home(self, node):
        return self.directory / "etc" / node

    def read_key(self, node):
        path = self.home(node) / ".private_keys" / f"{node}_{NETWORK_ID}.key"
        return load_pem_private_key(path.read_bytes(), None)

    def start(self, node):
        self.processes[node].start(self.program)

    def restart(self, node):
        self.processes[node].stop()
        self.start(node)

    def print_logs(self):
        for process in self.processes.values():
            process.print_log()

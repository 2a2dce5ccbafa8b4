"""A network of two real nodes and a Python member without a URL, which no node can call."""

import base64
import http.client
import os
import pathlib
import random
import re
import socket
import subprocess
import tempfile
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

NETWORK_ID = "interop-network"
NODES = ("node-1", "node-2")
PYTHON_NODE = "python-node"

# Variables of the systemd service that runs the tests; the nodes are not that service.
SERVICE_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID",
            "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")


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
        connection.request(message.method, parts.path, body=getattr(message, "body", None), headers=message.headers)
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
            process.terminate()
        for node, process in self.processes.items():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                print(f"  {node} did not stop within 10 s: killing it")
                process.kill()
                process.wait(10)
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

    def home(self, node):
        return self.directory / "etc" / node

    def read_key(self, node):
        path = self.home(node) / ".private_keys" / f"{node}_{NETWORK_ID}.key"
        return load_pem_private_key(path.read_bytes(), None)

    def start(self, node):
        environment = {name: value for name, value in os.environ.items() if name not in SERVICE_VARIABLES}
        with (self.directory / f"{node}.log").open("ab") as log:
            # The node ends with its standard input, and therefore with this process.
            self.processes[node] = subprocess.Popen(
                [self.program, "run", "--exit-with-stdin", "--config", self.home(node),
                 "--state", self.directory / "state" / node],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            status = self.processes[node].poll()
            if status is not None:
                raise RuntimeError(f"{node} ended with status {status}")
            try:
                if get(self.urls[node] + "/healthz").status_code == 200:
                    return
            except OSError:
                pass
            time.sleep(0.01)
        raise TimeoutError(f"{node} does not answer after 30 s")

    def restart(self, node):
        process = self.processes[node]
        process.terminate()
        process.wait(10)
        self.start(node)

    def print_logs(self):
        for log in sorted(self.directory.glob("*.log")):
            print(f"  the log of {log.stem}:")
            for line in log.read_text(errors="replace").splitlines()[-20:]:
                print(f"    {line}")


def free_ports(count):
    """Returns different ports that are free. They are below those that the kernel gives to outgoing connections."""
    ports = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        if port not in ports:
            ports.append(port)
    return ports

"""A node as a process of this host, with the standard library only."""

import http.client
import os
import random
import socket
import subprocess
import time
from urllib.parse import urlsplit

# Variables of the systemd service that runs the tests; the nodes are not that service.
SERVICE_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID",
            "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")


class NodeProcess:
    def __init__(self, home, state, log, url):
        """`home` is the configuration directory, `state` the state directory and `url` where the node listens."""
        self.home, self.state, self.log, self.url = home, state, log, url
        self.process = None

    def start(self, program):
        """Starts `program` as the node and waits until it answers."""
        environment = {name: value for name, value in os.environ.items() if name not in SERVICE_VARIABLES}
        with self.log.open("ab") as log:
            # The node ends with its standard input, and therefore with this process.
            self.process = subprocess.Popen(
                [program, "run", "--exit-with-stdin", "--config", self.home, "--state", self.state],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            status = self.process.poll()
            if status is not None:
                raise RuntimeError(f"{self.home.name} ended with status {status}")
            try:
                if get(self.url + "/healthz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.01)
        raise TimeoutError(f"{self.home.name} does not answer after 30 s")

    def request_stop(self):
        """Lets the node stop in the regular way."""
        if self.process:
            self.process.terminate()

    def stop(self):
        """Stops the node in the regular way, and waits for its end."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            print(f"  {self.home.name} did not stop within 10 s: killing it")
            self.process.kill()
        self.reap()

    def kill(self):
        self.process.kill()
        self.reap()

    def reap(self):
        self.process.wait(10)
        self.process.stdin.close()
        self.process = None

    def print_log(self, lines=20):
        print(f"  the log of {self.home.name}:")
        if self.log.exists():
            for line in self.log.read_text(errors="replace").splitlines()[-lines:]:
                print(f"    {line}")


def get(url, headers=None, timeout=15):
    """Returns the status and the body of a GET."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path, headers=headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


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

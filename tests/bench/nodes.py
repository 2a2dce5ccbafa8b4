"""A network of real nodes on loopback, and measurements of their processes."""

import base64
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

NETWORK_ID = "bench"
PASSWORD = "password-of-a-large-network"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# Variables of the systemd service that runs the tests; the nodes are not that service.
SERVICE_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID",
            "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")


class Nodes:
    """A context manager for `count` nodes, which `distomon init` configures and which start one after the other."""

    def __init__(self, program, count, poll_rate, timeout=5):
        self.program = os.path.abspath(program)
        self.ids = [f"node-{number:02}" for number in range(1, count + 1)]
        self.poll_rate, self.timeout = poll_rate, timeout
        self.processes = {}

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="distomon-bench-")
        self.directory = pathlib.Path(self.temporary.name)
        try:
            self.write()
            for node in self.ids:
                self.start(node)
            for node in self.ids:
                self.wait_until_serving(node)
            self.token = self.request_token()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for process in self.processes.values():
            # A suspended process handles SIGTERM only after this.
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)
        self.temporary.cleanup()

    def write(self):
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in self.ids]
        self.ports = {node: listener.getsockname()[1] for node, listener in zip(self.ids, listeners)}
        for listener in listeners:
            listener.close()
        output = subprocess.run(
            [self.program, "init", self.directory / "etc", "--network", NETWORK_ID, "--poll-rate", str(self.poll_rate),
             *(word for node in self.ids for word in ("--node", f"{node}=http://127.0.0.1:{self.ports[node]}"))],
            check=True, timeout=60, capture_output=True, text=True).stdout
        self.password = re.search(r"log in as admin with (\S+)", output)[1]
        for node in self.ids:
            home = self.directory / "etc" / node
            with (home / "nodeconf.yml").open("a") as nodeconf:
                nodeconf.write(f'listen: "127.0.0.1:{self.ports[node]}"\n')
            config = home / "networks" / NETWORK_ID / "config.yml"
            config.write_text(re.sub(r"(?m)^  timeout: .*$", f"  timeout: {self.timeout}", config.read_text()))

    def start(self, node):
        environment = {name: value for name, value in os.environ.items() if name not in SERVICE_VARIABLES}
        with (self.directory / f"{node}.log").open("ab") as log:
            # The node ends with its standard input, and therefore with this process.
            self.processes[node] = subprocess.Popen(
                [self.program, "run", "--exit-with-stdin", "--config", self.directory / "etc" / node,
                 "--state", self.directory / "state" / node],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True)

    def wait_until_serving(self, node, seconds=60, pause=0.02):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.processes[node].poll()
            if status is not None:
                log = (self.directory / f"{node}.log").read_text(errors="replace").splitlines()
                raise RuntimeError(f"{node} ended with status {status}: {' '.join(log[-3:])}")
            try:
                if self.get(node, "/healthz").status == 200:
                    return
            except OSError:
                pass
            time.sleep(pause)
        raise TimeoutError(f"{node} does not answer after {seconds} s")

    def pid(self, node):
        return self.processes[node].pid

    def get(self, node, path, method="GET", headers=None):
        return get(self.ports[node], path, method, headers)

    def request_token(self):
        """Returns a token of the first node, which all nodes accept."""
        basic = base64.b64encode(f"admin:{self.password}".encode()).decode()
        reply = self.get(self.ids[0], "/token", "POST", {"Authorization": f"Basic {basic}"})
        if reply.status != 200:
            raise RuntimeError(f"POST /token: status {reply.status}")
        return json.loads(reply.body)["access_token"]

    def view(self, node):
        reply = self.get(node, f"/view/{NETWORK_ID}", headers={"Authorization": f"Bearer {self.token}"})
        if reply.status != 200:
            raise RuntimeError(f"GET /view of {node}: status {reply.status}")
        return json.loads(reply.body)

    def view_request(self, node):
        """Returns the arguments of wrk for requests of the node's view."""
        return view_request(self.ports[node], NETWORK_ID, self.token)

    def wait_until_all_online(self, seconds=90):
        """Waits until every node's view has a report of every node that shows all others online."""
        def shows_all_online(node):
            data = self.view(node)["data"]
            return len(data) == len(self.ids) and all(
                found["status"] == "online" for report in data.values() for found in report["ping_data"].values())

        wait_for("every node showing all others online", lambda: all(map(shows_all_online, self.ids)), seconds, 0.2)

    def processor_s(self, node):
        """Returns the processor time of the node in s, in user space and in the kernel, with that of ended threads."""
        return processor_s(self.pid(node))

    def memory_mb(self, node):
        """Returns the resident memory and its peak, in MB."""
        status = pathlib.Path(f"/proc/{self.pid(node)}/status").read_text()
        return tuple(int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1000 for name in ("VmRSS", "VmHWM"))


def processor_s(pid):
    """Returns the processor time of a process in s, in user space and in the kernel, with that of ended threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S


class LargeNetwork:
    """A context manager for one real node of a network in rings, whose other nodes are simulated in the same process."""

    def __init__(self, program, count):
        self.program = os.path.join(os.path.dirname(os.path.abspath(program)), "examples", "large_network")
        self.count = count

    def __enter__(self):
        self.process = subprocess.Popen([self.program, str(self.count), PASSWORD], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        try:
            address = re.search(r"http://127\.0\.0\.1:(\d+)/network/(\S+)", self.process.stdout.readline())
            self.port, self.network_id = int(address[1]), address[2]
            basic = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
            reply = get(self.port, "/token", "POST", {"Authorization": f"Basic {basic}"})
            self.token = json.loads(reply.body)["access_token"]
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(15)

    def view_request(self):
        """Returns the arguments of wrk for requests of the view."""
        return view_request(self.port, self.network_id, self.token)

    def pid(self):
        return self.process.pid

    def wait_until_all_reported(self, seconds=60):
        """Waits until the node's view has a report of every node."""
        def has_all():
            reply = get(self.port, f"/view/{self.network_id}", headers={"Authorization": f"Bearer {self.token}"})
            return len(json.loads(reply.body)["data"]) == self.count

        wait_for(f"a view of {self.count} reports", has_all, seconds, 0.5)


def view_request(port, network_id, token):
    return "-H", f"Authorization: Bearer {token}", f"http://127.0.0.1:{port}/view/{network_id}"


def get(port, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        reply = connection.getresponse()
        reply.body = reply.read()
        return reply
    finally:
        connection.close()


def wait_for(what, holds, seconds, pause):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(pause)


def result(met):
    return "met" if met else "NOT MET"

"""A network of real nodes on loopback, and what can be read of them from outside."""

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
TICKS = os.sysconf("SC_CLK_TCK")

# systemd's words to a service of its own; the nodes are not that service.
NOT_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID",
            "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")


class Nodes:
    """`count` nodes, written by `distomon init` and started one after the other. All end with the block."""

    def __init__(self, program, count, poll_rate, timeout=5):
        self.program = os.path.abspath(program)
        self.ids = [f"node-{number:02}" for number in range(1, count + 1)]
        self.poll_rate, self.timeout = poll_rate, timeout
        self.processes = {}

    def __enter__(self):
        self.place = tempfile.TemporaryDirectory(prefix="distomon-bench-")
        self.directory = pathlib.Path(self.place.name)
        try:
            self.write()
            for node in self.ids:
                self.start(node)
            for node in self.ids:
                self.wait_until_serving(node)
            self.token = self.ask_for_token()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for process in self.processes.values():
            # A stopped process takes no signal but this.
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)
        self.place.cleanup()

    def write(self):
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in self.ids]
        self.ports = {node: listener.getsockname()[1] for node, listener in zip(self.ids, listeners)}
        for listener in listeners:
            listener.close()
        told = subprocess.run(
            [self.program, "init", self.directory / "etc", "--network", NETWORK_ID, "--poll-rate", str(self.poll_rate),
             *(word for node in self.ids for word in ("--node", f"{node}=http://127.0.0.1:{self.ports[node]}"))],
            check=True, timeout=60, capture_output=True, text=True).stdout
        self.password = re.search(r"log in as admin with (\S+)", told)[1]
        for node in self.ids:
            home = self.directory / "etc" / node
            with (home / "nodeconf.yml").open("a") as nodeconf:
                nodeconf.write(f'listen: "127.0.0.1:{self.ports[node]}"\n')
            config = home / "networks" / NETWORK_ID / "config.yml"
            config.write_text(re.sub(r"(?m)^  timeout: .*$", f"  timeout: {self.timeout}", config.read_text()))

    def start(self, node):
        environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        with (self.directory / f"{node}.log").open("ab") as log:
            # Its standard input ends with this process, and the node with that, however this one ends.
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
        raise TimeoutError(f"{node} does not serve after {seconds} s")

    def pid(self, node):
        return self.processes[node].pid

    def get(self, node, path, method="GET", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[node], timeout=10)
        try:
            connection.request(method, path, headers=headers or {})
            reply = connection.getresponse()
            reply.body = reply.read()
            return reply
        finally:
            connection.close()

    def ask_for_token(self):
        """A token of the first node: every other takes it, too."""
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

    def wait_until_whole(self, seconds=90):
        """Until every node's view shows every node's report saying that all others are online."""
        def is_whole(node):
            data = self.view(node)["data"]
            return len(data) == len(self.ids) and all(
                found["status"] == "online" for seen in data.values() for found in seen["ping_data"].values())

        wait_for("every node seeing all others online", lambda: all(map(is_whole, self.ids)), seconds, 0.2)

    def processor_s(self, node):
        """Seconds of processor time that the node has used in itself and in the kernel, its ended threads included."""
        fields = pathlib.Path(f"/proc/{self.pid(node)}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    def memory_mb(self, node):
        """Resident memory now, and the most it was."""
        status = pathlib.Path(f"/proc/{self.pid(node)}/status").read_text()
        return tuple(int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1000 for name in ("VmRSS", "VmHWM"))


def wait_for(what, holds, seconds, pause):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} s")
        time.sleep(pause)


def judge(met):
    return "met" if met else "NOT MET"

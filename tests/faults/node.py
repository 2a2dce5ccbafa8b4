"""A host: a namespace with an address on the bridge, and the node in it."""

import os
import pathlib
import shutil
import signal
import subprocess

PORT = 8000

# Variables of the systemd service that runs the tests; the nodes are not that service.
SERVICE_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID",
            "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")


class Node:
    def __init__(self, name, address, namespace, program):
        self.name, self.address, self.namespace, self.program = name, address, namespace, program
        self.process = None
        self.has_separate_clock = False
        self.starts = 0

    def use_directory(self, directory):
        """Sets the directory of the node's configuration, state and log."""
        self.home = directory / "etc" / self.name
        self.state = directory / "state" / self.name
        self.log = directory / f"{self.name}.log"
        self.clock = directory / f"{self.name}.clock"
        self.starts = 0

    @property
    def url(self):
        return f"http://{self.address}:{PORT}"

    def start(self, clock_s=0):
        environment = {name: value for name, value in os.environ.items() if name not in SERVICE_VARIABLES}
        if self.has_separate_clock:
            self.set_clock(clock_s)
            environment |= faketime_environment(self.clock)
        self.spawn([self.program, "run", "--exit-with-stdin", "--config", self.home, "--state", self.state],
                   environment)

    def spawn(self, command, environment=None):
        """Runs `command` as the node of this host. It ends with this process, even while it is suspended."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.namespace.command("setpriv", "--pdeathsig", "KILL", *command),
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True)
        self.starts += 1

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait(15)
            self.process.stdin.close()
            self.process = None

    def terminate(self):
        """Stops the node in the regular way."""
        self.process.terminate()
        self.process.wait(15)
        self.process.stdin.close()
        self.process = None

    def suspend(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def delete_state(self):
        """Deletes the state; the key is in the configuration."""
        shutil.rmtree(self.state)

    def set_clock(self, offset_s):
        """Sets the node's wall clock, but not its monotonic clock."""
        temporary = self.clock.with_suffix(".new")
        temporary.write_text(f"{offset_s:+}\n")
        temporary.rename(self.clock)

    def key_file(self, network_id):
        return self.home / ".private_keys" / f"{self.name}_{network_id}.key"


def faketime_environment(file):
    """Returns the environment of a process whose wall clock `file` sets."""
    output = subprocess.run(["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"],
                          check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    library = pathlib.Path(output)
    return {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

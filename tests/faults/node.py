"""One host: a namespace with an address on the bridge, and the node that runs there."""

import os
import pathlib
import shutil
import signal
import subprocess

PORT = 8000

# systemd's words to a service of its own; the nodes are not that service.
NOT_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID",
            "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")


class Node:
    def __init__(self, name, address, namespace, program):
        self.name, self.address, self.namespace, self.program = name, address, namespace, program
        self.process = None
        self.has_own_clock = False
        self.starts = 0

    def move_to(self, place):
        """Where its configuration, state and log are from now on."""
        self.home = place / "etc" / self.name
        self.state = place / "state" / self.name
        self.log = place / f"{self.name}.log"
        self.clock = place / f"{self.name}.clock"
        self.starts = 0

    @property
    def url(self):
        return f"http://{self.address}:{PORT}"

    def start(self, clock_s=0):
        environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        if self.has_own_clock:
            self.set_clock(clock_s)
            environment |= own_clock(self.clock)
        self.spawn([self.program, "run", "--exit-with-stdin", "--config", self.home, "--state", self.state],
                   environment)

    def spawn(self, command, environment=None):
        """Runs `command` as this host's node. It ends with this process, even where it is stopped."""
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

    def leave(self):
        """Stops it on purpose."""
        self.process.terminate()
        self.process.wait(15)
        self.process.stdin.close()
        self.process = None

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def forget(self):
        """Loses its state; the key is in the configuration."""
        shutil.rmtree(self.state)

    def set_clock(self, offset_s):
        """Sets its wall clock, and leaves the monotonic one alone."""
        draft = self.clock.with_suffix(".new")
        draft.write_text(f"{offset_s:+}\n")
        draft.rename(self.clock)

    def key_file(self, network_id):
        return self.home / ".private_keys" / f"{self.name}_{network_id}.key"


def own_clock(file):
    """The environment of a process whose wall clock `file` sets."""
    told = subprocess.run(["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"],
                          check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    # Found by its path: faketime itself names the library for its own machine.
    library = pathlib.Path(told)
    return {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

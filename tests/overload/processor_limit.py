"""Limits of the processor time of running processes."""

import contextlib
import os
import pathlib
import signal
import threading
import time

PERIOD_S = 0.1


class DutyCycle:
    """A context in which processes are suspended except for `running_s` of every `period_s`."""

    def __init__(self, pids, running_s, period_s=PERIOD_S):
        self.pids, self.running_s, self.period_s = pids, running_s, period_s
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, name="duty cycle", daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def run(self):
        try:
            turn = time.monotonic()
            while not self.ended.is_set():
                self.send(signal.SIGSTOP)
                # The pause absorbs delays of this thread, so that processes run no less than they should.
                turn = max(turn + self.period_s, time.monotonic())
                self.ended.wait(max(0, turn - self.running_s - time.monotonic()))
                self.send(signal.SIGCONT)
                self.ended.wait(self.running_s)
        finally:
            self.send(signal.SIGCONT)

    def send(self, number):
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def description(self):
        return f"each suspended for {1 - self.running_s / self.period_s:.0%} of {1000 * self.period_s:.0f} ms"


class Cgroup:
    """A context in which processes together get at most the time of `processors`, which may be a fraction."""

    def __init__(self, pids, processors):
        """Raises OSError where control groups are missing or read-only."""
        self.pids = pids
        self.mount, self.is_v2 = find_mount()
        self.path = self.mount / f"distomon-overload-{os.getpid()}"
        self.former = {}
        period_us = round(PERIOD_S * 1e6)
        quota_us = round(processors * period_us)
        if self.is_v2:
            (self.mount / "cgroup.subtree_control").write_text("+cpu")
        self.path.mkdir()
        try:
            if self.is_v2:
                (self.path / "cpu.max").write_text(f"{quota_us} {period_us}")
            else:
                (self.path / "cpu.cfs_period_us").write_text(str(period_us))
                (self.path / "cpu.cfs_quota_us").write_text(str(quota_us))
        except OSError:
            self.path.rmdir()
            raise

    def __enter__(self):
        try:
            for pid in self.pids:
                self.former[pid] = self.mount / self.group_of(pid) / "cgroup.procs"
                (self.path / "cgroup.procs").write_text(str(pid))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for pid, former in self.former.items():
            with contextlib.suppress(ProcessLookupError):
                former.write_text(str(pid))
        self.statistics = self.read_statistics()
        self.path.rmdir()

    def group_of(self, pid):
        """Returns the path of the control group of a process, relative to the mount."""
        for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if (controllers == "") if self.is_v2 else "cpu" in controllers.split(","):
                return path.lstrip("/")
        raise OSError(f"process {pid} has no control group with the controller cpu")

    def read_statistics(self):
        lines = (self.path / "cpu.stat").read_text().splitlines()
        return {name: int(value) for name, value in map(str.split, lines)}

    def description(self):
        periods, throttled = self.statistics["nr_periods"], self.statistics["nr_throttled"]
        return f"control group, used up in {throttled} of {periods} periods of {1000 * PERIOD_S:.0f} ms"


def find_mount():
    """Returns where control groups with the controller `cpu` are mounted, and whether they are of version 2."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, path, kind, options, *_ = line.split()
        mount = pathlib.Path(path)
        if kind == "cgroup" and "cpu" in options.split(","):
            return mount, False
        if kind == "cgroup2" and "cpu" in (mount / "cgroup.controllers").read_text().split():
            return mount, True
    raise OSError("no control groups with the controller cpu")


def processor_limit(pids, share):
    """Returns a context that limits processes to this share of all processors together."""
    try:
        return Cgroup(pids, share * len(os.sched_getaffinity(0)))
    except OSError:
        return DutyCycle(pids, share * PERIOD_S)

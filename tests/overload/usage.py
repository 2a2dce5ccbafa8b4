"""Processor time, memory and threads of processes."""

import os
import pathlib
import re
import statistics
from dataclasses import dataclass

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """The resident memory of processes in MB, their median and the largest, and the largest number of threads."""
    median_mb: float
    largest_mb: float
    threads: int


def usage(pids):
    found = [status(pid) for pid in pids]
    resident = [memory_mb for memory_mb, _ in found]
    return Usage(statistics.median(resident), max(resident), max(threads for _, threads in found))


def status(pid):
    """Returns the resident memory of a process in MB and the number of its threads."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    memory, threads = (int(re.search(rf"(?m)^{name}:\s+(\d+)", text)[1]) for name in ("VmRSS", "Threads"))
    return memory / 1000, threads


def processor_s(pid):
    """Returns the processor time of a process in s, with that of ended threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

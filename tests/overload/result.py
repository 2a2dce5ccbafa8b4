"""The figures of a scenario."""

import json
from dataclasses import dataclass, field

from table import aligned

HEAD = ("scenario", "time s (limit)", "processor s", "resident median/largest MB", "peak MB", "threads", "wrong", "")


@dataclass
class Result:
    name: str
    # The measured times in s and their limits, by what they measure.
    times: dict = field(default_factory=dict)
    limits: dict = field(default_factory=dict)
    processor_s: float = None
    # Memory and threads after the scenario, and the largest of both during it.
    usage: object = None
    peak: object = None
    # Lines with wrong verdicts.
    wrong: list = field(default_factory=list)
    passed: bool = False
    note: str = ""

    def row(self):
        times = ", ".join(f"{what} {'-' if seconds is None else f'{seconds:.1f}'} ({self.limits[what]:.1f})"
                          for what, seconds in self.times.items())
        resident = f"{self.usage.median_mb:.1f} / {self.usage.largest_mb:.1f}" if self.usage else "-"
        peak, threads = (f"{self.peak.largest_mb:.1f}", str(self.peak.threads)) if self.peak else ("-", "-")
        processor = "-" if self.processor_s is None else f"{self.processor_s:.1f}"
        return (self.name, times or "-", processor, resident, peak, threads, str(len(self.wrong)),
                "passed" if self.passed else "FAILED")

    def to_json(self):
        def members(found):
            return found and {name: round(value, 3) for name, value in vars(found).items()}

        return {"scenario": self.name, "passed": self.passed, "times_s": self.times, "limits_s": self.limits,
                "processor_s": self.processor_s, "usage": members(self.usage), "peak": members(self.peak),
                "wrong": self.wrong, "note": self.note}


def text(results, machine):
    return f"{aligned([HEAD, *(result.row() for result in results)])}\n{machine}"


def to_json(results, machine):
    return json.dumps({"machine": machine, "scenarios": [result.to_json() for result in results]}, indent=1)

"""Overload of networks of real nodes. tests/overload/run calls this with the program and its arguments."""

import argparse
import os
import pathlib
import random
import signal
import sys
import time

import calibration
import result
import small
from large import LargeNetwork, node_count
from namespace import NotPermitted
from result import Result
from rings import rings

SKIPPED = 77
# Those of the large network, which all begin with the first of them.
LARGE = ("cold", "resume", "limited", "killed")
SCENARIOS = (*LARGE, "rings", "slices", "killed5")


class Run:
    def __init__(self, options):
        self.options = options
        self.program = os.path.abspath(options.program)
        self.directory = pathlib.Path(options.target).absolute() / "overload"
        self.random = random.Random(options.seed)
        self.results = []

    def run(self):
        begin = time.monotonic()
        load = os.getloadavg()[0]
        self.factor, measured = calibration.factor()
        machine = (f"{len(os.sched_getaffinity(0))} processors, load {load:.1f}, {measured:.0f} pieces of work a second of "
                   f"{calibration.REFERENCE}: limits of time times {self.factor:.2f}; --seed {self.options.seed}")
        print(machine, flush=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        chosen = self.options.scenarios
        try:
            if set(chosen) & set(LARGE):
                LargeNetwork(self, chosen, self.options.nodes or node_count(self.factor)).scenarios()
            if "rings" in chosen:
                rings(self)
            # Both networks are nearly idle and do not disturb each other.
            killed = (lambda: small.killed(self)) if "killed5" in chosen else (lambda: None)
            small.slices(self, killed) if "slices" in chosen else killed()
        finally:
            self.write(f"{machine}; load afterwards {os.getloadavg()[0]:.1f}; {time.monotonic() - begin:.0f} s")
        failed = [found.name for found in self.results if not found.passed]
        print(f"FAILED: {', '.join(failed)}" if failed else f"all {len(self.results)} scenarios passed")
        return 1 if failed or not self.results else 0

    def not_run(self, name, reason):
        print(f"{name}: not run: {reason}", flush=True)
        self.results.append(Result(name, note=f"not run: {reason}"))

    def write(self, machine):
        text = result.text(self.results, machine)
        print(f"\n{text}\n", flush=True)
        (self.directory / "table.txt").write_text(text + "\n")
        (self.directory / "table.json").write_text(result.to_json(self.results, machine) + "\n")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/overload/run", add_help=False)
    parser.add_argument("program")
    parser.add_argument("target")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--nodes", type=int)
    parser.add_argument("scenarios", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    options.seed = random.randrange(1_000_000) if options.seed is None else options.seed
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        print(f"tests/overload/run: unknown scenario {unknown[0]}: expected some of: {' '.join(SCENARIOS)}",
              file=sys.stderr)
        sys.exit(64)
    options.scenarios = options.scenarios or SCENARIOS
    return options


def service_environment():
    """Returns the environment that the systemd unit gives the service: the settings of the allocator."""
    unit = pathlib.Path(__file__).resolve().parents[2] / "systemd" / "distomon@.service"
    lines = [line.removeprefix("Environment=") for line in unit.read_text().splitlines()
             if line.startswith("Environment=")]
    return dict(line.split("=", 1) for line in lines)


def main(arguments):
    # SIGTERM raises an exception, which ends the nodes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/overload: stopped"))
    os.environ.update(service_environment())
    try:
        return Run(parse(arguments)).run()
    except NotPermitted as error:
        print(error)
        return SKIPPED
    except KeyboardInterrupt:
        sys.exit("tests/overload: stopped")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

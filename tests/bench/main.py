"""Measures figures of real processes. tests/bench/run calls this with the program and the names of figures."""

import os
import signal
import sys

import dashboards
import faults
import figures

FIGURES = {
    "start": figures.start,
    "memory": figures.memory,
    "memory64": figures.memory64,
    "exchanges": figures.exchanges,
    "views": figures.views,
    "dashboards": dashboards.dashboards,
    "killed": faults.killed,
    "hung": faults.hung,
}


def main(program, chosen):
    # SIGTERM of `timeout` raises an exception, which stops the nodes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/bench: stopped"))
    failed = False
    for name in chosen:
        load = os.getloadavg()[0]
        if load > 0.5:
            print(f"note: this machine is busy (load {load:.1f})")
        try:
            FIGURES[name](program)
        except (OSError, RuntimeError, TimeoutError) as error:
            failed = True
            print(f"{name}: NOT MEASURED: {error}")
        sys.stdout.flush()
    print("some figures could not be measured" if failed else "all figures were measured")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

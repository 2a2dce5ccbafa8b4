"""The figures of real processes. tests/bench/run calls this with the program and the figures to measure."""

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
    # What `timeout` sends becomes an exception, so that the nodes are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/bench: stopped"))
    failed = False
    for name in chosen:
        busy = os.getloadavg()[0]
        if busy > 0.5:
            print(f"note: this machine is busy with something else (load {busy:.1f})")
        try:
            FIGURES[name](program)
        except (OSError, RuntimeError, TimeoutError) as error:
            failed = True
            print(f"{name}: NOT MEASURED: {error}")
        sys.stdout.flush()
    print("some figures could not be measured" if failed else "all figures are measured")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

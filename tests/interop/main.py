"""Runs each part of the checks on a new network and prints a summary. tests/interop/run calls this."""

import signal
import sys
import traceback

import exchanges
import reports
import tokens
from check import Checks
from network import Network

PARTS = {"exchanges": exchanges.check, "reports": reports.check, "tokens": tokens.check}


def main(program, chosen):
    # SIGTERM of `timeout` raises an exception, which stops the nodes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/interop: stopped"))
    checks = Checks()
    for name in chosen or PARTS:
        print(f"{name}:")
        with Network(program) as network:
            try:
                PARTS[name](checks, network)
            except Exception as error:
                traceback.print_exc(file=sys.stdout)
                checks.failed(f"{name} runs to its end", f"{type(error).__name__}: {error}")
            if checks.failures:
                network.print_logs()
    print(checks.summary())
    return 1 if checks.failures or not checks.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

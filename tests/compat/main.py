"""Runs each part of the checks and prints a summary. tests/compat/run calls this."""

import contextlib
import pathlib
import signal
import sys
import time
import traceback
from types import SimpleNamespace

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "interop"))

import incompatible
import previous
from check import Checks

PARTS = {"previous": previous.check, "incompatible": incompatible.check}


class ScenarioChecks(Checks):
    @contextlib.contextmanager
    def logs_if_failed(self, network):
        """Prints the logs of the network if the checks within fail; they end at an exception."""
        before = len(self.failures)
        try:
            yield
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            self.failed("the checks run to their end", f"{type(error).__name__}: {error}")
        if len(self.failures) > before:
            network.print_logs()


def main(current, previous_release, incompatible_release, chosen):
    # SIGTERM of `timeout` raises an exception, which stops the nodes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tests/compat: stopped"))
    checks = ScenarioChecks()
    programs = SimpleNamespace(current=current, previous=previous_release, incompatible=incompatible_release)
    for name in chosen or PARTS:
        begin = time.monotonic()
        PARTS[name](checks, programs)
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
    print(checks.summary())
    return 1 if checks.failures or not checks.passed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], sys.argv[4:]))

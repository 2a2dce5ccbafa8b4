"""Prints and counts checks."""

import time


class Checks:
    def __init__(self):
        self.passed = 0
        self.failures = []

    def that(self, what, holds, otherwise=""):
        """Prints a line for the check `what`; `otherwise` describes the result if it fails."""
        if holds:
            self.passed += 1
            print(f"  ok      {what}", flush=True)
        else:
            self.failed(what, otherwise)
        return bool(holds)

    def equal(self, what, found, expected):
        return self.that(what, found == expected, f"found {found!r}, expected {expected!r}")

    def verified(self, what, action):
        """Returns the result of `action`, which must not raise, or None."""
        try:
            result = action()
        except Exception as error:
            self.failed(what, f"{type(error).__name__} {error}")
            return None
        self.that(what, True)
        return result

    def rejected(self, what, error, action):
        """`action` must raise `error`: another exception is a rejection for a wrong reason."""
        try:
            result = action()
        except error:
            return self.that(what, True)
        except Exception as other:
            return self.failed(what, f"{type(other).__name__} instead of {error.__name__}: {other}")
        return self.failed(what, f"it was accepted: {result!r}")

    def failed(self, what, otherwise):
        self.failures.append(what)
        found = str(otherwise)
        print(f"  FAILED  {what}: {found[:500]}{'…' if len(found) > 500 else ''}", flush=True)
        return False

    def summary(self):
        total = self.passed + len(self.failures)
        if self.failures:
            return f"{len(self.failures)} of {total} checks failed"
        return f"{total} checks passed"


def wait_for(what, poll, seconds=30, pause=0.05):
    """Returns the first result of `poll` that is not None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = poll()
        if result is not None:
            return result
        time.sleep(pause)
    raise TimeoutError(f"{what} did not happen within {seconds} s")

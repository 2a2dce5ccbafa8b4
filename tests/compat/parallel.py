"""Runs scenarios at the same time, each in a separate process."""

import contextlib
import multiprocessing
import pathlib
import tempfile


def run(checks, scenarios):
    """Calls each of `scenarios` with `checks` as its argument. Prints what each of them prints, one after another, and
    adds their results to `checks`."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="distomon-compat-") as directory:
        children = []
        for number, scenario in enumerate(scenarios):
            output, results = pathlib.Path(directory) / str(number), context.SimpleQueue()
            child = context.Process(target=run_child, args=(checks, scenario, output, results))
            child.start()
            children.append((child, output, results))
        try:
            for child, output, results in children:
                child.join()
                print(output.read_text(), end="", flush=True)
                if child.exitcode == 0:
                    passed, failures = results.get()
                    checks.passed += passed
                    checks.failures += failures
                else:
                    checks.failed("the scenario runs to its end", f"exit status {child.exitcode}")
        finally:
            for child, _, _ in children:
                child.terminate()
            for child, _, _ in children:
                child.join()


def run_child(checks, scenario, output, results):
    before = checks.passed, len(checks.failures)
    with output.open("w") as stream, contextlib.redirect_stdout(stream):
        scenario(checks)
    results.put((checks.passed - before[0], checks.failures[before[1]:]))

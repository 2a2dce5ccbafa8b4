"""Results as a table and as JSON."""

import collections
import json

HEAD = ("fault", "expected", "verdicts seen", "viewers", "detect median/worst s", "heal s", "wrong")


def row(result):
    detect = "-"
    if result.detect:
        median, worst = result.detect
        detect = f"{median:.1f} / {worst:.1f}"
        if result.bound_s:
            detect += f" ({'OVER' if worst > result.bound_s else 'of'} {result.bound_s})"
    return (result.name, result.expects, seen(result), f"{result.agreeing}/{result.viewers}", detect,
            "-" if result.heal_s is None else f"{result.heal_s:.1f}", str(len(result.wrong)))


def seen(result):
    """Returns the number of occurrences of each verdict, over all viewers and nodes."""
    counts = collections.Counter(status for _, _, status in result.seen)
    order = ["down", "unknown", "degraded", "conflict", "stopped", "never seen", "up"]
    return ", ".join(f"{counts[status]} {status}" for status in order if counts[status])


def text(results):
    return aligned([HEAD, *map(row, results)])


def aligned(rows):
    """Returns rows with the same number of cells as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in rows)


def to_json(seed, results):
    return json.dumps({"seed": seed, "faults": [{
        "fault": result.name, "expected": result.expects, "passed": result.passed,
        "verdicts": [{"viewer": viewer, "node": target, "status": status} for viewer, target, status in result.seen],
        "viewers": result.viewers, "agreeing": result.agreeing, "detect_s": rounded(result.detect_s),
        "bound_s": result.bound_s, "heal_s": result.heal_s and round(result.heal_s, 3),
        "wrong": result.wrong, "failures": result.failures} for result in results]}, indent=1)


def rounded(times):
    return {name: round(seconds, 3) for name, seconds in times.items()}

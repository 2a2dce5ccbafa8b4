"""The logs of all nodes of a network, read as changes of verdicts and observations. Reading files costs the nodes nothing,
and a log has every change, while requests for views would add to the load and miss what happens between two of them."""

import collections
import datetime
import re
from dataclasses import dataclass

VERDICTS = ("up", "degraded", "down", "stopped", "unknown", "never seen", "conflict")
OBSERVATIONS = ("online", "offline", "unknown")

LINE = re.compile(r"(\S+Z) (?:error|warning|info|debug|trace): (.*)")
STATUS_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*) is (.*)")
WORD = "|".join({*VERDICTS, *OBSERVATIONS})
STATUS = re.compile(rf"({WORD})(?: \(was ({WORD})\))?(?:(?:[,:;]| [a-z]+=).*)?")
STARTED = re.compile(r"started as ")
# A node that did not run for some time resets observations without a line.
GAP = re.compile(r"this process did not run for ")


@dataclass(frozen=True)
class Change:
    """A change of a verdict or observation of `viewer` on `node`, at a Unix time in s."""
    at: float
    viewer: str
    node: str
    is_verdict: bool
    status: str
    line: str


class Journal:
    def __init__(self, network_id, logs):
        """`logs` are the paths of the log files by node."""
        self.prefix = f"{network_id}: "
        self.logs = logs
        self.offsets = dict.fromkeys(logs, 0)
        self.changes = []
        # Lines that cannot be read, contradict earlier ones or report a panic.
        self.failures = []
        # By node and by other node: the newest change.
        self.verdicts = {node: {} for node in logs}
        self.observations = {node: {} for node in logs}
        # Changes before the last gap of their node, which a silent reset may have followed.
        self.unsure = collections.defaultdict(set)

    def update(self):
        """Reads what the nodes have written since the last call."""
        for node, path in self.logs.items():
            if path.stat().st_size == self.offsets[node]:
                continue
            with path.open("rb") as log:
                log.seek(self.offsets[node])
                # Without the last line while it is incomplete.
                text = log.read().rpartition(b"\n")
            self.offsets[node] += len(text[0]) + len(text[1])
            for line in text[0].decode(errors="replace").splitlines():
                self.read(node, line)

    def read(self, viewer, line):
        parsed = LINE.fullmatch(line)
        if not parsed:
            self.failures.append(f"{viewer} wrote what is no log line: {line}")
            return
        time, message = parsed.groups()
        if "panicked" in message:
            self.failures.append(f"{viewer}: {line}")
        if not message.startswith(self.prefix):
            return
        message = message[len(self.prefix):]
        if STARTED.match(message):
            self.verdicts[viewer], self.observations[viewer] = {}, {}
        elif GAP.match(message):
            for found in (self.verdicts, self.observations):
                self.unsure[viewer].update(found[viewer].values())
        elif (about := STATUS_LINE.match(message)) and about[1] in self.logs:
            self.read_status(viewer, time, about[1], about[2], line)

    def read_status(self, viewer, time, node, text, line):
        parsed = STATUS.fullmatch(text)
        try:
            at = datetime.datetime.fromisoformat(time).timestamp()
        except ValueError:
            parsed = None
        if not parsed:
            self.failures.append(f"{viewer} wrote a status line of an unknown form: {line}")
            return
        status, was = parsed.groups()
        is_verdict = not {status, was} & {"online", "offline"}
        if not {status, was} - {None} <= set(VERDICTS if is_verdict else OBSERVATIONS):
            self.failures.append(f"{viewer} wrote a status line of an unknown form: {line}")
            return
        found = (self.verdicts if is_verdict else self.observations)[viewer]
        before = found.get(node)
        if before and before not in self.unsure[viewer] and before.status != (was or status):
            self.failures.append(f"{viewer} wrote no line between these two: {before.line} | {line}")
        found[node] = Change(at, viewer, node, is_verdict, status, line)
        self.changes.append(found[node])

    def verdict_changes(self, status, since):
        """Returns the changes of verdicts to `status` from the time `since` on."""
        return [change for change in self.changes
                if change.is_verdict and change.status == status and change.at >= since]

    def first_down(self, viewers, node, since):
        """Returns the time of the first `down` of each of `viewers` on `node` from `since` on, by viewer."""
        found = {}
        for change in self.verdict_changes("down", since):
            if change.node == node and change.viewer in viewers:
                found.setdefault(change.viewer, change.at)
        return found

    def last_change_at(self):
        """Returns the time of the newest change of any node."""
        newest = [change.at for found in (self.verdicts, self.observations)
                  for changes in found.values() for change in changes.values()]
        return max(newest, default=0)

"""The verdicts of all nodes over time."""

import http.client
import threading
import time

from check import wait_for
from network import POLL_RATE_S


# The cause of a verdict without one for which no vote counts: on a slow machine, reports may become too old for a moment.
NO_VOTES = "no vote counts"


class Timeline:
    """Samples the verdicts of each running node and its own observations, while it is entered."""

    def __init__(self, network, interval_s=POLL_RATE_S):
        self.network, self.interval_s = network, interval_s
        self.samples = []
        # The status, the error and the begin of each observation, by observer and target, with the times of the samples.
        self.observations = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(30)

    def run(self):
        while not self.stop.wait(self.interval_s):
            self.samples.append((time.monotonic(), self.sample()))

    def sample(self):
        """Returns the status and the cause of each verdict, by viewer and subject. A node may be restarting."""
        verdicts, observations = {}, {}
        for viewer in self.network.running():
            try:
                view = self.network.view(viewer)
            except (OSError, http.client.HTTPException):
                continue
            for subject, verdict in view["verdicts"].items():
                verdicts[viewer, subject] = verdict["status"], verdict["cause"] or missing_votes(verdict)
            for target, found in view["data"].get(viewer, {"ping_data": {}})["ping_data"].items():
                observations[viewer, target] = found["status"], found["error"], found["since"]
        self.observations.append((time.monotonic(), observations))
        return verdicts

    def settle(self, checks, what, holds, seconds=60):
        """Waits until `holds` of a sample with the verdicts of all running nodes, whose time it returns."""
        begin = time.monotonic()

        def poll():
            at, verdicts = self.samples[-1] if self.samples else (0, {})
            is_whole = {viewer for viewer, _ in verdicts} == set(self.network.running())
            return at if at > begin and is_whole and holds(verdicts) else None

        try:
            at = wait_for(what, poll, seconds)
        except TimeoutError as error:
            checks.failed(what, f"{error}: {self.samples[-1][1]}")
            raise
        checks.that(f"{what} (after {at - begin:.1f} s)", True)
        return at

    def pause(self, seconds):
        """Samples for that long, and returns the time at which it began."""
        begin = time.monotonic()
        time.sleep(seconds)
        return begin

    def exceptions(self, begin, is_right):
        """Returns the different verdicts since `begin` that are not right."""
        samples = [verdicts for at, verdicts in self.samples if at >= begin]
        if not samples:
            raise RuntimeError("there is no sample")
        return sorted({
            (viewer, subject, status, cause)
            for verdicts in samples for (viewer, subject), (status, cause) in verdicts.items()
            if not is_right(viewer, subject, status, cause)}, key=str)

    def offline(self, begin, observers, targets):
        """Returns the pairs of one of `observers` and one of `targets` that it has observed offline since `begin`."""
        found = [observations for at, observations in self.observations if at >= begin]
        return sorted({pair for observations in found for pair, (status, *_) in observations.items()
                       if status == "offline" and pair[0] in observers and pair[1] in targets})

    def changes(self, begin, observers):
        """Returns the different observations of each target by one of `observers` since `begin` that has changed."""
        found = {}
        for observations in (observations for at, observations in self.observations if at >= begin):
            for (observer, target), observation in observations.items():
                values = found.setdefault((observer, target), [])
                if observer in observers and values[-1:] != [observation]:
                    values.append(observation)
        return {pair: values for pair, values in found.items() if len(values) > 1}


def missing_votes(verdict):
    """Returns NO_VOTES for a verdict without a vote that counts."""
    votes = verdict["votes"]
    return None if votes["online"] or votes["offline"] or votes["unknown"] else NO_VOTES

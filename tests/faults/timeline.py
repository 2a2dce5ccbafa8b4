"""Changes of the views during a fault, as text."""


def timeline(began, lifted, states):
    """Returns the changes of each node's view, from `states` by viewer, with times relative to `began`."""
    lines = [(began, "the fault begins"), (lifted, "the fault is lifted")]
    for viewer, history in states.items():
        before = None
        for state in history:
            lines += [(state.at, f"{viewer.node.name}: {text}") for text in differences(before, state)]
            before = state
    return [f"{at - began:+8.2f} s  {text}" for at, text in sorted(lines)]


def differences(before, state):
    if state.verdicts is None:
        return ["no view"]
    if before is None or before.verdicts is None:
        return [description(state)]
    texts = []
    for name, verdict in state.verdicts.items():
        old = before.verdicts[name]
        if old == verdict:
            continue
        text = f"{name} {verdict.status} (was {old.status})" if old.status != verdict.status else \
            f"{name} {verdict.status}"
        if verdict.causes:
            text += f", by {words(verdict.causes)}"
        if verdict.outage != old.outage:
            text += ", after an outage, " + ("cut off" if verdict.outage and verdict.outage[1] else "not cut off")
        texts.append(text)
    if state.links != before.links:
        texts.append(f"broken links {links(state.links)}")
    if state.partitions != before.partitions:
        texts.append(f"partitions {state.partitions or 'none'}")
    return texts


def description(state):
    text = ", ".join(f"{name} {verdict.status}" for name, verdict in state.verdicts.items())
    return text + f"; broken links {links(state.links)}; partitions {state.partitions or 'none'}"


def links(found):
    return ", ".join(f"{one} {'-' if is_both else '>'} {other}" for one, other, is_both in sorted(found)) or "none"


def words(causes):
    return " or ".join(sorted(causes)) or "nothing"

"""What was seen of a fault, as lines for people."""


def timeline(began, lifted, looks):
    """The changes that each node's view has shown, `looks` by viewer, with times from `began` on."""
    lines = [(began, "the fault begins"), (lifted, "the fault is lifted")]
    for viewer, seen in looks.items():
        before = None
        for look in seen:
            lines += [(look.at, f"{viewer.node.name}: {text}") for text in differences(before, look)]
            before = look
    return [f"{at - began:+8.2f} s  {text}" for at, text in sorted(lines)]


def differences(before, look):
    if look.standings is None:
        return ["cannot be asked"]
    if before is None or before.standings is None:
        return [describe(look)]
    texts = []
    for name, standing in look.standings.items():
        old = before.standings[name]
        if old == standing:
            continue
        text = f"{name} {standing.status} (was {old.status})" if old.status != standing.status else \
            f"{name} {standing.status}"
        if standing.causes:
            text += f", by {words(standing.causes)}"
        if standing.outage != old.outage:
            text += ", after an outage, " + ("cut off" if standing.outage and standing.outage[1] else "not cut off")
        texts.append(text)
    if look.links != before.links:
        texts.append(f"broken links {links(look.links)}")
    if look.sides != before.sides:
        texts.append(f"sides {look.sides or 'none'}")
    return texts


def describe(look):
    text = ", ".join(f"{name} {standing.status}" for name, standing in look.standings.items())
    return text + f"; broken links {links(look.links)}; sides {look.sides or 'none'}"


def links(found):
    return ", ".join(f"{one} {'-' if is_both else '>'} {other}" for one, other, is_both in sorted(found)) or "none"


def words(causes):
    return " or ".join(sorted(causes)) or "nothing"

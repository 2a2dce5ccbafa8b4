"""What is so, and what each node must therefore conclude, by the rules that the verdict promises. This is
written from the rules alone: nothing of it looks at how Distomon comes to its verdicts."""

ALIVE = frozenset({"up", "degraded"})


class Truth:
    """`dead` nodes do not run, `hung` ones do not either, but their hosts answer. `broken` are the pairs
    (from, to) of which the first cannot call the second, or says so. All by name."""

    def __init__(self, names, dead=(), hung=(), broken=(), conflict=(), stopped=(), unsure=()):
        self.names = tuple(sorted(names))
        self.dead, self.hung, self.broken = frozenset(dead), frozenset(hung), frozenset(broken)
        self.conflict, self.stopped = frozenset(conflict), frozenset(stopped)
        # Nodes whose calls may or may not succeed.
        self.unsure = frozenset(unsure)
        self.silent = self.dead | self.hung | self.stopped
        # Nodes without a view.
        self.mute = self.silent

    @property
    def is_all_well(self):
        return not (self.silent | self.broken | self.conflict | self.unsure)

    def lives(self, name):
        return name not in self.silent

    def reaches(self, one, other):
        """Whether reports get from one to the other at once: an exchange carries them both ways."""
        return not {(one, other), (other, one)} <= self.broken

    def component(self, viewer):
        """Those alive whom some path joins to `viewer`, itself included."""
        found, border = {viewer}, [viewer]
        while border:
            one = border.pop()
            for other in self.names:
                if other not in found and self.lives(other) and self.reaches(one, other):
                    found.add(other)
                    border.append(other)
        return found

    def is_majority(self, viewer):
        return 2 * len(self.component(viewer)) > len(self.names)

    def finds_offline(self, observer):
        return {name for name in self.names if name != observer and
                (name in self.dead | self.hung or (observer, name) in self.broken)}

    def is_isolated(self, name):
        observed = len(self.names) - 1 - len(self.stopped - {name})
        return 2 * len(self.finds_offline(name)) > observed

    def voters(self, viewer):
        return {name for name in self.component(viewer) if not self.is_isolated(name) and name not in self.conflict}

    def expected(self, viewer, target):
        """The verdicts that may stand once all is told."""
        if target in self.conflict:
            return frozenset({"conflict"})
        if target in self.stopped:
            return frozenset({"stopped"})
        if target not in self.component(viewer):
            return frozenset({"down" if self.is_majority(viewer) else "unknown"})
        against = {voter for voter in self.voters(viewer) - {target} if (voter, target) in self.broken}
        if self.unsure:
            return ALIVE
        return frozenset({"degraded" if len(against) >= 2 or self.is_isolated(target) else "up"})

    def may_be_down(self, viewer, target):
        """Whether `down` is not wrong: no path brings a sign of life, and this is the larger side."""
        return target not in self.component(viewer) and target not in self.stopped and self.is_majority(viewer)

    def is_shut(self, name):
        """Alive, and nobody reaches it."""
        return all((other, name) in self.broken for other in self.component(name) - {name})

    def is_walled_in(self, name):
        """Alive, and reaches nobody."""
        return all((name, other) in self.broken for other in self.component(name) - {name})

    def causes(self, viewer, target):
        """What must be among the causes of a verdict."""
        alive = target in self.component(viewer)
        if target in self.conflict | self.stopped or self.unsure:
            return set()
        if alive and target != viewer and len(self.component(viewer)) > 2:
            return {"ingress"} if self.is_shut(target) else {"egress"} if self.is_walled_in(target) else set()
        if alive or not self.is_majority(viewer):
            return set() if alive else {"partition"}
        # A host that refuses is there: only then is it the node for sure.
        return {"node"} if target in self.dead else {"node", "partition"}

    def links(self, viewer):
        """The links that must be named, as (from, to, both); none that an end of theirs explains."""
        joined = self.component(viewer)

        def counts(one, other):
            return ({one, other} <= joined and not self.is_shut(other) and not self.is_walled_in(one)
                    and (one, other) in self.broken)

        pairs = {(one, other) for one, other in self.broken if counts(one, other)}
        return frozenset((one, other, (other, one) in pairs) for one, other in pairs
                         if (other, one) not in pairs or one < other)

    def sides(self, viewer):
        """The sides that must be named, `viewer`'s first."""
        here = self.component(viewer)
        beyond = [name for name in self.names if name not in here | self.dead | self.stopped | self.conflict]
        if not beyond or (len(beyond) == 1 and not self.is_isolated(viewer)):
            return ()
        return (tuple(sorted(here)), tuple(beyond))

"""The true state of a network, and the verdicts that each node must reach by the documented rules. Independent of the
implementation of verdicts in Distomon."""

ALIVE = frozenset({"up", "degraded"})


class Truth:
    """A true state, with nodes by name. `dead` nodes do not run; `hung` ones are suspended, so that their hosts accept
    connections. `broken` has pairs (from, to) of which the first cannot call the second, or reports so."""

    def __init__(self, names, dead=(), hung=(), broken=(), conflict=(), stopped=(), unreliable=()):
        self.names = tuple(sorted(names))
        self.dead, self.hung, self.broken = frozenset(dead), frozenset(hung), frozenset(broken)
        self.conflict, self.stopped = frozenset(conflict), frozenset(stopped)
        # Nodes whose calls may or may not succeed.
        self.unreliable = frozenset(unreliable)
        self.silent = self.dead | self.hung | self.stopped
        # Nodes without a view.
        self.without_view = self.silent

    @property
    def has_no_fault(self):
        return not (self.silent | self.broken | self.conflict | self.unreliable)

    def is_alive(self, name):
        return name not in self.silent

    def reaches(self, one, other):
        """Whether reports get from one to the other directly. An exchange transfers reports in both directions."""
        return not {(one, other), (other, one)} <= self.broken

    def component(self, viewer):
        """Returns the living nodes that have a path to `viewer`, and itself."""
        found, pending = {viewer}, [viewer]
        while pending:
            one = pending.pop()
            for other in self.names:
                if other not in found and self.is_alive(other) and self.reaches(one, other):
                    found.add(other)
                    pending.append(other)
        return found

    def is_majority(self, viewer):
        return 2 * len(self.component(viewer)) > len(self.names)

    def reports_offline(self, observer):
        return {name for name in self.names if name != observer and
                (name in self.dead | self.hung or (observer, name) in self.broken)}

    def is_isolated(self, name):
        observed = len(self.names) - 1 - len(self.stopped - {name})
        return 2 * len(self.reports_offline(name)) > observed

    def voters(self, viewer):
        return {name for name in self.component(viewer) if not self.is_isolated(name) and name not in self.conflict}

    def expected(self, viewer, target):
        """Returns the possible verdicts after all reports have spread."""
        if target in self.conflict:
            return frozenset({"conflict"})
        if target in self.stopped:
            return frozenset({"stopped"})
        if target not in self.component(viewer):
            return frozenset({"down" if self.is_majority(viewer) else "unknown"})
        against = {voter for voter in self.voters(viewer) - {target} if (voter, target) in self.broken}
        if self.unreliable:
            return ALIVE
        return frozenset({"degraded" if len(against) >= 2 or self.is_isolated(target) else "up"})

    def may_be_down(self, viewer, target):
        """Whether `down` is correct: the target has no path to the viewer, whose partition is the larger one."""
        return target not in self.component(viewer) and target not in self.stopped and self.is_majority(viewer)

    def is_unreachable(self, name):
        """Whether no node reaches this living node."""
        return all((other, name) in self.broken for other in self.component(name) - {name})

    def reaches_no_node(self, name):
        """Whether this living node reaches no other."""
        return all((name, other) in self.broken for other in self.component(name) - {name})

    def causes(self, viewer, target):
        """Returns the necessary causes of a verdict."""
        alive = target in self.component(viewer)
        if target in self.conflict | self.stopped or self.unreliable:
            return set()
        if alive and target != viewer and len(self.component(viewer)) > 2:
            return {"ingress"} if self.is_unreachable(target) else {"egress"} if self.reaches_no_node(target) else set()
        if alive or not self.is_majority(viewer):
            return set() if alive else {"partition"}
        # Only a refusal of the host excludes a partition.
        return {"node"} if target in self.dead else {"node", "partition"}

    def links(self, viewer):
        """Returns the expected broken links as (from, to, both), without those that a fault of one end explains."""
        joined = self.component(viewer)

        def counts(one, other):
            return ({one, other} <= joined and not self.is_unreachable(other) and not self.reaches_no_node(one)
                    and (one, other) in self.broken)

        pairs = {(one, other) for one, other in self.broken if counts(one, other)}
        return frozenset((one, other, (other, one) in pairs) for one, other in pairs
                         if (other, one) not in pairs or one < other)

    def partitions(self, viewer):
        """Returns the expected partitions, beginning with that of `viewer`."""
        here = self.component(viewer)
        beyond = [name for name in self.names if name not in here | self.dead | self.stopped | self.conflict]
        if not beyond or (len(beyond) == 1 and not self.is_isolated(viewer)):
            return ()
        return (tuple(sorted(here)), tuple(beyond))

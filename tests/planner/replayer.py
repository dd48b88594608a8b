"""Plays a plan move by move and says what is wrong with it. Not a line of it is the planner's.

Every rule is said as plainly as can be, over the plain records of ``scenes``. During a move the guest counts at both
ends. The loss of a host is tried by going through all placements of its guests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.planner.scenes import Guest, Host, Scene

Places = Mapping[str, str]  # guest -> host
Moves = Sequence[tuple[str, str, str]]  # guest, source, target


class Replayer:
    """One scene, and where its guests are by now."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.hosts = {host.name: host for host in scene.hosts}
        self.guests = {guest.name: guest for guest in scene.guests}
        self.places = {guest.name: guest.host for guest in scene.guests}

    def complaints(self, moves: Moves) -> Iterator[str]:
        """What is wrong with each move, and with the cluster after it. The moves are made."""
        for number, (name, source, target) in enumerate(moves):
            before = self.places
            for complaint in self.refusals(name, source, target):
                yield f"move {number} of {name} to {target}: {complaint}"
            self.places = {**before, name: target}
            for complaint in self.worse(before, self.places):
                yield f"after move {number} of {name} to {target}: {complaint}"

    # One move.

    def refusals(self, name: str, source: str, target: str) -> Iterator[str]:
        guest, host = self.guests[name], self.hosts[target]
        if self.places[name] != source or source == target:
            yield f"it is on {self.places[name]}, not on {source}"
        if not guest.movable:
            yield "it is not to be moved"
        if host.cordoned:
            yield "cordoned"
        yield from self.node_rules(guest, host)
        used = self.used(target, self.places)
        for resource, size in (("cpu", guest.cpu), ("memory", guest.memory)):
            whole = getattr(host, resource)
            if used[resource] + size > whole:
                yield f"no room: {resource}"
            ceiling = self.scene.ceilings.get(resource, 100)
            if (used[resource] + size) * 100 > ceiling * whole:
                yield f"fills {resource} above {ceiling} %"
        yield from self.pod_rules(guest, host, self.places, coming=True)

    def node_rules(self, guest: Guest, host: Host) -> Iterator[str]:
        if guest.zone and guest.zone != host.zone:
            yield "wrong zone"
        if host.tainted and not guest.tolerates:
            yield "tainted"

    def pod_rules(self, guest: Guest, host: Host, places: Places, *, coming: bool) -> Iterator[str]:
        """``coming``: beside its own copy, which counts as another Pod; else judged where it is."""
        others = [g for g in self.scene.guests if g.name in places and (coming or g is not guest)]
        near = [g for g in others if guest.near and g.app == guest.near[1]]
        if guest.apart and any(
            g.app == guest.apart[1] and self.shared(guest.apart[0], places[g.name], host)
            for g in others
        ):
            yield "its anti-affinity"
        if any(
            g.apart and g.apart[1] == guest.app and self.shared(g.apart[0], places[g.name], host)
            for g in others
        ):
            yield "the anti-affinity of another"
        if guest.near and not any(self.shared(guest.near[0], places[g.name], host) for g in near):
            first = not near and guest.app == guest.near[1]
            if not first:
                yield "its affinity"
        if guest.spread and self.skewed(guest, host, others, places):
            yield "its spreading"

    def shared(self, topology: str, name: str, host: Host) -> bool:
        other = self.hosts[name]
        return other.name == host.name if topology == "host" else other.zone == host.zone

    def skewed(self, guest: Guest, host: Host, others: list[Guest], places: Places) -> bool:
        assert guest.spread is not None
        topology, skew = guest.spread
        counts: dict[str, int] = {}
        for one in self.scene.hosts:
            if not guest.zone or guest.zone == one.zone:
                domain = one.name if topology == "host" else one.zone
                here = sum(g.app == guest.app and places[g.name] == one.name for g in others)
                counts[domain] = counts.get(domain, 0) + here
        fewest = min(counts.values(), default=0)
        return counts.get(host.name if topology == "host" else host.zone, 0) + 1 - fewest > skew

    # The cluster before and after.

    def worse(self, before: Places, after: Places) -> Iterator[str]:
        if self.overload(after) > self.overload(before):
            yield "the worst overload has risen"
        for name in sorted(self.broken(after) - self.broken(before)):
            yield f"{name} stands against a rule now"
        lost = self.unsafe(after) - self.unsafe(before, bound=True)
        if len(lost) > len(self.unsafe(before) - self.unsafe(after)):
            yield f"the loss of {sorted(lost)} finds no room now"

    def used(self, name: str, places: Places) -> dict[str, int]:
        there = [self.guests[guest] for guest, host in places.items() if host == name]
        return {"cpu": sum(g.cpu for g in there), "memory": sum(g.memory for g in there)}

    def overload(self, places: Places) -> float:
        shares = [
            self.used(host.name, places)[resource] / getattr(host, resource) - ceiling / 100
            for host in self.scene.hosts
            for resource, ceiling in self.scene.ceilings.items()
        ]
        return max(0.0, *shares)

    def overloaded(self, places: Places) -> list[str]:
        return [
            host.name
            for host in self.scene.hosts
            if any(
                self.used(host.name, places)[resource] * 100 > ceiling * getattr(host, resource)
                for resource, ceiling in self.scene.ceilings.items()
            )
        ]

    def broken(self, places: Places) -> set[str]:
        """The guests that stand against a rule where they are."""
        found = set()
        for guest in self.scene.guests:
            host = self.hosts[places[guest.name]]
            of_node = list(self.node_rules(guest, host))
            if of_node or list(self.pod_rules(guest, host, places, coming=False)):
                found.add(guest.name)
        return found

    def unsafe(self, places: Places, *, bound: bool = False) -> set[str]:
        """The hosts whose guests would find no room elsewhere, all at once, by the rules about nodes and
        anti-affinity. ``bound``: also for guests that these leave no other host at all; no room would help them."""
        names = [host.name for host in self.scene.hosts]
        return {name for name in names if not self._survives(name, places, bound)}

    def _survives(self, lost: str, places: Places, bound: bool) -> bool:
        rest = {name: host for name, host in places.items() if host != lost}
        refugees = [
            guest
            for guest in self.scene.guests
            if places[guest.name] == lost and (bound or self._open(guest, lost, rest))
        ]
        refugees.sort(key=lambda guest: -guest.cpu)
        return self._place(refugees, lost, rest)

    def _open(self, guest: Guest, lost: str, places: Places) -> list[Host]:
        """The other hosts that rules about nodes and anti-affinity leave to a guest, room or not."""
        return [
            host
            for host in self.scene.hosts
            if host.name != lost
            and not host.cordoned
            and not list(self.node_rules(guest, host))
            and not any(
                "anti-affinity" in rule for rule in self.pod_rules(guest, host, places, coming=True)
            )
        ]

    def _place(self, refugees: list[Guest], lost: str, places: Places) -> bool:
        if not refugees:
            return True
        guest, rest = refugees[0], refugees[1:]
        for host in self._open(guest, lost, places):
            used = self.used(host.name, places)
            fits = (
                used["cpu"] + guest.cpu <= host.cpu and used["memory"] + guest.memory <= host.memory
            )
            if fits and self._place(rest, lost, {**places, guest.name: host.name}):
                return True
        return False

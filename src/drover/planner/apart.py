"""Anti-affinity by counting: for each rule, how many Pods it speaks of and how many hold it, per domain.

A rule forbids its holder every domain with a Pod that it speaks of, and forbids such Pods every domain with a holder.
A VM that comes is judged while its copy at the source still counts, as kube-scheduler does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from drover.planner.cluster import NOWHERE, Cluster
from drover.planner.fit import rows_of
from drover.planner.model import HOSTNAME, PodTerm
from drover.planner.tables import Bools, Ints

Tally = dict[int, int]  # domain -> Pods


@dataclass(frozen=True)
class Apart:
    """The rules of a picture. Per VM: the rules it holds, those that speak of it as a Pod that is there (``named``)
    and as one that comes (``refused``); the two differ in a corner of namespace selectors."""

    topology: tuple[str, ...]  # per rule
    domain: tuple[Ints, ...]  # per rule: the domain of each node, below zero where it has none
    members: tuple[tuple[Ints, ...], ...]  # per rule: the nodes of each domain
    holds: tuple[tuple[int, ...], ...]
    named: tuple[tuple[int, ...], ...]
    refused: tuple[tuple[int, ...], ...]
    parties: tuple[tuple[int, ...], ...]  # per rule: its VMs, as holders or spoken of
    spoken: tuple[Tally, ...]  # at first, all Pods
    holders: tuple[Tally, ...]

    @classmethod
    def of(cls, cluster: Cluster, vm_rows: Ints, order: Ints) -> Apart:
        """``order``: the rows of the cluster's nodes in the order wanted here."""
        holding = _rules(cluster)
        terms, held = tuple(holding), list(holding.values())
        there = [rows_of(cluster, term) for term in terms]
        coming = [rows_of(cluster, term, asking=False) for term in terms]
        of_three = [np.concatenate(rows) for rows in zip(held, there, coming, strict=True)]
        codes = {t.topology: cluster.nodes.column(t.topology).codes for t in terms}
        members = {key: _members(found[order]) for key, found in codes.items()}
        vm_of = {row: vm for vm, row in enumerate(vm_rows.tolist())}
        return cls(
            topology=tuple(term.topology for term in terms),
            domain=tuple(codes[term.topology][order] for term in terms),
            members=tuple(members[term.topology] for term in terms),
            holds=_by_vm(vm_of, held),
            named=_by_vm(vm_of, there),
            refused=_by_vm(vm_of, coming),
            parties=tuple(_vms(vm_of, rows) for rows in of_three),
            spoken=_tallies(cluster, terms, there),
            holders=_tallies(cluster, terms, held),
        )

    def kin(self, vm: int) -> set[int]:
        """The VMs that share a rule with this one."""
        numbers = {*self.holds[vm], *self.named[vm], *self.refused[vm]}
        return {other for number in numbers for other in self.parties[number]}

    def counters(self) -> Counters:
        return Counters(self, [dict(x) for x in self.spoken], [dict(x) for x in self.holders])


def _rules(cluster: Cluster) -> dict[PodTerm, Ints]:
    """Each rule with the Pods that hold it."""
    found: dict[PodTerm, list[int]] = {}
    for row, pod in enumerate(cluster.pods.pods):
        for term in pod.anti_affinity:
            if term.selector is not None:
                found.setdefault(term, []).append(row)
    return {term: np.array(rows, dtype=np.int64) for term, rows in found.items()}


def _by_vm(vm_of: Mapping[int, int], found: list[Ints]) -> tuple[tuple[int, ...], ...]:
    """The numbers of the lists that each VM is in."""
    numbers: list[list[int]] = [[] for _ in vm_of]
    for number, rows in enumerate(found):
        for row in rows.tolist():
            if row in vm_of:
                numbers[vm_of[row]].append(number)
    return tuple(tuple(one) for one in numbers)


def _vms(vm_of: Mapping[int, int], rows: Ints) -> tuple[int, ...]:
    return tuple(sorted({vm_of[row] for row in rows.tolist() if row in vm_of}))


def _tallies(cluster: Cluster, terms: tuple[PodTerm, ...], found: list[Ints]) -> tuple[Tally, ...]:
    return tuple(
        _tally(cluster.nodes.column(term.topology).codes, cluster.where[rows])
        for term, rows in zip(terms, found, strict=True)
    )


def _members(codes: Ints) -> tuple[Ints, ...]:
    return tuple(np.flatnonzero(codes == one) for one in range(int(codes.max(initial=-1)) + 1))


def _tally(codes: Ints, at: Ints) -> Tally:
    found: Tally = {}
    for one in codes[at[at != NOWHERE]].tolist():
        if one >= 0:
            found[one] = found.get(one, 0) + 1
    return found


class Counters:
    """The tallies while VMs move."""

    def __init__(self, rules: Apart, spoken: list[Tally], holders: list[Tally]) -> None:
        self._rules, self._spoken, self._holders = rules, spoken, holders

    def copy(self) -> Counters:
        return Counters(
            self._rules, [dict(x) for x in self._spoken], [dict(x) for x in self._holders]
        )

    def speaks_of(self, vm: int) -> bool:
        return bool(self._rules.holds[vm] or self._rules.refused[vm])

    def move(self, vm: int, source: int, target: int) -> None:
        rules = self._rules
        for tallies, numbers in ((self._spoken, rules.named[vm]), (self._holders, rules.holds[vm])):
            for number in numbers:
                codes, tally = rules.domain[number], tallies[number]
                for node, step in ((source, -1), (target, 1)):
                    code = int(codes[node])
                    if code >= 0:
                        tally[code] = tally.get(code, 0) + step

    def allows(
        self, vm: int, nodes: int, lost: int = NOWHERE, gone: Mapping[int, int] | None = None
    ) -> Bools:
        """The nodes that the rules leave to the VM, its own copy counted where it is; or as if the VMs ``gone`` were
        not on ``lost`` but on the nodes that they are mapped to (below zero: on none)."""
        found = np.ones(nodes, dtype=np.bool_)
        rules = self._rules
        for tallies, mine, theirs in (
            (self._spoken, rules.holds[vm], rules.named),
            (self._holders, rules.refused[vm], rules.holds),
        ):
            for number in mine:
                counts = tallies[number]
                if gone:
                    counts = self._without(number, counts, lost, gone, theirs)
                for code, count in counts.items():
                    if count > 0:
                        found[rules.members[number][code]] = False
        return found

    def _without(
        self,
        number: int,
        counts: Tally,
        lost: int,
        gone: Mapping[int, int],
        theirs: tuple[tuple[int, ...], ...],
    ) -> Tally:
        counts, codes = dict(counts), self._rules.domain[number]
        for vm, node in gone.items():
            if number in theirs[vm]:
                for at, step in ((lost, -1), (node, 1)):
                    if at >= 0 and codes[at] >= 0:
                        counts[int(codes[at])] = counts.get(int(codes[at]), 0) + step
        return counts

    def plainly(self, vm: int, here: int, there: int) -> bool:
        rules = self._rules
        for tallies, mine in ((self._spoken, rules.holds[vm]), (self._holders, rules.refused[vm])):
            for number in mine:
                codes = rules.domain[number]
                if rules.topology[number] != HOSTNAME or codes[here] < 0 or codes[there] < 0:
                    return False
                counts = tallies[number]
                if counts.get(int(codes[here]), 0) > 1 or counts.get(int(codes[there]), 0) > 0:
                    return False
        return True

    def conflicts(self, vm: int, node: int) -> int:
        """With how many Pods the VM, on ``node`` now, is at odds; one that two rules speak of counts twice."""
        rules, found = self._rules, 0
        for tallies, mine, as_other in (
            (self._spoken, rules.holds[vm], rules.named[vm]),
            (self._holders, rules.refused[vm], rules.holds[vm]),
        ):
            for number in mine:
                code = int(rules.domain[number][node])
                itself = number in as_other
                found += max(tallies[number].get(code, 0) - itself, 0) if code >= 0 else 0
        return found

"""Columns over nodes and Pods: what the predicates look at, laid out so that one rule is judged for all at once.

A table depends on the objects alone and never on where Pods are bound, so the pictures before and after a move share
it. Columns of labels are made when a rule first asks for them, and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drover.planner.model import Node, Operator, Pod, PodTerm, Requirement, Selector, Taint

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ABSENT = -1


@dataclass(frozen=True, slots=True)
class Column:
    """One label of all rows: a code per row, ``ABSENT`` where the row lacks the label."""

    codes: Ints
    values: tuple[str, ...]
    code_of: Mapping[str, int]

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> Column:
        code_of: dict[str, int] = {}
        codes = [ABSENT if t is None else code_of.setdefault(t, len(code_of)) for t in texts]
        return cls(np.array(codes, dtype=np.int64), tuple(code_of), code_of)

    def accepted(self, rule: Requirement) -> Bools:
        """For each row: does its value satisfy ``rule``?"""
        match rule.operator:
            case Operator.IN | Operator.NOT_IN:
                wanted = [self.code_of[value] for value in rule.values if value in self.code_of]
                if len(wanted) == 1:
                    found: Bools = self.codes == wanted[0]
                else:
                    found = np.isin(self.codes, wanted)
                return found if rule.operator is Operator.IN else ~found
            case Operator.EXISTS | Operator.DOES_NOT_EXIST:
                present: Bools = self.codes != ABSENT
                return present if rule.operator is Operator.EXISTS else ~present
        # The last entry stands for ABSENT, which is -1.
        verdicts = np.array([*(rule.accepts(v) for v in self.values), False], dtype=np.bool_)
        return verdicts[self.codes]


class NodeTable:
    """All nodes, in the order given."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        self.names = tuple(node.name for node in nodes)
        self.row_of = {name: row for row, name in enumerate(self.names)}
        self.unschedulable = np.array([node.unschedulable for node in nodes], dtype=np.bool_)
        groups: dict[tuple[Taint, ...], int] = {}
        rows = [groups.setdefault(node.taints, len(groups)) for node in nodes]
        self.taint_group = np.array(rows, dtype=np.int64)
        self.taint_sets = tuple(groups)
        self.resources = tuple(sorted({name for node in nodes for name in node.allocatable}))
        self._columns: dict[str, Column] = {}
        self._names = Column.of(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def allocatable(self, resource: str) -> Ints:
        """A new array each time."""
        return np.array([n.allocatable.get(resource, 0) for n in self.nodes], dtype=np.int64)

    def column(self, key: str) -> Column:
        if key not in self._columns:
            self._columns[key] = Column.of(node.labels.get(key) for node in self.nodes)
        return self._columns[key]

    def labelled(self, rules: Iterable[Requirement]) -> Bools:
        """The nodes whose labels satisfy all ``rules``."""
        found = np.ones(len(self), dtype=np.bool_)
        for rule in rules:
            found &= self.column(rule.key).accepted(rule)
        return found

    def named(self, rules: Iterable[Requirement]) -> Bools:
        """The nodes whose names satisfy all ``rules``."""
        found = np.ones(len(self), dtype=np.bool_)
        for rule in rules:
            found &= self._names.accepted(rule)
        return found


class PodTable:
    """All Pods that may be bound, in the order given."""

    def __init__(self, pods: Sequence[Pod]) -> None:
        self.pods = tuple(pods)
        self.row_of = {pod.key: row for row, pod in enumerate(pods)}
        self.namespaces = Column.of(pod.namespace for pod in pods)
        self.settled = np.array([not pod.terminating for pod in pods], dtype=np.bool_)
        self.all_rows = np.arange(len(pods), dtype=np.int64)
        self.refusing = Refusing(self.pods)
        self._columns: dict[str, Column] = {}
        self._rows: dict[str, tuple[Ints, Ints]] = {}

    def requests(self, resource: str) -> Ints:
        return np.array([pod.requests.get(resource, 0) for pod in self.pods], dtype=np.int64)

    def column(self, key: str) -> Column:
        if key not in self._columns:
            self._columns[key] = Column.of(pod.labels.get(key) for pod in self.pods)
        return self._columns[key]

    def selected(self, selector: Selector) -> Ints:
        """The rows whose labels ``selector`` matches."""
        rules = sorted(selector.requirements, key=_width)
        rows = self.all_rows
        for rule in rules:
            if rows is self.all_rows and _width(rule) == 1:
                rows = self._with_label(rule.key, rule.values[0])
            else:
                rows = rows[self.column(rule.key).accepted(rule)[rows]]
        return rows

    def _with_label(self, key: str, value: str) -> Ints:
        """The rows of one value, found without looking at the others."""
        column = self.column(key)
        if key not in self._rows:
            order = np.argsort(column.codes, kind="stable").astype(np.int64)
            bounds = np.searchsorted(column.codes[order], np.arange(len(column.values) + 1))
            self._rows[key] = (order, bounds.astype(np.int64))
        code = column.code_of.get(value)
        order, bounds = self._rows[key]
        return order[:0] if code is None else order[bounds[code] : bounds[code + 1]]


def _width(rule: Requirement) -> int:
    """How much a requirement may leave: one value first, then few, then the rest."""
    return len(rule.values) if rule.operator is Operator.IN else 1_000_000


class Refusing:
    """The anti-affinity rules of Pods that are there, each rule once, found by a label of the Pod that comes."""

    def __init__(self, pods: Sequence[Pod]) -> None:
        holders: dict[PodTerm, list[int]] = {}
        for row, pod in enumerate(pods):
            for term in pod.anti_affinity:
                holders.setdefault(term, []).append(row)
        self._terms = tuple(holders)
        self.holders = tuple(np.array(rows, dtype=np.int64) for rows in holders.values())
        self._by_label: dict[tuple[str, str], list[int]] = {}
        self._others: list[int] = []
        for number, term in enumerate(self._terms):
            self._file(number, term)

    def _file(self, number: int, term: PodTerm) -> None:
        """Under the values of its narrowest In; a rule without one is tried for every Pod."""
        if term.selector is None:
            return  # selects nothing, ever
        narrowest = min(term.selector.requirements, key=_width, default=None)
        if narrowest is None or narrowest.operator is not Operator.IN:
            self._others.append(number)
            return
        for value in narrowest.values:
            self._by_label.setdefault((narrowest.key, value), []).append(number)

    def against(
        self, pod: Pod, namespace_labels: Mapping[str, str]
    ) -> Iterable[tuple[PodTerm, Ints]]:
        """The rules that ``pod`` would break, each with the rows of the Pods that have it."""
        candidates = [*self._others]
        for label in pod.labels.items():
            candidates += self._by_label.get(label, ())
        for number in candidates:
            term = self._terms[number]
            assert term.selector is not None  # such rules are not filed
            if term.covers(pod.namespace, namespace_labels) and term.selector.matches(pod.labels):
                yield term, self.holders[number]

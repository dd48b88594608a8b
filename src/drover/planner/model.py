"""The planner's own nouns: nodes, Pods and their rules, as frozen values without any of Kubernetes' optional fields.

Absent and empty differ in one place only, as in Kubernetes: a selector that is None selects nothing, an empty one
selects everything. Amounts are integers: milli-CPU for ``cpu``, bytes or pieces for the rest. Mappings are read only.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

HOSTNAME = "kubernetes.io/hostname"
NAME_FIELD = "metadata.name"


class Operator(enum.StrEnum):
    """As in node selectors; label selectors know the first four."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label or field."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def accepts(self, value: str | None) -> bool:
        """``None``: the label is absent, which only NotIn and DoesNotExist accept."""
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
        if value is None:
            return False
        try:
            have, wanted = int(value), int(self.values[0])
        except ValueError:
            return False  # kube-scheduler, too, takes what is no number as no match
        return have > wanted if self.operator is Operator.GT else have < wanted


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements hold; none: everything is selected."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(one.accepts(labels.get(one.key)) for one in self.requirements)


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """One alternative of a required node affinity. With nothing in it, it matches no node."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()  # of metadata.name


@dataclass(frozen=True, slots=True)
class PodTerm:
    """A required affinity or anti-affinity: to the Pods that ``selector`` selects in the namespaces named or selected,
    within one value of the node label ``topology``."""

    topology: str
    selector: Selector | None
    namespaces: tuple[str, ...] = ()
    namespace_selector: Selector | None = None

    def covers(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Does it speak of Pods in ``namespace``, which carries ``labels``?"""
        selected = self.namespace_selector is not None and self.namespace_selector.matches(labels)
        return namespace in self.namespaces or selected

    def covers_asking(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """The same for a rule of the Pod that looks for a node. kube-scheduler (1.36) then also tries the selector on
        no labels at all, so one that only wants labels to be absent covers every namespace."""
        return self.covers(namespace, labels) or self.covers("", {})


@dataclass(frozen=True, slots=True)
class Spread:
    """A topology spread constraint that must hold (DoNotSchedule)."""

    topology: str
    max_skew: int
    selector: Selector | None
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class Toleration:
    """An empty key with ``exists`` tolerates every taint, an empty effect every effect."""

    key: str = ""
    exists: bool = False
    value: str = ""
    effect: str = ""

    def covers(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.exists or (bool(self.key) and self.value == taint.value)


@dataclass(frozen=True, slots=True)
class Node:
    """``allocatable`` counts Pods too, as the resource ``pods``."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    allocatable: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pod:
    """``node`` is where it is bound; empty: nowhere. ``node_terms`` None: no required node affinity."""

    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, int] = field(default_factory=dict)
    node: str = ""
    node_selector: tuple[Requirement, ...] = ()
    node_terms: tuple[NodeTerm, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()
    affinity: tuple[PodTerm, ...] = ()
    anti_affinity: tuple[PodTerm, ...] = ()
    spread: tuple[Spread, ...] = ()
    terminating: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

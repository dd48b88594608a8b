"""One answer: what is so, by which rule, because of which objects, and the way out."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from drover.api.meta import name_of, namespace_of
from drover.api.scheme import Kind
from drover.api.wire import Object


class Topic(enum.StrEnum):
    """What an answer is about."""

    PLACE = "place"  # where it is, and why there
    START = "start"  # why it does not run
    MOVE = "move"  # why it moves, or cannot
    RESTART = "restart"  # why it was or is to be restarted, or is not
    DRAIN = "drain"  # what a node's maintenance waits for
    FENCING = "fencing"  # of a node that is silent or was lost
    PLAN = "plan"  # rebalancing
    OPERATION = "operation"  # how an operation stands


@dataclass(frozen=True, slots=True)
class Ref:
    """An object that an answer is about."""

    kind: str
    name: str
    namespace: str = ""

    @classmethod
    def of(cls, kind: Kind, obj: Object) -> Ref:
        return cls(kind.kind, name_of(obj), namespace_of(obj))

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {where}"

    def as_json(self) -> dict[str, str]:
        told = {"kind": self.kind, "namespace": self.namespace, "name": self.name}
        return {key: value for key, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Because:
    """``says`` and ``rule`` are sentences without a full stop; ``way_out`` is empty where nothing is to be done."""

    about: Topic
    says: str
    rule: str
    objects: tuple[Ref, ...] = ()
    way_out: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "about": str(self.about),
            "says": self.says,
            "rule": self.rule,
            "objects": [ref.as_json() for ref in self.objects],
            "wayOut": self.way_out,
        }

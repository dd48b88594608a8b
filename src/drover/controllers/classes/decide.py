"""What a class shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api import names
from drover.api.kinds import node as nodes
from drover.api.kinds import vmclass as classes
from drover.api.kinds.vmclass import ClassPhase, ClassReason
from drover.api.meta import has_finalizer, is_deleting, name_of
from drover.api.selectors import Requirement
from drover.api.wire import Object
from drover.base import quantity
from drover.base.words import some_of


@dataclass(frozen=True)
class ClassView:
    vmclass: Object
    nodes: tuple[Object, ...]
    users: tuple[str, ...]  # namespace/name of VMs


@dataclass(frozen=True)
class Verdict:
    """``finalizer``: whether it shall be there."""

    phase: ClassPhase
    nodes: tuple[str, ...]
    ready_reason: str
    in_use_message: str
    finalizer: bool
    cpu_milli: int
    memory_bytes: int


def decide(view: ClassView) -> Verdict:
    fitting = [node for node in view.nodes if nodes.is_vm_node(node) and fits(view.vmclass, node)]
    deleting = is_deleting(view.vmclass)
    reason = ClassReason.SUITABLE_NODES_FOUND if fitting else ClassReason.NO_SUITABLE_NODES_FOUND
    phase = ClassPhase.READY if fitting else ClassPhase.PENDING
    allocatable = [nodes.allocatable(node) for node in fitting]
    return Verdict(
        phase=ClassPhase.TERMINATING if deleting else phase,
        nodes=tuple(name_of(node) for node in fitting),
        ready_reason=reason,
        in_use_message=_users(view.users),
        finalizer=bool(view.users) or not deleting,
        cpu_milli=max((quantity.cpu_milli(a.get("cpu", "0")) for a in allocatable), default=0),
        memory_bytes=max(
            (quantity.size_bytes(a.get("memory", "0")) for a in allocatable), default=0
        ),
    )


def _users(users: tuple[str, ...]) -> str:
    return f"Used by VirtualMachine {some_of(users)}" if users else ""


def has_our_mark(vmclass: Object) -> bool:
    return has_finalizer(vmclass, names.VMCLASS_FINALIZER)


def fits(vmclass: Object, node: Object) -> bool:
    """Labels and expressions of the class's nodeSelector."""
    labels = nodes.labels(node)
    if any(labels.get(key) != value for key, value in classes.node_labels(vmclass).items()):
        return False
    return all(
        _expression(dict(e), labels.get(e["key"])) for e in classes.node_expressions(vmclass)
    )


def _expression(expression: Object, actual: str | None) -> bool:
    key, operator = str(expression["key"]), expression["operator"]
    values = tuple(expression.get("values") or ())
    match operator:
        case "In" | "NotIn":
            return Requirement(key, values, operator == "In").holds(actual)
        case "Exists" | "DoesNotExist":
            return Requirement(key, None, operator == "Exists").holds(actual)
        case "Gt" | "Lt":
            return _compare(operator, actual, values)
    return False


def _compare(operator: str, actual: str | None, values: tuple[str, ...]) -> bool:
    try:
        found, limit = int(actual or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return found > limit if operator == "Gt" else found < limit

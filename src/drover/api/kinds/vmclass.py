"""VirtualMachineClass: the words of its API and read-only views of one."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

from drover.api import names

Obj = Mapping[str, Any]


class CpuType(enum.StrEnum):
    """The others are refused by name: they tie a guest to its host's CPU."""

    MODEL = "Model"


class ClassPhase(enum.StrEnum):
    PENDING = "Pending"
    READY = "Ready"
    TERMINATING = "Terminating"


class ClassCondition:
    READY = "Ready"
    IN_USE = "InUse"


class ClassReason:
    SUITABLE_NODES_FOUND = "SuitableNodesFound"
    NO_SUITABLE_NODES_FOUND = "NoSuitableNodesFound"
    IN_USE = "InUse"
    NOT_IN_USE = "NotInUse"


def cpu_model(vmclass: Obj) -> str:
    return str(vmclass["spec"]["cpu"]["model"])


def is_default(vmclass: Obj) -> bool:
    annotations = vmclass["metadata"].get("annotations") or {}
    return annotations.get(names.DEFAULT_CLASS_ANNOTATION) == "true"


def chosen(name: str, everything: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The class of this name; with no name the default one, if there is exactly one."""
    found = [one for one in everything if _is(one, name)]
    return found[0] if len(found) == 1 else None


def _is(vmclass: Obj, name: str) -> bool:
    return bool(vmclass["metadata"]["name"] == name) if name else is_default(vmclass)


def node_labels(vmclass: Obj) -> dict[str, str]:
    return dict((vmclass["spec"].get("nodeSelector") or {}).get("matchLabels") or {})


def node_expressions(vmclass: Obj) -> list[Obj]:
    return list((vmclass["spec"].get("nodeSelector") or {}).get("matchExpressions") or [])


def tolerations(vmclass: Obj) -> list[Obj]:
    return list(vmclass["spec"].get("tolerations") or [])


def sizing_policy(vmclass: Obj, cores: int) -> Obj | None:
    """The policy that covers so many cores; ``{}`` when the class has none, None when none fits."""
    policies: list[Obj] = vmclass["spec"].get("sizingPolicies") or []
    if not policies:
        return {}
    for policy in policies:
        span = policy.get("cores")
        if span is None or span["min"] <= cores <= span["max"]:
            return policy
    return None


def core_fractions_percent(policy: Obj) -> list[int]:
    """The fractions allowed; empty: any."""
    return [int(str(text).rstrip("%")) for text in policy.get("coreFractions") or []]


def default_core_fraction_percent(policy: Obj) -> int:
    return int(str(policy.get("defaultCoreFraction", "100%")).rstrip("%"))


def phase(vmclass: Obj) -> ClassPhase | None:
    text = (vmclass.get("status") or {}).get("phase")
    return ClassPhase(text) if text else None

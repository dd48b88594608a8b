"""Where a VM's Pods may run: node selector, affinity and tolerations, merged from the VM and its class. Pure.

These apply to a running VM without a restart: it moves when its node does not satisfy them any more. ``digest`` on a
Pod tells which wish it was made from; what the API server stores of the rules themselves differs from what was sent.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from drover.api import names
from drover.api.kinds import vm as vms
from drover.api.kinds import vmclass as classes
from drover.api.wire import Object

FIELDS = ("nodeSelector", "affinity", "tolerations")  # of a VM's spec and of a Pod's
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
DIGEST_ANNOTATION = "drover.dev/placement"

_TOLERATED_FOR_EVER = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def of(vm: Object, vmclass: Object) -> dict[str, Any]:
    """The fields of the Pod's spec, without those that are empty."""
    wanted = {
        "nodeSelector": {
            **(vms.spec(vm).get("nodeSelector") or {}),
            **classes.node_labels(vmclass),
        },
        "affinity": _affinity(vm, vmclass),
        "tolerations": _tolerations(vm, vmclass),
    }
    return {field: copy.deepcopy(value) for field, value in wanted.items() if value}


def digest(vm: Object, vmclass: Object) -> str:
    """The same for the same wish."""
    text = json.dumps(of(vm, vmclass), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_placement(path: str) -> bool:
    """Whether a changed field of a VM's spec is about placement."""
    return path.partition(".")[0] in FIELDS


def require(node_affinity: dict[str, Any], field: str, wanted: list[Any]) -> None:
    """Terms are alternatives, so what must hold is added to every one of them, or to a new one. An empty term matches
    no node and stays empty."""
    required = node_affinity.setdefault(REQUIRED, {})
    terms = required.setdefault("nodeSelectorTerms", [])
    if not terms:
        terms.append({field: copy.deepcopy(wanted)})
        return
    for term in terms:
        if term.get("matchExpressions") or term.get("matchFields"):
            term[field] = [*(term.get(field) or []), *copy.deepcopy(wanted)]


def apply_plan(affinity: dict[str, Any], plan: Mapping[str, Any]) -> None:
    """What a planned move of several VMs asks for: one node, and no waiting for those that move too."""
    if plan.get("node"):
        pinned = {"key": "metadata.name", "operator": "In", "values": [plan["node"]]}
        require(affinity.setdefault("nodeAffinity", {}), "matchFields", [pinned])
    lifted = plan.get("liftedAffinityTerms") or []
    to_pods = affinity.get("podAffinity") or {}
    terms = to_pods.pop(REQUIRED, [])
    kept = [term for number, term in enumerate(terms) if number not in lifted]
    if kept:
        to_pods[REQUIRED] = kept
    if not to_pods:
        affinity.pop("podAffinity", None)


def keep_apart(affinity: dict[str, Any], labels: dict[str, str]) -> None:
    """Not on a node where a Pod with these labels is."""
    term = {"topologyKey": names.HOSTNAME_LABEL, "labelSelector": {"matchLabels": labels}}
    affinity.setdefault("podAntiAffinity", {}).setdefault(REQUIRED, []).append(term)


def _tolerations(vm: Object, vmclass: Object) -> list[Any]:
    ours: list[dict[str, Any]] = [
        {"key": names.VM_NODE_TAINT, "operator": "Exists", "effect": "NoSchedule"}
    ]
    # Without seconds: for ever. Eviction by time-out proves nothing about the guest (design: only fencing does).
    ours += [
        {"key": key, "operator": "Exists", "effect": "NoExecute"} for key in _TOLERATED_FOR_EVER
    ]
    return [*ours, *(vms.spec(vm).get("tolerations") or []), *classes.tolerations(vmclass)]


def _affinity(vm: Object, vmclass: Object) -> dict[str, Any]:
    wish = vms.spec(vm).get("affinity") or {}
    affinity: dict[str, Any] = {}
    for ours, theirs in (
        ("virtualMachineAndPodAffinity", "podAffinity"),
        ("virtualMachineAndPodAntiAffinity", "podAntiAffinity"),
    ):
        if wish.get(ours):
            affinity[theirs] = wish[ours]
    node = copy.deepcopy(wish.get("nodeAffinity") or {})
    expressions = [dict(expression) for expression in classes.node_expressions(vmclass)]
    if expressions:
        require(node, "matchExpressions", expressions)
    if node:
        affinity["nodeAffinity"] = node
    return affinity

"""What the page is told of an object: the few facts it draws, as plain JSON. Pure.

A row is small, because a cluster has tens of thousands of them, and equal rows are not sent again. What an object is
called the page takes from its key; what only the page of one VM shows is asked for there (``about``). Times are RFC
3339, amounts name their unit. Nothing here is trusted or escaped: the page writes text, never markup.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drover.api import firmware, names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence, nodegroup
from drover.api.kinds import pod as pods
from drover.api.kinds import rebalance as plans
from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vm import VmCondition
from drover.api.meta import annotations_of, is_deleting
from drover.api.scheme import Kind
from drover.api.wire import Object
from drover.base.quantity import cpu_milli, size_bytes
from drover.controllers.planning import requests

Row = dict[str, Any]
MOST_MESSAGE = 2048  # characters of one sentence


def _born(obj: Object) -> Row:
    return {"created": str(obj["metadata"].get("creationTimestamp", ""))}


def conditions(obj: Object) -> list[Row]:
    return [
        {
            "type": one.get("type", ""),
            "status": one.get("status", ""),
            "reason": one.get("reason", ""),
            "message": str(one.get("message", ""))[:MOST_MESSAGE],
            "at": one.get("lastTransitionTime", ""),
        }
        for one in (obj.get("status") or {}).get("conditions") or []
    ]


def node(obj: Object) -> Row:
    room = nodes.allocatable(obj)
    notes = annotations_of(obj)
    taints = (obj.get("spec") or {}).get("taints") or []
    return {
        **_born(obj),
        "ready": nodes.ready(obj),
        "away": nodes.away(obj),
        "cordoned": nodes.cordoned(obj),
        "forVms": nodes.for_vms(obj) or nodes.is_vm_node(obj),
        "rejoining": any(taint["key"] == names.REJOINING_TAINT for taint in taints),
        "cpuMilli": cpu_milli(room.get("cpu", "0")),
        "memoryBytes": size_bytes(room.get("memory", "0")),
        "address": nodes.internal_ip(obj),
        "group": nodegroup.group_of(obj),
        "qemu": [offer.version for offer in firmware.offers_of(obj)],
        "watchdog": notes.get(names.WATCHDOG_ANNOTATION, ""),
        "watchdogTrouble": notes.get(names.WATCHDOG_TROUBLE_ANNOTATION, ""),
    }


def vm(obj: Object) -> Row:
    """One shape for all, told by columns. ``version``: something about it has changed."""
    fact = vms.status(obj)
    leave = {c.get("type"): c for c in fact.get("conditions") or [] if c.get("status") == "True"}
    return {
        "phase": str(fact.get("phase") or "Pending"),
        "node": vms.node_name(obj),
        "pod": active_pod(obj),
        "asked": VmCondition.EVICTION_REQUIRED in leave,
        "blocked": str(leave.get(VmCondition.EVACUATION_BLOCKED, {}).get("message", ""))[:MOST_MESSAGE],
        "version": str(obj["metadata"].get("resourceVersion", "")),
    }  # fmt: skip


def active_pod(obj: Object) -> str:
    """The name of the Pod that a VM runs in; empty: in none."""
    shown = vms.status(obj).get("virtualMachinePods") or []
    return next((str(one["name"]) for one in shown if one.get("active")), "")


def pod(obj: Object) -> Row:
    wanted = requests(obj["spec"])
    return {
        "vm": pods.vm_name(obj),
        "node": pods.node_name(obj),
        "ended": pods.ended(obj),
        "cpuMilli": wanted.get("cpu", 0),
        "memoryBytes": wanted.get("memory", 0),
        "phase": str(pods.phase(obj)),
        "migration": pods.migration_name(obj),
    }


def vmop(obj: Object) -> Row:
    found = [c for c in conditions(obj) if c["type"] == vmops.VmopCondition.COMPLETED]
    last = found[0] if found else {}
    return {
        **_born(obj),
        "vm": vmops.vm_name(obj),
        "type": str(obj["spec"].get("type", "")),
        "phase": str(vmops.phase(obj) or "Pending"),
        "finished": vmops.finished(obj),
        "progress": vmops.progress_percent(obj),
        "origin": str(vmops.origin(obj)),
        "force": vmops.force(obj),
        "target": vmops.node_selector(obj).get(names.HOSTNAME_LABEL, ""),
        "deleting": is_deleting(obj),
        "reason": last.get("reason", ""),
        "message": last.get("message", ""),
        "at": last.get("at", ""),
    }


def vmm(obj: Object) -> Row:
    said = vmms.status(obj)
    return {
        **_born(obj),
        "vm": vmms.vm_name(obj),
        "operation": vmms.operation_name(obj),
        "source": vmms.source_node(obj),
        "target": vmms.target_node(obj),
        "phase": vmms.phase(obj),
        "final": vmms.final(obj),
        "copy": {k: v for k, v in vmms.source_report(obj).items() if k not in _OWN},
        "message": str(said.get("message", ""))[:MOST_MESSAGE],
    }


_OWN = frozenset({"incarnation", "handOverEpoch"})  # between agents


def fence(obj: Object) -> Row:
    said = obj.get("status") or {}
    return {
        **_born(obj),
        "node": nodefence.node(obj),
        "life": nodefence.incarnation(obj)[:8],
        "group": str(obj["spec"].get("group", "")),
        "phase": str(nodefence.phase(obj)),
        "evidence": str(said.get("evidence", "")),
        "reason": str(said.get("reason", "")),
        "message": str(said.get("message", ""))[:MOST_MESSAGE],
        "timeline": dict(said.get("timeline") or {}),
        "vms": nodefence.lost_vms(obj),
    }


def plan(obj: Object) -> Row:
    wish, said = plans.spec(obj), plans.status(obj)
    kept = ("movesTotal", "lowerBound", "proved", "bytesTotal", "secondsTotal", "overloaded", "impossible",
            "brokenRules")  # fmt: skip
    return {
        **_born(obj),
        "number": plans.number(obj),
        "mode": str(plans.mode(obj)),
        "approved": plans.approved(obj),
        "phase": str(plans.phase(obj)),
        "open": plans.open_(obj),
        "moves": plans.moves(obj),
        "steps": plans.steps(obj),
        **{key: wish[key] for key in kept if key in wish},
        "reason": str(said.get("reason", "")),
        "message": str(said.get("message", ""))[:MOST_MESSAGE],
    }


def conditioned(obj: Object) -> Row:
    """A Descheduler or a NodeGroup: what matters is what its conditions say."""
    return {**_born(obj), "conditions": conditions(obj), "mode": str(nodegroup.mode(obj) or "")}


def module(obj: Object) -> Row:
    wish = obj.get("spec") or {}
    settings = wish.get("settings") or {}
    return {
        **_born(obj),
        "enabled": bool(wish.get("enabled", False)),
        "rebalance": settings.get("rebalance") or {},
        "conditions": conditions(obj),
    }


# Kinds that the page is told of, in this order: first what the cluster's picture is made of. The other kinds of
# ``answers.world`` are watched for the answers alone.
MAKERS: dict[Kind, Callable[[Object], Row]] = {
    scheme.NODE: node,
    scheme.POD: pod,
    scheme.VM: vm,
    scheme.VMOP: vmop,
    scheme.VMM: vmm,
    scheme.NODEFENCE: fence,
    scheme.REBALANCEPLAN: plan,
    scheme.DESCHEDULER: conditioned,
    scheme.NODEGROUP: conditioned,
    scheme.MODULECONFIG: module,
}


def row_of(kind: Kind, obj: Object) -> Row:
    """Its row; a bare one for an object of a shape that nobody foresaw, so that one stranger blinds nobody."""
    try:
        return MAKERS[kind](obj)
    except (KeyError, ValueError, TypeError, AttributeError):
        return {**_born(obj), "unreadable": True}

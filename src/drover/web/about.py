"""What the page of one VM shows beyond its row: facts, conditions, Events. Asked for when it is opened, and again when
the live line tells that something about the VM has changed; twenty thousand VMs of it would be too much to send.

It is read from what the session watches with its own rights, so it shows nothing that those rights hide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drover.answers.world import NoSuch
from drover.api import firmware, scheme
from drover.api.kinds import vm as vms
from drover.api.kinds import vmop as vmops
from drover.api.meta import is_deleting, name_of, namespace_of
from drover.api.wire import Object
from drover.base.quantity import size_bytes
from drover.web.rows import MOST_MESSAGE, Row, active_pod, conditions

if TYPE_CHECKING:
    from drover.web.feed import Feed

MOST_EVENTS = 200  # the newest
# What has Events on the page of a VM.
TOLD_KINDS = frozenset({scheme.VM.kind, scheme.VMOP.kind})


def about(feed: Feed, namespace: str, name: str) -> dict[str, Any]:
    """Raises NoSuch."""
    vm = feed.get(scheme.VM, name, namespace)
    if vm is None:
        raise NoSuch(f"there is no VM {namespace}/{name}; it was deleted, or your rights hide it")
    pod = feed.get(scheme.POD, active_pod(vm), namespace)
    return {
        **facts(vm),
        "qemu": firmware.running_on(pod) if pod is not None else "",
        "conditions": conditions(vm),
        "events": _events(feed, vm),
    }


def facts(obj: Object) -> Row:
    wish = vms.spec(obj)
    cpu = wish.get("cpu") or {}
    return {
        "ip": vms.ip_address(obj),
        "cores": int(cpu.get("cores", 0)),
        "fraction": str(cpu.get("coreFraction", "")),
        "memoryBytes": size_bytes(str((wish.get("memory") or {}).get("size", "0"))),
        "policy": str(vms.run_policy(obj)),
        "class": vms.class_name(obj),
        "deleting": is_deleting(obj),
    }


def event(obj: Object) -> Row:
    at = (
        obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    )
    return {
        "type": str(obj.get("type", "")),
        "reason": str(obj.get("reason", "")),
        "message": str(obj.get("message") or "")[:MOST_MESSAGE],
        "at": str(at or ""),
        "count": int(obj.get("count") or 1),
    }


def subject(obj: Object) -> list[str]:
    """Of an Event: kind and key of what it is about, where a page shows it. An index of the feed."""
    of = obj.get("involvedObject") or {}
    if of.get("kind") not in TOLD_KINDS:
        return []
    return [f"{of['kind']} {of.get('namespace', '')}/{of.get('name', '')}"]


def _events(feed: Feed, vm: Object) -> list[Row]:
    space, name = namespace_of(vm), name_of(vm)
    mine = [f"{scheme.VM.kind} {space}/{name}"]
    for vmop in feed.all(scheme.VMOP):
        if namespace_of(vmop) == space and vmops.vm_name(vmop) == name:
            mine.append(f"{scheme.VMOP.kind} {space}/{name_of(vmop)}")
    found = [event(one) for key in mine for one in feed.events(key)]
    return sorted(found, key=lambda one: str(one["at"]))[-MOST_EVENTS:]

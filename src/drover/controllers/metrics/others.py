"""Gauges of the controllers themselves, classes, disks, images and node groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric

from drover.api.kinds import disk as disks
from drover.api.kinds.disk import DiskCondition, DiskPhase
from drover.api.kinds.image import ImagePhase
from drover.api.kinds.vmclass import ClassPhase
from drover.api.wire import Object
from drover.controllers.metrics.series import PREFIX, Gauges, Labels, flag, prefixed


def leading_families(leads: bool) -> list[Metric]:
    gauges = Gauges("drover_controllers_")
    gauges.declare("leading", "1 for the process that leads.")
    gauges.add("leading", {}, float(leads))
    return gauges.families()


def class_families(classes: Iterable[Object]) -> list[Metric]:
    gauges = Gauges(f"{PREFIX}virtualmachineclass_")
    gauges.declare("status_phase", "The phase of the class: 1 for the one that holds.")
    gauges.declare("info", "The CPU of the class.")
    gauges.declare("available_node", "The nodes that its virtual machines may run on.")
    for vmclass in classes:
        status, cpu = vmclass.get("status") or {}, vmclass["spec"].get("cpu") or {}
        base = _base(vmclass)
        _phase(gauges, base, vmclass, ClassPhase)
        info = {"cpu_type": str(cpu.get("type", "")), "cpu_model": str(cpu.get("model", ""))}
        gauges.add("info", {**base, **info}, 1)
        for node in status.get("availableNodes") or ():
            gauges.add("available_node", {**base, "node": node}, 1)
    return gauges.families()


def disk_families(all_disks: Iterable[Object]) -> list[Metric]:
    gauges = Gauges(f"{PREFIX}virtualdisk_")
    gauges.declare("status_phase", "The phase of the disk: 1 for the one that holds.")
    gauges.declare("labels", "The labels of the disk.")
    gauges.declare("annotations", "The annotations of the disk.")
    gauges.declare("capacity_bytes", "The size of the disk, as its guest sees it.")
    gauges.declare("info", "The virtual machine that holds the disk.")
    gauges.declare("status_in_use", "1 while a virtual machine holds the disk.")
    for disk in all_disks:
        base, meta = _base(disk), disk["metadata"]
        _phase(gauges, base, disk, DiskPhase)
        gauges.add("labels", {**base, **prefixed("label", meta.get("labels"))}, 1)
        notes = prefixed("annotation", meta.get("annotations"))
        gauges.add("annotations", {**base, **notes}, 1)
        if disks.status(disk).get("capacity"):
            gauges.add("capacity_bytes", base, float(disks.capacity_bytes(disk)))
        holder = str((disks.status(disk).get("heldBy") or {}).get("name", ""))
        gauges.add("info", {**base, "virtualmachine": holder}, 1)
        gauges.add("status_in_use", base, flag(disk, DiskCondition.IN_USE))
    return gauges.families()


def image_families(images: Iterable[Object], of_cluster: Iterable[Object]) -> list[Metric]:
    found: list[Metric] = []
    for kind, objects in (("virtualimage", images), ("clustervirtualimage", of_cluster)):
        gauges = Gauges(f"{PREFIX}{kind}_")
        gauges.declare("status_phase", "The phase of the image: 1 for the one that holds.")
        for image in objects:
            _phase(gauges, _base(image), image, ImagePhase)
        found += gauges.families()
    return found


def standby_families(groups: Iterable[Object]) -> list[Metric]:
    """Of fenced groups: whether a node's VMs would find room elsewhere."""
    gauges = Gauges("drover_standby_")
    gauges.declare("vms", "Virtual machines that start elsewhere when the node is lost.")
    gauges.declare("vms_without_room", "Those of them that would find no room now.")
    for group in groups:
        for told in (group.get("status") or {}).get("standby") or ():
            labels = {"node": told["node"], "group": group["metadata"]["name"]}
            gauges.add("vms", labels, float(told.get("virtualMachines", 0)))
            gauges.add("vms_without_room", labels, float(told.get("withoutRoom", 0)))
    return gauges.families()


def _base(obj: Object) -> Labels:
    meta = obj["metadata"]
    base = {"name": meta["name"], "uid": meta["uid"]}
    return {**base, "namespace": meta["namespace"]} if meta.get("namespace") else base


def _phase(gauges: Gauges, base: Labels, obj: Object, words: Iterable[str]) -> None:
    now = str((obj.get("status") or {}).get("phase") or "Pending")
    gauges.one_hot("status_phase", base, "phase", words, now)

"""What a keeper tells the world of its copy after each look: the wishes it gives to the publisher, and Events.

What is said is decided by the pure functions of ``agent.report``; here is only whom it is told to, and how often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.agent import launching, report
from drover.agent.publisher import Subject
from drover.agent.view import CopyView, Role
from drover.api import names, scheme
from drover.api.kinds import pod as pods
from drover.api.wire import Object

if TYPE_CHECKING:
    from drover.agent.keeper import Keeper


def tell(keeper: Keeper, view: CopyView) -> None:
    """Wish what this look has shown."""
    pod, vmm = keeper.pod, keeper.vmm()
    if pod is not None:
        _tell_pod(keeper, view, pod)
    if vmm is not None and view.move is not None:
        _tell_move(keeper, view, vmm)


def _tell_pod(keeper: Keeper, view: CopyView, pod: Object) -> None:
    now, said = keeper.context.clock.wall(), None
    if report.running(view) and not pods.ended(pod):
        spec = keeper.spec
        address = spec.ip if spec is not None else ""
        qemu = spec.firmware if spec is not None else ""
        said = report.pod_running(pod, address, now, keeper.memory.agent_ready, qemu)
    elif report.disk_failed(view):
        message = report.disk_message(keeper.memory.disk_error)
        said = report.pod_not_ready(pod, names.DISK_ERROR, message, now)
        keeper.troubled(names.DISK_ERROR, message)
    elif report.silent(view, pod):
        message = report.SILENCE_MESSAGE
        said = report.pod_not_ready(pod, report.MONITOR_SILENT, message, now)
        if not report.says_silent(pod):
            keeper.warn(report.MONITOR_SILENT, message)
    if said is not None:
        meta = pod["metadata"]
        keeper.context.publisher.wish(
            Subject(scheme.POD, meta["namespace"], meta["name"], "pod"), said
        )


def _tell_move(keeper: Keeper, view: CopyView, vmm: Object) -> None:
    source = view.move is not None and view.move.role is Role.SOURCE
    said = _of_source(keeper, view) if source else _of_target(keeper, view, vmm)
    if said is not None:
        part, meta = "source" if source else "target", vmm["metadata"]
        subject = Subject(scheme.VMM, meta["namespace"], meta["name"], part)
        keeper.context.publisher.wish(subject, {"status": {part: said}}, vmm)


def _of_source(keeper: Keeper, view: CopyView) -> Object | None:
    context, memory = keeper.context, keeper.memory
    incarnation = context.node_lease.incarnation
    said = report.source_report(
        view, incarnation, memory.cancelled, memory.not_begun, memory.last_migration
    )
    if said is not None and said["phase"] == "Failed" and view.move is not None:
        memory.gave_up = view.move.uid
    if said is not None and said["phase"] == "Copying":
        # Our own report wakes us; told at every look, the counters would chase themselves.
        return said if memory.counters_due(context.clock.monotonic()) else None
    return said


def _of_target(keeper: Keeper, view: CopyView, vmm: Object) -> Object | None:
    if not launching.is_named_target(keeper, vmm):
        return None
    listener = keeper.memory.listener if keeper.memory.hears else None
    failure = (keeper.memory.cause, keeper.memory.message)
    return report.target_report(view, listener, keeper.context.node_lease.incarnation, failure)

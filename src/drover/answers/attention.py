"""What needs a person, or may need one, in the sentences of ``why``: one for each thing that is wrong. Pure.

What mends itself in the usual time is not among it: a VM that starts, a move that runs, a failure that is old or that
somebody has followed up.
"""

from __future__ import annotations

from collections.abc import Iterable

from drover.answers import lost, moving, node, start
from drover.answers.because import Because, Ref, Topic
from drover.answers.world import World
from drover.api import conditions, scheme
from drover.api.kinds import rebalance as plans
from drover.api.kinds import vm as vms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.rebalance import DeschedulerCondition
from drover.api.kinds.vm import VmCondition, VmPhase
from drover.api.kinds.vmop import VmopPhase
from drover.api.meta import name_of, namespace_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339

USUAL_S = 60.0  # a start or a stop that takes longer is told of
RECENT_S = 3600.0  # a failed operation is told of for so long
_AT_REST = (VmPhase.RUNNING, VmPhase.MIGRATING, VmPhase.STOPPED)


def needs_attention(world: World, closed: Iterable[str]) -> list[Because]:
    """Nodes first; ``closed`` are those that take no VMs, or are gone."""
    found = [one for name in closed for one in _of_node(world, name)]
    found += [one for obj in world.all(scheme.NODE) for one in node.unconfined(obj)]
    found += [one for vm in world.all(scheme.VM) for one in _of_vm(world, vm)]
    found += [one for vmop in world.all(scheme.VMOP) for one in _of_operation(world, vmop)]
    return [*found, *_rebalancing(world)]


def _of_node(world: World, name: str) -> list[Because]:
    silent = lost.fencing(world, name)
    return silent or [one for one in node.explain(world, name) if one.way_out][:1]


def _of_vm(world: World, vm: Object) -> list[Because]:
    said = []
    if vms.phase(vm) not in _AT_REST and _long_so(world, vm):
        said = start.why_not_running(world, vm)
    elif conditions.is_true(vm, VmCondition.EVACUATION_BLOCKED):
        said = moving.asked(world, vm)
    elif conditions.is_true(vm, VmCondition.AWAITING_RESTART):
        said = [_awaits_restart(vm)]
    return [_named(one, vm) for one in said if one.way_out][:1]


def _long_so(world: World, vm: Object) -> bool:
    """Whether it has been on the way to another phase for longer than that takes."""
    since = ""
    for entry in (vms.status(vm).get("stats") or {}).get("phasesTransitions") or ():
        rests = entry["phase"] in _AT_REST
        since = "" if rests else since or str(entry["timestamp"])
    since = since or str(vm["metadata"].get("creationTimestamp") or "")
    return not since or world.now_s - parse_rfc3339(since) > USUAL_S


def _of_operation(world: World, vmop: Object) -> list[Because]:
    if vmops.phase(vmop) is not VmopPhase.FAILED or not _last(world, vmop):
        return []
    said = conditions.get_condition(vmop, vmops.VmopCondition.COMPLETED) or {}
    since = said.get("lastTransitionTime") or vmop["metadata"].get("creationTimestamp")
    if since and world.now_s - parse_rfc3339(str(since)) > RECENT_S:
        return []
    name, space = name_of(vmop), namespace_of(vmop)
    words = f"{vmops.type_of(vmop)} {key_of(vmop)} of {vmops.vm_name(vmop)} failed"
    reason = str(said.get("message") or said.get("reason") or "")
    words += f": {reason.rstrip('.')}" if reason else ""
    rule = "an operation that failed is tried again only by who asked for it"
    way = f"`drover why {name} -n {space}` tells more"
    return [Because(Topic.OPERATION, words, rule, (Ref.of(scheme.VMOP, vmop),), way)]


def _last(world: World, vmop: Object) -> bool:
    """Whether nothing was asked of its VM since."""
    vm = world.vm(vmops.vm_key(vmop))
    return vm is not None and world.operations_of(vm)[-1] is vmop


def _named(one: Because, vm: Object) -> Because:
    """With the VM's name in front: the answer will stand among those of others."""
    if key_of(vm) in one.says:
        return one
    return Because(one.about, f"{key_of(vm)}: {one.says}", one.rule, one.objects, one.way_out)


def _awaits_restart(vm: Object) -> Because:
    words = f"{key_of(vm)} runs with an earlier specification"
    rule = "what cannot be changed in a running guest is applied at its next start"
    way = f"`drover restart {name_of(vm)} -n {namespace_of(vm)}`"
    return Because(Topic.RESTART, words, rule, (Ref.of(scheme.VM, vm),), way)


def _rebalancing(world: World) -> list[Because]:
    found = []
    for plan in world.all(scheme.REBALANCEPLAN):
        if plans.open_(plan) and not plans.approved(plan):
            words = f"{name_of(plan)} waits for a person; moves in it: {len(plans.moves(plan))}"
            rule = "a plan in mode Approve waits for a person"
            way = f"`drover rebalance plan` shows it; set spec.approved of {name_of(plan)} to true"
            ref = Ref.of(scheme.REBALANCEPLAN, plan)
            found.append(Because(Topic.PLAN, words, rule, (ref,), way))
    for one in world.all(scheme.DESCHEDULER):
        said = conditions.get_condition(one, DeschedulerCondition.PROGRESSING) or {}
        if said.get("status") == conditions.FALSE:
            words = f"rebalancing gets nowhere: {said.get('message') or said.get('reason')}"
            rule = (
                "a node over a threshold is relieved by moves, as far as the rules of its VMs allow"
            )
            ref = Ref.of(scheme.DESCHEDULER, one)
            way = "`drover rebalance status` tells what is in the way"
            found.append(Because(Topic.PLAN, words.rstrip("."), rule, (ref,), way))
    return found

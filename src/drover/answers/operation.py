"""How an operation stands, and why it does not go on. Pure."""

from __future__ import annotations

from drover.answers import place
from drover.answers.asking import Names, answer
from drover.answers.because import Because, Ref, Topic
from drover.answers.rules import VMOP_RULES
from drover.answers.world import World
from drover.api import conditions, scheme
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vmop import VmopCondition, VmopPhase, VmopReason
from drover.api.meta import is_deleting, name_of, namespace_of
from drover.api.names import VmmPhase
from drover.api.wire import Object
from drover.base.words import some_of
from drover.controllers.planning import pod_of
from drover.planner import fit

_WAITS = (VmopReason.MIGRATION_PENDING, VmopReason.WAITING_FOR_SYNC_SLOT)
_ACROSS = (VmmPhase.SCHEDULING, VmmPhase.PREPARING, VmmPhase.READY, VmmPhase.COPYING)


def explain(world: World, vmop: Object) -> list[Because]:
    """What its condition Completed says, with what is behind it."""
    said = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
    reason, message = str(said.get("reason", "")), str(said.get("message", ""))
    me, phase = Ref.of(scheme.VMOP, vmop), vmops.phase(vmop)
    head = f"{vmops.type_of(vmop)} {name_of(vmop)} is {phase or 'not looked at yet'}"
    if is_deleting(vmop) and not vmops.finished(vmop):
        why = "deleting an operation aborts it, until its guest is past the hand-over"
        return [Because(Topic.OPERATION, f"{head}: it is being deleted", why, (me,))]
    if phase is None:
        way = "`drover status` tells whether the controllers run"
        return [
            Because(
                Topic.OPERATION,
                head,
                "the vmop controller looks at every operation within a moment",
                (me,),
                way,
            )
        ]
    if phase is VmopPhase.COMPLETED:
        return [Because(Topic.OPERATION, f"{head}: {message}", "it is done", (me,))]
    rule = VMOP_RULES.get(reason)
    if rule is None:
        return [Because(Topic.OPERATION, f"{head}: {message or reason}", "", (me,))]
    names = Names(vmops.vm_name(vmop), namespace_of(vmop), operation=name_of(vmop))
    refs, more, way = _behind(world, vmop, reason)
    words = "; ".join([f"{head}: {(message or rule.says).rstrip('.')}", *more])
    return [answer(rule, words, names, me, *refs, way_out=way)]


def _behind(world: World, vmop: Object, reason: str) -> tuple[list[Ref], list[str], str]:
    """Objects, words and a better way out than the rule's."""
    space = namespace_of(vmop)
    refs = [Ref(scheme.VM.kind, vmops.vm_name(vmop), space)]
    move = world.move_of(vmop)
    if reason in (VmopReason.NOT_READY_TO_BE_EXECUTED, VmopReason.OTHER_MIGRATION_IN_PROGRESS):
        others = _others(world, vmop)
        refs += [Ref.of(scheme.VMOP, other) for other in others]
        open_ = [f"{name_of(other)} goes on" for other in others]
        return refs, open_, ""
    if move is None:
        return refs, [], ""
    refs.append(Ref(scheme.NODE.kind, vmms.source_node(move)))
    if vmms.target_node(move):
        refs.append(Ref(scheme.NODE.kind, vmms.target_node(move)))
    if reason in _WAITS:
        ahead = _ahead(world, move)
        refs += [Ref(scheme.VMOP.kind, vmms.operation_name(m), namespace_of(m)) for m in ahead]
        names = [vmms.vm_key(m) for m in ahead]
        return refs, [f"on their way now: {some_of(names)}"] if names else [], ""
    if reason == VmopReason.TARGET_UNSCHEDULABLE and not vmms.final(move):
        return _homeless(world, move, refs)
    return refs, [], ""


def _homeless(world: World, move: Object, refs: list[Ref]) -> tuple[list[Ref], list[str], str]:
    pod = world.get(scheme.POD, vmms.target_pod_name(move), namespace_of(move))
    if pod is None or pods.node_name(pod):
        return refs, [], ""
    found = fit(world.picture, pod_of(pod, comes=True))
    source = vmms.source_node(move)
    told = place.refusals(found, source)
    more = [told] if told and told != found.message else []
    return [*refs, Ref.of(scheme.POD, pod)], more, place.way_out(found, source)


def _others(world: World, vmop: Object) -> list[Object]:
    return [
        other
        for other in world.all(scheme.VMOP)
        if namespace_of(other) == namespace_of(vmop)
        and vmops.vm_name(other) == vmops.vm_name(vmop)
        and name_of(other) != name_of(vmop)
        and not vmops.finished(other)
    ]


def _ahead(world: World, move: Object) -> list[Object]:
    """Moves that hold slots now."""
    return [
        other
        for other in world.all(scheme.VMM)
        if vmms.phase(other) in _ACROSS and other["metadata"]["name"] != move["metadata"]["name"]
    ]


def unfinished(world: World, vm: Object) -> list[Because]:
    """Of a VM: what goes on, and its newest failure if nothing has succeeded since."""
    ops = world.operations_of(vm)
    going = [op for op in ops if not vmops.finished(op)]
    if going:
        return [one for op in going for one in explain(world, op)]
    return explain(world, ops[-1]) if ops and vmops.phase(ops[-1]) is VmopPhase.FAILED else []

"""Why a VM is to leave its node, why it does not, and whether it could. Pure."""

from __future__ import annotations

from drover.answers import lost, operation, place
from drover.answers.asking import answer
from drover.answers.because import Because, Ref, Topic
from drover.answers.rules import BLOCKED_RULES, VM_RULES
from drover.answers.start import names_of
from drover.answers.world import World
from drover.api import conditions, firmware, placement, scheme
from drover.api.evacuation import blocked_of, mark_of
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds.vm import VmCondition, VmPhase, VmReason
from drover.api.meta import annotations_of, name_of
from drover.api.wire import Object


def why_moves(world: World, vm: Object) -> list[Because]:
    """What goes on, what is asked of it, and where it could go."""
    found, pod = asked(world, vm), world.holder_pod(vm)
    if pod is None:
        return found
    found += _outdated(world, vm)
    found += _misplaced(world, vm, pod)
    found += _cannot(vm)
    here = world.get(scheme.NODE, pods.node_name(pod))
    ready = here is not None and nodes.ready(here) and not lost.fencing(world, name_of(here))
    runs = ready and vms.phase(vm) is VmPhase.RUNNING
    if runs and not any(one.about is Topic.DRAIN for one in found):
        found += place.elsewhere(world, vm)
    return found


def asked(world: World, vm: Object) -> list[Because]:
    """The operation on it, and an eviction."""
    pod = world.holder_pod(vm)
    found = operation.unfinished(world, vm)
    return found if pod is None else found + _evicted(world, vm, pod)


def _evicted(world: World, vm: Object, pod: Object) -> list[Because]:
    mark, blocked = mark_of(pod), blocked_of(pod)
    if mark is None:
        return []
    names = names_of(vm, pods.node_name(pod))
    refs = (
        Ref.of(scheme.VM, vm),
        Ref(scheme.NODE.kind, pods.node_name(pod)),
        Ref.of(scheme.POD, pod),
    )
    if blocked is not None and blocked.reason in BLOCKED_RULES:
        words = f"It was asked to leave {pods.node_name(pod)} and cannot: {blocked.message}"
        return [answer(BLOCKED_RULES[blocked.reason], words, names, *refs)]
    rule = VM_RULES[VmReason.EVICTION_REQUIRED]
    way = names.fill(rule.way_out) if mark.cordoned else "wait"
    return [answer(rule, f"It was asked to leave {pods.node_name(pod)}", names, *refs, way_out=way)]


def _outdated(world: World, vm: Object) -> list[Because]:
    said = conditions.get_condition(vm, VmCondition.FIRMWARE_UP_TO_DATE) or {}
    if said.get("status") != conditions.FALSE:
        return []
    config = world.config
    rollout = (
        (conditions.get_condition(config, firmware.ROLLED_OUT) or {}) if config is not None else {}
    )
    words = str(said.get("message", "")).rstrip(".")
    refs = [Ref.of(scheme.VM, vm)]
    if config is not None and rollout.get("reason"):
        words += f"; rollout {rollout['reason']}: {str(rollout.get('message', '')).rstrip('.')}"
        refs.append(Ref.of(scheme.MODULECONFIG, config))
    return [answer(VM_RULES[VmReason.FIRMWARE_OUT_OF_DATE], words, names_of(vm), *refs)]


def _misplaced(world: World, vm: Object, pod: Object) -> list[Because]:
    """Its rules were changed since its Pod was made."""
    vmclass, made_from = (
        world.class_of(vm),
        annotations_of(pod).get(placement.DIGEST_ANNOTATION, ""),
    )
    if vmclass is None or not made_from or made_from == placement.digest(vm, vmclass):
        return []
    rule = "a VM whose node does not satisfy its rules any more is moved to one that does"
    words = "Its placement was changed since it came to its node"
    return [
        Because(Topic.MOVE, words, rule, (Ref.of(scheme.VM, vm), Ref.of(scheme.VMCLASS, vmclass)))
    ]


def _cannot(vm: Object) -> list[Because]:
    said = conditions.get_condition(vm, VmCondition.MIGRATABLE) or {}
    rule = VM_RULES.get(str(said.get("reason", "")))
    if said.get("status") != conditions.FALSE or rule is None:
        return []
    return [answer(rule, str(said.get("message", "")), names_of(vm), Ref.of(scheme.VM, vm))]

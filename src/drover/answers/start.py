"""Why a VM does not run, or why its guest was started or will be started anew. Pure.

The conditions say most of it. What they leave out is read from where it is known: the objects that a start waits for
(disk, image, address), the planner's word on each node, the VM's power memory and its lease's last reason.
"""

from __future__ import annotations

from drover.answers import place
from drover.answers.asking import Names, answer
from drover.answers.because import Because, Ref, Topic
from drover.answers.rules import TROUBLES, VM_QUIET, VM_RULES, Rule
from drover.answers.world import DEVICES, World
from drover.api import conditions, scheme
from drover.api.kinds import disk as vdisks
from drover.api.kinds import pod as pods
from drover.api.kinds import vm as vms
from drover.api.kinds import vml as vmls
from drover.api.kinds.disk import DiskCondition
from drover.api.kinds.image import ImageCondition
from drover.api.kinds.ip import IpCondition
from drover.api.kinds.vm import DeviceKind, RunPolicy, VmCondition, VmPhase, VmReason
from drover.api.meta import is_deleting, name_of, namespace_of, uid_of
from drover.api.names import LastReason
from drover.api.wire import Object
from drover.controllers.planning import pod_of
from drover.controllers.vm.power import Power
from drover.controllers.vm.status import LEASE_LOST
from drover.controllers.vm.view import RESTART_REQUEST, STOP_REQUEST
from drover.planner import fit

# Findings that keep a VM from starting, in the order users read them.
_NEEDS = (
    VmCondition.IP_ADDRESS_READY,
    VmCondition.CLASS_READY,
    VmCondition.SIZING_POLICY_MATCHED,
    VmCondition.BLOCK_DEVICES_READY,
    VmCondition.PROVISIONING_READY,
)


def names_of(vm: Object, node: str = "") -> Names:
    return Names(name_of(vm), namespace_of(vm), node)


def why_not_running(world: World, vm: Object) -> list[Because]:
    """Empty: its guest runs."""
    me = Ref.of(scheme.VM, vm)
    if is_deleting(vm):
        words = f"It is being deleted; finalizers that are left: {', '.join(vm['metadata'].get('finalizers') or ())}"
        return [
            Because(
                Topic.START,
                words,
                "a VM goes when its guest has ended and its lease is released",
                (me,),
            )
        ]
    if vms.phase(vm) is None:
        rule = "the vm controller looks at every VM within a moment"
        words = "No controller has looked at it yet"
        return [
            Because(
                Topic.START, words, rule, (me,), "`drover status` tells whether the controllers run"
            )
        ]
    running = conditions.get_condition(vm, VmCondition.RUNNING) or {}
    found = (
        _needs(world, vm) if vms.phase(vm) is VmPhase.PENDING or not world.holder_pod(vm) else []
    )
    power = _power(vm)
    if (
        world.lease(vm) is None
        and power is not None
        and power.lease
        and scheme.VML.kind not in world.missing
    ):
        # The phase stays what it was: the guest may well run on.
        return [answer(VM_RULES[VmReason.INTERNAL_ERROR], LEASE_LOST, names_of(vm), me)]
    if running.get("status") == conditions.TRUE:
        return []
    if running.get("reason") == VmReason.NOT_RUNNING:
        return _not_wanted(world, vm, str(running.get("message", "")), found)
    return [*found, *_condition(world, vm, running)]


def _power(vm: Object) -> Power | None:
    return Power.load(dict(vms.status(vm).get("power") or {}))


def _condition(world: World, vm: Object, running: Object) -> list[Because]:
    """Running is False for a reason of its own."""
    reason, said = str(running.get("reason", "")), str(running.get("message", ""))
    me, pod, lease = Ref.of(scheme.VM, vm), world.holder_pod(vm), world.lease(vm)
    node = vmls.node(lease) if lease is not None else ""
    names = names_of(vm, node)
    if reason in (VmReason.POD_NOT_STARTED, VmReason.NO_CAPACITY):
        return [_unscheduled(world, vm, VM_RULES[reason], said)]
    rule = VM_RULES.get(reason)
    if rule is None:
        return []
    refs = [me]
    trouble, message = pods.trouble(pod) if pod is not None else ("", "")
    if pod is not None:
        refs.append(Ref.of(scheme.POD, pod))
    if node:
        refs.append(Ref(scheme.NODE.kind, node))
    if trouble in TROUBLES:
        rule, said = TROUBLES[trouble], message
    return [answer(rule, said, names, *refs)]


def _unscheduled(world: World, vm: Object, rule: Rule, said: str) -> Because:
    """With each node's refusal, where the planner can tell; the quota's words where no Pod could be made."""
    me = Ref.of(scheme.VM, vm)
    starters = [p for p in world.pods_of(vm) if not pods.ended(p) and not pods.node_name(p)]
    if not starters:
        return answer(
            rule, said, names_of(vm), me, way_out="raise the quota, or mend what the message names"
        )
    pod = starters[-1]
    found = fit(world.picture, pod_of(pod, comes=True))
    nodes = place.refusals(found)
    words = f"{said.rstrip('.')} ({nodes})" if nodes and nodes != found.message else said
    return answer(
        rule, words, names_of(vm), me, Ref.of(scheme.POD, pod), way_out=place.way_out(found)
    )


def _needs(world: World, vm: Object) -> list[Because]:
    found = []
    for kind in _NEEDS:
        said = conditions.get_condition(vm, kind) or {}
        reason = str(said.get("reason", ""))
        if said.get("status") != conditions.FALSE or reason in VM_QUIET or reason not in VM_RULES:
            continue
        refs, more = _behind(world, vm, kind)
        words = "; ".join([str(said.get("message", "")), *more])
        found.append(answer(VM_RULES[reason], words, names_of(vm), Ref.of(scheme.VM, vm), *refs))
    return found


def _behind(world: World, vm: Object, kind: str) -> tuple[list[Ref], list[str]]:
    """The objects that a need is about, and what their own conditions say."""
    space = namespace_of(vm)
    if kind == VmCondition.IP_ADDRESS_READY:
        name = vms.ip_claim_name(vm) or name_of(vm)
        claim = world.get(scheme.VMIP, name, space)
        words = _said(claim, IpCondition.BOUND)
        return [Ref(scheme.VMIP.kind, name, space)], [words] if words else []
    if kind == VmCondition.CLASS_READY or kind == VmCondition.SIZING_POLICY_MATCHED:
        vmclass = world.class_of(vm)
        return ([Ref.of(scheme.VMCLASS, vmclass)] if vmclass is not None else []), []
    if kind != VmCondition.BLOCK_DEVICES_READY:
        return [], []
    refs, told = [], []
    for ref in vms.devices(vm):
        where = DEVICES[ref.kind]
        obj = world.get(where, ref.name, space)
        words = _said(
            obj, DiskCondition.READY if ref.kind is DeviceKind.DISK else ImageCondition.READY
        )
        if obj is None or words or _taken(vm, ref.kind, obj):
            refs.append(Ref(where.kind, ref.name, space if where.namespaced else ""))
        if words:
            told.append(f'{where.kind} "{ref.name}": {words}')
    return refs, told


def _taken(vm: Object, kind: DeviceKind, obj: Object) -> bool:
    """A disk in another VM's hands."""
    holder = vdisks.held_by(obj) if kind is DeviceKind.DISK else None
    return holder is not None and holder[1] != uid_of(vm)


def _said(obj: Object | None, kind: str) -> str:
    """Of a condition that does not hold."""
    said = conditions.get_condition(obj, kind) if obj is not None else None
    if said is None or said.get("status") != conditions.FALSE:
        return ""
    return str(said.get("message") or said.get("reason") or "").rstrip(".")


def _not_wanted(world: World, vm: Object, said: str, needs: list[Because]) -> list[Because]:
    """It is off, or about to start."""
    me, policy = Ref.of(scheme.VM, vm), vms.run_policy(vm)
    power = _power(vm)
    if power is None or power.wanted:
        return needs or [_starting(world, vm, power, said)]
    start = f"`drover start {name_of(vm)} -n {namespace_of(vm)}`"
    table = "runPolicy and the end of the last run decide whether a VM starts again"
    if policy is RunPolicy.ALWAYS_OFF:
        rule = "runPolicy AlwaysOff keeps a VM stopped"
        return [
            Because(
                Topic.START, "Its runPolicy is AlwaysOff", rule, (me,), "change spec.runPolicy"
            ),
            *needs,
        ]
    asked = power.handled.get(STOP_REQUEST, "")
    if asked and power.last_request == asked:
        op = asked.partition(";")[0]
        ref = Ref(scheme.VMOP.kind, op, namespace_of(vm))
        words = f"It was stopped by operation {op}"
        return [
            Because(
                Topic.START,
                words,
                "a VM that was stopped stays stopped until it is started",
                (me, ref),
                start,
            )
        ]
    lease = world.lease(vm)
    reason = vmls.last_reason(lease) if lease is not None else ""
    if reason:
        words = f"{said or f'The last run ended with {reason}'}, and runPolicy {policy} leaves it stopped"
        return [Because(Topic.START, words, table, (me,), start), *needs]
    return [
        Because(
            Topic.START,
            f"It was never started; runPolicy {policy} waits for you",
            table,
            (me,),
            start,
        ),
        *needs,
    ]


def _starting(world: World, vm: Object, power: Power | None, said: str) -> Because:
    me = Ref.of(scheme.VM, vm)
    if power is not None and power.not_before_s > world.now_s:
        rule = (
            "a guest that crashes is started again after a wait that grows from 10 s to 5 minutes"
        )
        way = f"`drover k logs` of its Pod shows what it last wrote; `drover stop {name_of(vm)}` ends the tries"
        words = said or f"Waiting after {power.failures} failures in a row"
        return Because(Topic.RESTART, words, rule, (me,), way)
    return Because(
        Topic.START, "It is about to start", "a VM that is wanted starts as soon as it can", (me,)
    )


def why_restarted(world: World, vm: Object) -> list[Because]:
    """What ended its former run, for a VM that runs again; and what waits for its next restart."""
    me, lease, found = Ref.of(scheme.VM, vm), world.lease(vm), []
    reason = vmls.last_reason(lease) if lease is not None and not vmls.released(lease) else ""
    power = _power(vm)
    if power is not None and power.restart:
        op = power.handled.get(RESTART_REQUEST, "").partition(";")[0]
        words = "It is being restarted" + (f" by operation {op}" if op else "")
        found.append(
            Because(Topic.RESTART, words, "a restart is a stop, and a start in a new Pod", (me,))
        )
    elif reason in _ENDS:
        words = f"Its former run ended with {reason}: {_ENDS[reason]}"
        rule = f"runPolicy {vms.run_policy(vm)} starts a VM again after that"
        found.append(Because(Topic.RESTART, words, rule, (me,)))
    pending = conditions.get_condition(vm, VmCondition.AWAITING_RESTART) or {}
    if pending.get("status") == conditions.TRUE:
        fields = ", ".join(
            str(one["path"]) for one in vms.status(vm).get("restartAwaitingChanges") or ()
        )
        words = f"{str(pending.get('message', '')).rstrip('.')}: {fields}"
        found.append(answer(VM_RULES[VmReason.CHANGES_PENDING_RESTART], words, names_of(vm), me))
    return found


_ENDS = {
    LastReason.GUEST_SHUTDOWN: "the guest shut down by itself",
    LastReason.GUEST_RESET: "the guest asked for a reset",
    LastReason.GUEST_PANICKED: "the guest's kernel panicked",
    LastReason.CRASHED: "its QEMU died",
    LastReason.STOPPED: "it was stopped, and the guest shut down in time",
    LastReason.STOPPED_FORCED: "it was stopped, and killed after the grace period",
    LastReason.POD_DELETED: "somebody deleted its Pod",
    LastReason.START_FAILED: "its QEMU never ran",
    LastReason.RESET_DURING_MIGRATION: "the guest reset while it was moved",
    LastReason.NODE_RESTARTED: "its node booted anew",
    LastReason.NODE_LOST: "its node was lost",
    LastReason.RESTORED: "a backup of the cluster was restored in which it ran",
}

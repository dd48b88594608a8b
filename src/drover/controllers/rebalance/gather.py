"""Reads the caches into a ``RebalanceView``. Nothing is read while the module is off and no plan is open.

``look`` takes what the caches hold, on the loop; ``view`` makes the rest of it, which takes a second in a cluster of
20,000 VMs, and may be done beside the loop: it reads no cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drover.api import conditions, names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import rebalance as kinds
from drover.api.kinds import vm as vms
from drover.api.kinds import vmop as vmops
from drover.api.kinds.rebalance import StepState
from drover.api.kinds.vm import VmCondition
from drover.api.kinds.vmop import Origin, VmopCondition, VmopPhase
from drover.api.meta import annotations_of, is_deleting, name_of, uid_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339
from drover.controllers.current import CurrentSettings
from drover.controllers.rebalance import past
from drover.controllers.rebalance.guests import Objects
from drover.controllers.rebalance.policy import Policy, read
from drover.controllers.rebalance.problem import Problem, pose, reader
from drover.controllers.rebalance.revalidate import Arrival, objection
from drover.controllers.rebalance.view import Operation, PlanView, RebalanceView, Step, StepView
from drover.controllers.settings import Settings
from drover.runtime.manager import Manager

POLICY_ANNOTATION = "drover.dev/policy"  # on a plan: digest of what it was made by


@dataclass(frozen=True)
class Look:
    """The caches at one moment."""

    objects: Objects
    policy: Policy
    settings: Settings
    descheduler: Object | None
    now_s: float  # wall
    at_s: float  # monotonic

    @property
    def plan(self) -> Object | None:
        """The open one, as it was read: what is written to it must land on this very version."""
        return _open(self.objects.plans)


class Caches:
    """The informers of the rebalancer, and since when each trouble stands."""

    def __init__(self, manager: Manager) -> None:
        self._clock = manager.clock
        self.settings = CurrentSettings(manager)
        self.module_configs = self.settings.informer
        self.deschedulers = manager.informer(scheme.DESCHEDULER)
        self.plans = manager.informer(scheme.REBALANCEPLAN)
        self.nodes = manager.informer(scheme.NODE)
        self.pods = manager.informer(scheme.POD)
        self.vms = manager.informer(scheme.VM)
        self.vmops = manager.informer(scheme.VMOP)
        self._namespaces = manager.informer(scheme.NAMESPACE)
        self._classes = manager.informer(scheme.VMCLASS)
        self._priorities = manager.informer(scheme.PRIORITYCLASS)
        self._vmms = manager.informer(scheme.VMM)
        self._snapshots = reader()
        self._since: dict[str, float] = {}

    def policy(self) -> Policy:
        module = self.module_configs.get(names.REBALANCE_MODULE)
        return read(module, self.descheduler(), self._priorities.all())

    def descheduler(self) -> Object | None:
        return self.deschedulers.get(names.DESCHEDULER)

    def open_plan(self) -> Object | None:
        return _open(self.plans.all())

    def look(self) -> Look:
        objects = Objects(
            nodes=self.nodes.all(),
            pods=self.pods.all(),
            namespaces=self._namespaces.all(),
            vms=self.vms.all(),
            classes=self._classes.all(),
            vmops=self.vmops.all(),
            vmms=self._vmms.all(),
            plans=self.plans.all(),
        )
        return Look(
            objects,
            self.policy(),
            self.settings.now(),
            self.descheduler(),
            self._clock.wall(),
            self._clock.monotonic(),
        )

    def view(self, look: Look) -> tuple[RebalanceView, Problem]:
        """The problem is the one that the view was made of, with what is not ripe held back."""
        objects, policy, now_s = look.objects, look.policy, look.now_s
        problem = pose(objects, policy, now_s, self._snapshots)
        plan = look.plan
        told = plan_view(plan, self._operations(objects.vmops, plan), policy) if plan else None
        view = RebalanceView(
            now_s=now_s,
            policy=policy,
            plan=told,
            strangers=tuple(self._strangers(objects, plan)),
            hindrance="",
            budget_in_s=_budget_in_s(problem.past, policy, now_s),
            resting_s=max(problem.gone_s - now_s, 0.0) if problem.gone_s else 0.0,
        )
        if not policy.enabled or policy.problems:
            return view, problem
        view, problem = self._with_trouble(view, problem, look)
        if told is None or told.next is None:
            return view, problem
        arrivals = [_arrival(one, objects.pods) for one in told.moving]
        hindrance = hindrance_of(objects, look.settings, told.next.step)
        known = [arrival for arrival in arrivals if arrival is not None]
        step = told.next.step
        objects_to = objection(problem, step, known, told.goes_on(step.vm))
        return replace(view, hindrance=hindrance, objection=objects_to), problem

    def _with_trouble(
        self, view: RebalanceView, problem: Problem, look: Look
    ) -> tuple[RebalanceView, Problem]:
        state, now_s = problem.state, look.at_s
        keys = [f"node {node}" for node in state.overloaded]
        keys += [f"{pod} {rule}" for pod, rules in state.broken.items() for rule in rules]
        self._since = {key: self._since.get(key, now_s) for key in keys}
        ages = {key: now_s - since for key, since in self._since.items()}
        settle_s = view.policy.settle_s
        oldest = max(ages.values(), default=0.0)
        unripe = frozenset(node for node in state.overloaded if ages[f"node {node}"] < settle_s)
        view = replace(
            view,
            overloaded=state.overloaded,
            broken=len(keys) - len(state.overloaded),
            ripe=bool(keys) and oldest >= settle_s,
            ripe_in_s=max(settle_s - oldest, 0.0),
            idle_s=_idle_s(look) if keys else 0.0,
        )
        return view, problem.holding(unripe) if unripe else problem

    def _operations(self, all_vmops: Iterable[Object], plan: Object) -> dict[str, Operation]:
        name = name_of(plan)
        return {
            key_of(vmop): _operation(vmop) for vmop in all_vmops if past.plan_name(vmop) == name
        }

    def _strangers(self, objects: Objects, plan: Object | None) -> Iterable[Operation]:
        """Of a plan that is over, made late; one that copies already is let go on."""
        open_name = name_of(plan) if plan is not None else ""
        copies = {key_of(vm) for vm in objects.vms if vms.phase(vm) is vms.VmPhase.MIGRATING}
        for vmop in objects.vmops:
            made_by = past.plan_name(vmop)
            over = made_by and made_by != open_name and not vmops.finished(vmop)
            if over and vmops.vm_key(vmop) not in copies and not is_deleting(vmop):
                yield _operation(vmop)


def _open(plans: Iterable[Object]) -> Object | None:
    """The newest, should there be two."""
    found = [plan for plan in plans if kinds.open_(plan)]
    return max(found, key=kinds.number) if found else None


def _idle_s(look: Look) -> float:
    """Since the trouble began or a move has arrived, whichever is later; 0 when that is not known yet."""
    told = look.descheduler or {}
    balanced = conditions.get_condition(told, kinds.DeschedulerCondition.BALANCED) or {}
    if balanced.get("status") != conditions.FALSE:
        return 0.0
    arrived = [
        str(step["endedAt"])
        for plan in look.objects.plans
        for step in kinds.steps(plan)
        if step["state"] == StepState.DONE and step.get("endedAt")
    ]
    since = max([str(balanced["lastTransitionTime"]), *arrived])
    return max(look.now_s - parse_rfc3339(since), 0.0)


def plan_view(plan: Object, operations: Mapping[str, Operation], policy: Policy) -> PlanView:
    """``operations``: those of this plan, by key."""
    begun = kinds.steps(plan)  # in the order of the moves
    return PlanView(
        name=name_of(plan),
        phase=kinds.phase(plan),
        mode=kinds.mode(plan),
        approved=kinds.approved(plan),
        steps=tuple(
            _step(number, move, begun[number] if number < len(begun) else None, operations)
            for number, move in enumerate(kinds.moves(plan))
        ),
        same_policy=annotations_of(plan).get(POLICY_ANNOTATION) == policy.digest,
        rest=int(kinds.spec(plan)["movesTotal"]) - len(kinds.moves(plan)),
    )


def _step(
    number: int,
    move: Mapping[str, Any],
    begun: Mapping[str, Any] | None,
    operations: Mapping[str, Operation],
) -> StepView:
    step, why = Step.of(move), str(move.get("why", ""))
    if begun is None:
        return StepView(number, step, why)
    namespace, _ = scheme.split_key(step.vm)
    return StepView(
        number,
        step,
        why,
        StepState(begun["state"]),
        str(begun.get("uid", "")),
        operations.get(f"{namespace}/{begun['operation']}"),
    )


def _operation(vmop: Object) -> Operation:
    completed = conditions.get_condition(vmop, VmopCondition.COMPLETED) or {}
    return Operation(
        key_of(vmop),
        uid_of(vmop),
        vmops.phase(vmop),
        str(completed.get("message", "")),
        str(vmop["metadata"]["resourceVersion"]),
    )


def _arrival(one: StepView, all_pods: Iterable[Object]) -> Arrival | None:
    """None: the VM has arrived, or is gone."""
    source, bound = "", False
    for pod in all_pods:
        if pods.vm_key(pod) != one.step.vm or pods.ended(pod):
            continue
        if pods.node_name(pod) == one.step.source:
            source = key_of(pod)
        bound = bound or pods.node_name(pod) == one.step.target
    return Arrival(one.step.vm, source, one.step.target, bound) if source else None


def _budget_in_s(known: past.Past, policy: Policy, now_s: float) -> float:
    if known.moves_of_hour < policy.moves_per_hour:
        return 0.0
    return max(known.oldest_of_hour_s + past.HOUR_S - now_s, 1.0)


def hindrance_of(objects: Objects, settings: Settings, step: Step) -> str:
    """Why nothing new may begin: others go first, and no operation is made to wait in a queue for its slot, where it
    would grow old."""
    moving = [op for op in objects.vmops if vmops.is_migration(op) and not vmops.finished(op)]
    first = _goes_first(objects, moving)
    if first:
        return f"{first} goes first"
    if len(moving) >= settings.cluster_most(sum(map(nodes.for_vms, objects.nodes))):
        return "all migration slots are taken"
    where = {key_of(vm): vms.node_name(vm) for vm in objects.vms}
    leaving = sum(where.get(vmops.vm_key(op)) == step.source for op in moving)
    if leaving >= settings.outbound_per_node:
        return f"the outbound slots of {step.source} are taken"
    coming = sum(_to(op) == step.target for op in moving)
    if coming >= settings.inbound_per_node:
        return f"the inbound slots of {step.target} are taken"
    return ""


def _goes_first(objects: Objects, moving: Iterable[Object]) -> str:
    """An operation of others that waits, or a VM that is asked to leave its node and can."""
    for vmop in moving:
        waits = vmops.phase(vmop) in (None, VmopPhase.PENDING)
        if waits and vmops.origin(vmop).rank < Origin.REBALANCE.rank:
            return f"operation {key_of(vmop)}"
    for vm in objects.vms:
        leaves = conditions.is_true(vm, VmCondition.EVICTION_REQUIRED)
        if leaves and not conditions.is_true(vm, VmCondition.EVACUATION_BLOCKED):
            return f"{key_of(vm)}, which is asked to leave its node,"
    return ""


def _to(vmop: Object) -> str:
    return vmops.node_selector(vmop).get(names.HOSTNAME_LABEL, "")

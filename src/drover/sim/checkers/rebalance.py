"""What holds of the rebalancer in every story, seen from outside: from the store, not from its plans.

A node's room is counted here anew, from the requests of Pods. A move may be decided on a picture that is a moment old;
so a target that somebody else filled lately is not held against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api import names
from drover.api.kinds import pod as pods
from drover.api.kinds import rebalance as kinds
from drover.api.kinds import vmop as vmops
from drover.api.meta import name_of
from drover.api.scheme import DESCHEDULER, MODULECONFIG, NODE, POD, REBALANCEPLAN, VMOP, key_of
from drover.base.quantity import cpu_milli
from drover.controllers.rebalance.guests import Objects
from drover.controllers.rebalance.policy import Policy, read
from drover.controllers.rebalance.problem import WITHOUT_PROOF, Problem, pose
from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.sim.api.store import Change
    from drover.sim.scenario import Scenario

LATELY_S = 60.0


class OnePlan(Checker):
    name = "one plan is open at a time"

    def on_step(self) -> str:
        found = [p for p in self.world.api.store.all(REBALANCEPLAN) if kinds.open_(p)]
        return f"{[name_of(plan) for plan in found]} are open" if len(found) > 1 else ""


class OnlyPlanned(Checker):
    """No operation but by a step of an open plan, to the node that the plan names."""

    name = "the rebalancer moves only what an open plan says"

    def on_change(self, change: Change) -> str:
        vmop = change.new
        if change.kind != VMOP or change.old is not None or vmop is None or not _ours(vmop):
            return ""
        plan = self.world.find(REBALANCEPLAN, _plan(vmop)) or {}
        vm = vmops.vm_key(vmop)
        target = vmops.node_selector(vmop).get(names.HOSTNAME_LABEL, "")
        planned = [(m["virtualMachine"], m["target"]) for m in kinds.moves(plan)] if plan else []
        if not plan or not kinds.open_(plan) or not kinds.approved(plan):
            return f"{name_of(vmop)} belongs to no open plan"
        return "" if (vm, target) in planned else f"{vm} to {target} is not in {name_of(plan)}"


class Cooldown(Checker):
    """A VM that was moved stays for its cooldown; so nothing goes from A to B and back."""

    name = "no VM is moved twice within its cooldown"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._arrived: dict[str, float] = {}
        self._by: dict[str, str] = {}

    def on_change(self, change: Change) -> str:
        vmop = change.new
        if change.kind != VMOP or vmop is None or not _ours(vmop):
            return ""
        vm, now_s = vmops.vm_key(vmop), self.world.clock.wall()
        arrives = change.old is not None and not vmops.finished(change.old)
        if arrives and vmops.phase(vmop) is vmops.VmopPhase.COMPLETED:
            self._arrived[vm], self._by[vm] = now_s, _plan(vmop)
        again = self._by.get(vm) == _plan(vmop)  # a detour of one plan
        if change.old is not None or vm not in self._arrived or again:
            return ""
        rest_s = policy(self).cooldown_s - 1  # timestamps have whole seconds
        ago_s = now_s - self._arrived[vm]
        return f"{vm} was moved {ago_s:.0f} s ago" if ago_s < rest_s else ""


class NoNodeOver(Checker):
    """No target is filled above the threshold, both ends of moves on their way counted."""

    name = "no target is filled over its threshold"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._others: dict[str, float] = {}  # when somebody else came to a node last

    def on_change(self, change: Change) -> str:
        if change.kind == POD and change.new is not None:
            self._note(change.old, change.new)
        vmop = change.new
        if change.kind != VMOP or change.old is not None or vmop is None or not _ours(vmop):
            return ""
        target = vmops.node_selector(vmop).get(names.HOSTNAME_LABEL, "")
        if self.world.clock.wall() - self._others.get(target, 0.0) < LATELY_S:
            return ""
        ceiling = policy(self).ceilings.get("cpu")
        node = self.world.find(NODE, target)
        if ceiling is None or node is None:
            return ""
        whole = cpu_milli(str(node["status"]["allocatable"]["cpu"]))
        after = self._reserved(target) + self._arriving(target, vmop)
        share = 100 * after / whole
        return f"{target} will be at {share:.1f} % of its CPU" if share > ceiling else ""

    def _note(self, old: Object | None, new: Object) -> None:
        came = pods.node_name(new) if old is None or not pods.node_name(old) else ""
        if came and not self._is_ours(new):
            self._others[came] = self.world.clock.wall()

    def _is_ours(self, pod: Object) -> bool:
        operation = pods.migration_name(pod).removeprefix("vmop-")
        return operation.startswith(names.REBALANCE_PREFIX)

    def _reserved(self, node: str) -> int:
        found = self.world.api.store.all(POD)
        return sum(_cpu(p) for p in found if pods.node_name(p) == node and not pods.ended(p))

    def _arriving(self, target: str, new: Object) -> int:
        """The VMs of unfinished operations that have no Pod there yet."""
        total = 0
        for vmop in self.world.api.store.all(VMOP):
            to = vmops.node_selector(vmop).get(names.HOSTNAME_LABEL, "")
            if to != target or (vmops.finished(vmop) and name_of(vmop) != name_of(new)):
                continue
            copies = self.scenario.pods_of(vmops.vm_name(vmop))
            if not any(pods.node_name(pod) == target for pod in copies):
                total += max((_cpu(pod) for pod in copies), default=0)
        return total


class Balanced(Checker):
    """L4: while a legal plan exists, no node stays over its threshold and no rule stays broken."""

    name = "L4 no node over its threshold while a legal plan exists"

    def at_rest(self) -> str:
        going_by = policy(self)
        if not going_by.enabled:
            return ""
        open_ = [p for p in self.world.api.store.all(REBALANCEPLAN) if kinds.open_(p)]
        if open_:
            return f"{name_of(open_[0])} is {kinds.phase(open_[0])}"
        problem = question(self, going_by)
        if not problem.state.overloaded and not problem.state.broken:
            return ""
        plan = problem.plan(WITHOUT_PROOF)
        told = [f"{move.vm} from {move.source} to {move.target}: {move.why}" for move in plan.moves]
        return f"a legal plan exists: {told}" if told else ""


def policy(checker: Checker) -> Policy:
    world = checker.world
    module = world.find(MODULECONFIG, names.REBALANCE_MODULE)
    return read(module, world.find(DESCHEDULER, names.DESCHEDULER))


def question(checker: Checker, going_by: Policy) -> Problem:
    """The rebalancer's question about the store as it is."""
    from drover.api import scheme

    every = checker.world.api.store.all
    objects = Objects(
        nodes=every(scheme.NODE),
        pods=every(scheme.POD),
        namespaces=every(scheme.NAMESPACE),
        vms=every(scheme.VM),
        classes=every(scheme.VMCLASS),
        vmops=every(scheme.VMOP),
        vmms=every(scheme.VMM),
        plans=every(scheme.REBALANCEPLAN),
    )
    return pose(objects, going_by, checker.world.clock.wall())


def _ours(vmop: Object) -> bool:
    return bool(_plan(vmop)) and key_of(vmop).partition("/")[2].startswith(names.REBALANCE_PREFIX)


def _plan(vmop: Object) -> str:
    return str((vmop["metadata"].get("annotations") or {}).get(names.REBALANCE_ANNOTATION, ""))


def _cpu(pod: Object) -> int:
    found = pod["spec"].get("containers") or []
    asked = [((one.get("resources") or {}).get("requests") or {}).get("cpu", "0") for one in found]
    return sum(cpu_milli(str(one)) for one in asked)

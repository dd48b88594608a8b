"""The effects of the rebalancer's intents on plans and operations: by compare-and-swap on what was read."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

from drover.api import names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import rebalance as kinds
from drover.api.kinds import vmop as vmops
from drover.api.kinds.rebalance import PlanPhase, StepState
from drover.api.meta import name_of, uid_of
from drover.api.status import AlreadyExists, Conflict, Forbidden, NotFound
from drover.api.wire import Object
from drover.base.clock import rfc3339
from drover.base.ids import derived_suffix
from drover.controllers.rebalance import past
from drover.controllers.rebalance.decide import Begin, End, Note, step_words
from drover.controllers.rebalance.gather import POLICY_ANNOTATION, Caches
from drover.controllers.rebalance.planobject import spec_of
from drover.controllers.rebalance.policy import Policy
from drover.controllers.rebalance.problem import Problem
from drover.controllers.rebalance.view import Operation, PlanView
from drover.planner import Plan
from drover.runtime.manager import Manager

KEPT_PLANS = 20
_SUFFIX = 8  # characters; two plans' operations never meet by chance


class Acts:
    """What the controller does to the world."""

    def __init__(self, manager: Manager, caches: Caches) -> None:
        self._manager = manager
        self._caches = caches

    async def withdraw(self, operation: Operation) -> None:
        """As it was judged: a leader that is behind must not call off what another carries out."""
        namespace, name = scheme.split_key(operation.name)
        with contextlib.suppress(NotFound, Conflict):
            await self._manager.client.delete(
                scheme.VMOP,
                name,
                namespace,
                uid=operation.uid,
                resource_version=operation.version,
            )

    async def propose(self, draft: Plan, problem: Problem, policy: Policy) -> None:
        """Plans are counted: who comes second with a number is refused (AlreadyExists), and looks again."""
        number = self.last_number() + 1
        body = {
            "metadata": {
                "name": kinds.name_for(number),
                "annotations": {POLICY_ANNOTATION: policy.digest},
            },
            "spec": spec_of(draft, problem, number, policy.mode),
        }
        made = await self._manager.client.create(scheme.REBALANCEPLAN, body)
        self._caches.plans.observe(made)
        self._manager.log.mark("rebalance.proposed", plan=name_of(made), moves=len(draft.moves))
        words = f"{len(draft.moves)} moves, at least {draft.lower_bound} are needed"
        self._manager.recorder.event(made, "Normal", "RebalancePlanned", words)

    def last_number(self) -> int:
        told = int(kinds.status(self._caches.descheduler() or {}).get("number", 0))
        return max([told, *(kinds.number(plan) for plan in self._caches.plans.all())])

    async def begin(self, plan: Object, view: PlanView, intent: Begin) -> Object:
        one, now = view.steps[intent.number], rfc3339(self._manager.clock.wall())
        step = {
            "virtualMachine": one.step.vm,
            "operation": operation_name(plan, intent.number),
            "state": str(StepState.MOVING),
            "startedAt": now,
        }
        fields: Object = {
            "phase": str(PlanPhase.EXECUTING),
            "steps": [*kinds.steps(plan), step],
            "startedAt": kinds.status(plan).get("startedAt", now),
        }
        answer = await self._patch(plan, fields)
        self._tell(one.step.vm, "Normal", "Rebalancing", step_words(one))
        return answer

    async def make(self, plan: Object, view: PlanView, number: int) -> Object:
        """Another operation on the VM may have come first: then the step has failed."""
        one, step = view.steps[number], kinds.steps(plan)[number]
        namespace, vm = scheme.split_key(one.step.vm)
        body = self._operation(step["operation"], namespace, vm, name_of(plan), one.step.target)
        try:
            made = await self._manager.client.create(scheme.VMOP, body)
        except AlreadyExists:
            made = await self._manager.client.get(scheme.VMOP, step["operation"], namespace)
            if past.plan_name(made) != name_of(plan):
                return await self.note(plan, Note(number, StepState.FAILED, "its name is taken"))
        except Forbidden as denied:
            return await self.note(plan, Note(number, StepState.FAILED, denied.message))
        self._caches.vmops.observe(made)
        self._manager.log.mark(
            "rebalance.move", vm=one.step.vm, vmop=name_of(made), target=one.step.target
        )
        return await self._set_step(plan, number, {"uid": uid_of(made)}, {})

    def _operation(self, name: str, namespace: str, vm: str, plan: str, target: str) -> Object:
        node = self._caches.nodes.get(target)
        hostname = (
            nodes.labels(node).get(names.HOSTNAME_LABEL, target) if node is not None else target
        )
        return {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": {names.REBALANCE_ANNOTATION: plan},
            },
            "spec": {
                "type": str(vmops.VmopType.MIGRATE),
                "virtualMachineName": vm,
                "migrate": {"nodeSelector": {names.HOSTNAME_LABEL: hostname}},
            },
        }

    async def note(self, plan: Object, note: Note, overload: float | None = None) -> Object:
        """``overload``: what is left of it now; None: as it was."""
        steps = kinds.steps(plan)
        states = [*(step["state"] for step in steps)]
        states[note.number] = note.state
        before = float(kinds.spec(plan).get("overload", 0))
        fields: dict[str, Any] = {
            "done": states.count(StepState.DONE),
            "failed": sum(state in (StepState.FAILED, StepState.STOPPED) for state in states),
        }
        if overload is not None:
            fields["gain"] = round(max(before - overload, 0.0), 1)
        vm = str(steps[note.number]["virtualMachine"])
        self._manager.log.mark(f"rebalance.{note.state.lower()}", vm=vm, why=note.message)
        if note.state is not StepState.DONE:
            words = f"{steps[note.number]['operation']}: {note.message}"
            self._tell(vm, "Warning", "RebalancingFailed", words)
        told = {
            "state": str(note.state),
            "message": note.message[:4096],
            "endedAt": rfc3339(self._manager.clock.wall()),
        }
        return await self._set_step(plan, note.number, told, fields)

    async def end(self, plan: Object, intent: End) -> Object:
        fields = {
            "phase": str(intent.phase),
            "message": intent.message[:4096],
            "endedAt": rfc3339(self._manager.clock.wall()),
        }
        answer = await self._patch(plan, fields)
        reason = f"Rebalance{intent.phase}"
        self._manager.recorder.event(plan, "Normal", reason, intent.message)
        self._manager.log.mark(f"rebalance.plan-{intent.phase.lower()}", plan=name_of(plan))
        return answer

    async def tell(self, plan: Object, message: str) -> Object:
        """What it waits for, and whether a person has said yes."""
        phase = kinds.phase(plan)
        if phase is PlanPhase.PROPOSED and kinds.spec(plan).get("approved"):
            phase = PlanPhase.APPROVED
        fields = {"phase": str(phase), "message": message[:4096]}
        return await self._patch(plan, fields)

    async def prune(self, cooldown_s: float) -> None:
        """Plans that are over go, but for the last ones and those that still tell why a VM stays."""
        over = [plan for plan in self._caches.plans.all() if not kinds.open_(plan)]
        now_s = self._manager.clock.wall()
        for plan in sorted(over, key=kinds.number, reverse=True)[KEPT_PLANS:]:
            if any(until_s > now_s for _, until_s in past.stopped(plan, cooldown_s)):
                continue
            with contextlib.suppress(NotFound, Conflict):
                await self._manager.client.delete(
                    scheme.REBALANCEPLAN, name_of(plan), uid=uid_of(plan)
                )

    async def _set_step(
        self, plan: Object, number: int, told: dict[str, Any], fields: dict[str, Any]
    ) -> Object:
        steps = [dict(step) for step in kinds.steps(plan)]
        steps[number] |= told
        return await self._patch(plan, {**fields, "steps": steps})

    async def _patch(self, plan: Object, fields: dict[str, Any]) -> Object:
        """Lands on the version read, or raises Conflict: of two controllers one goes on."""
        present = kinds.status(plan)
        changed = {name: value for name, value in fields.items() if present.get(name) != value}
        if not changed:
            return plan
        answer = await self._manager.client.patch(
            scheme.REBALANCEPLAN,
            name_of(plan),
            "",
            {"status": changed},
            subresource="status",
            version=plan,
        )
        self._caches.plans.observe(answer)
        return answer

    def _tell(
        self, vm_key: str, kind: Literal["Normal", "Warning"], reason: str, words: str
    ) -> None:
        vm = self._caches.vms.get(vm_key)
        if vm is not None:
            self._manager.recorder.event(vm, kind, reason, words)


def operation_name(plan: Object, number: int) -> str:
    """The same for every attempt to make one step's operation."""
    return names.REBALANCE_PREFIX + derived_suffix(f"{uid_of(plan)} {number}", _SUFFIX)

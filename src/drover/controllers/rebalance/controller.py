"""Wiring of the rebalancer. The cluster is balanced as a whole, so there is one key.

It looks at most once in ``GAP_S``, whatever happens meanwhile, and spends at most a twentieth of its time on looking. A
plan that the planner could not make is not asked for again at once: the answer costs seconds in a large cluster, and
mostly stays the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from drover.api import conditions as cond
from drover.api import names
from drover.api.kinds.rebalance import DeschedulerCondition
from drover.api.meta import generation_of, name_of
from drover.api.status import AlreadyExists
from drover.api.wire import Object
from drover.base.clock import rfc3339
from drover.controllers.rebalance import decide as story
from drover.controllers.rebalance.act import Acts
from drover.controllers.rebalance.gather import Caches
from drover.controllers.rebalance.problem import BUDGET, WITHOUT_PROOF, Problem
from drover.controllers.rebalance.view import PlanView, RebalanceView
from drover.controllers.writes import Writer
from drover.planner import Budget, Plan
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

KEY = "rebalance"
GAP_S = 1.0
ASK_AGAIN_S = 5.0  # at least, and twenty times what the answer took
_SHARE = 20
_MOST_WORDS = 4000

T = TypeVar("T")


class Thinker(Protocol):
    """How what takes long is computed."""

    budget: Budget

    async def __call__(self, work: Callable[[], T]) -> T: ...


class BesideTheLoop:
    """A large plan takes seconds, and other controllers go on meanwhile."""

    budget = BUDGET

    async def __call__(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)


class AtOnce:
    """For worlds without threads and with many plans: the shortest plan that is found, unproved."""

    budget = WITHOUT_PROOF

    async def __call__(self, work: Callable[[], T]) -> T:
        return work()


def wire(manager: Manager, thinker: Thinker | None = None) -> None:
    """Register the controller with ``manager``."""
    made = RebalanceController(manager, thinker or BesideTheLoop())
    caches = made.caches
    controller = Controller("rebalance", made.reconcile)
    wakes = (names.REBALANCE_MODULE, names.MODULE_CONFIG)
    controller.watch(caches.module_configs, lambda mc: [KEY] if name_of(mc) in wakes else [])
    for informer in (caches.deschedulers, caches.plans, caches.nodes, caches.pods, caches.vms):
        controller.watch(informer, lambda _: [KEY])
    controller.watch(caches.vmops, lambda _: [KEY])
    manager.add(controller)


class RebalanceController:
    """One reconcile function over one key."""

    def __init__(self, manager: Manager, thinker: Thinker) -> None:
        self._manager = manager
        self._think = thinker
        self.caches = Caches(manager)
        self._acts = Acts(manager, self.caches)
        self._writer = Writer(manager.client, manager.clock, self.caches.deschedulers)
        self._look_s = 0.0  # monotonic, when it may be looked again
        self._empty: Plan | None = None  # the last answer without a move
        self._ask_s = 0.0  # monotonic, when it may be asked for anew

    async def reconcile(self, key: str) -> Outcome:
        policy, now_s = self.caches.policy(), self._manager.clock.monotonic()
        if not policy.enabled and self.caches.open_plan() is None:
            await self._report(RebalanceView(self._manager.clock.wall(), policy))
            return Done()
        if now_s < self._look_s:
            return After(self._look_s - now_s)
        look = self.caches.look()
        view, problem = await self._think(lambda: self.caches.view(look))
        took_s = self._manager.clock.monotonic() - now_s
        self._look_s = now_s + max(GAP_S, _SHARE * took_s)
        intents = story.decide(view)
        if any(isinstance(intent, story.Ask) for intent in intents):
            view = replace(view, draft=await self._ask(problem))
            intents = story.decide(view)
        outcome = await self._carry_out(view, problem, intents, look.plan)
        await self._report(view)
        await self._acts.prune(policy.cooldown_s)
        return outcome

    async def _ask(self, problem: Problem) -> Plan:
        began_s = self._manager.clock.monotonic()
        if self._empty is not None and began_s < self._ask_s:
            return self._empty
        plan = await self._think(lambda: problem.plan(self._think.budget))
        now_s = self._manager.clock.monotonic()
        self._ask_s = now_s + max(ASK_AGAIN_S, _SHARE * (now_s - began_s))
        self._empty = None if plan.moves else plan
        return plan

    async def _carry_out(
        self,
        view: RebalanceView,
        problem: Problem,
        intents: list[story.Intent],
        plan: Object | None,
    ) -> Outcome:
        outcome: Outcome = Done()
        told = view.plan
        for intent in intents:
            match intent:
                case story.Withdraw(operation):
                    await self._acts.withdraw(operation)
                case story.Propose():
                    assert view.draft is not None
                    try:
                        await self._acts.propose(view.draft, problem, view.policy)
                    except AlreadyExists:  # another controller was first: the caches will say so
                        return After(GAP_S)
                case story.LookAgain(after_s):
                    outcome = After(max(after_s, 0.01))
                case story.Begin() | story.Make() | story.Note() | story.End():
                    assert plan is not None
                    assert told is not None
                    plan = await self._step(plan, told, intent, problem)
        return outcome

    async def _step(
        self, plan: Object, told: PlanView, intent: story.Intent, problem: Problem
    ) -> Object:
        match intent:
            case story.Begin():
                return await self._acts.begin(plan, told, intent)
            case story.Make(number):
                return await self._acts.make(plan, told, number)
            case story.Note():
                left = problem.overload(problem.state.loads)
                return await self._acts.note(plan, intent, left)
            case story.End():
                return await self._acts.end(plan, intent)
        return plan

    async def _report(self, view: RebalanceView) -> None:
        said = story.report(view)
        plan = self.caches.open_plan()
        if plan is not None:
            plan = await self._acts.tell(plan, said.message)
        found = self.caches.descheduler()
        if found is None:
            return
        words = said.message[:_MOST_WORDS]
        holds = cond.UNKNOWN if said.balanced is None else said.balanced
        before = cond.get_condition(found, DeschedulerCondition.BALANCED) or {}
        was_stalled = cond.get_condition(found, DeschedulerCondition.PROGRESSING) or {}
        wanted = [
            cond.condition(
                DeschedulerCondition.BALANCED, holds, said.reason, words, generation_of(found)
            ),
            cond.condition(
                DeschedulerCondition.PROGRESSING,
                not said.stalled,
                "WithoutEffect" if said.stalled else "Progressing",
                said.stalled[:_MOST_WORDS],
            ),
        ]
        fields = {
            "plan": name_of(plan) if plan is not None else None,
            "number": self._acts.last_number(),
            "overloadedNodes": len(view.overloaded),
            "brokenRules": view.broken,
        }
        if before.get("status") == cond.TRUE and said.balanced is not True:
            fields["lastBalancedTime"] = rfc3339(view.now_s)
        if said.stalled and was_stalled.get("status") != cond.FALSE:
            self._manager.recorder.event(found, "Warning", "RebalancingWithoutEffect", said.stalled)
        await self._writer.status(found, fields, wanted)

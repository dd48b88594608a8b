"""Between the model of the API and the review of evictions, as the webhook is between the real ones.

The review runs inside the controllers' process: it freezes and dies with it. While it is away, or says nothing for
longer than a webhook may, the PodDisruptionBudget decides: 429 for a Pod that runs, and a Pod that has ended or has not
begun goes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.api.kinds import pod as pods
from drover.api.kinds.pod import PodPhase
from drover.api.status import TooManyRequests
from drover.base.tasks import TaskScope
from drover.controllers.current import CurrentSettings
from drover.controllers.evacuation.budgets import wire as wire_budgets
from drover.controllers.evacuation.controller import wire as wire_evacuation
from drover.controllers.evacuation.reviewer import Reviewer
from drover.controllers.pictures import ClusterPicture

if TYPE_CHECKING:
    from drover.api.wire import Object
    from drover.controllers.webhook import Refusal
    from drover.runtime.manager import Manager
    from drover.sim.loop import VirtualLoop

WEBHOOK_LIMIT_S = 30.0
LOOK_S = 0.5  # how soon the death of the process is noticed
BUDGET = "Cannot evict pod as it would violate the pod's disruption budget."


class EvictionDoor:
    """One per world; ``wire`` at each life of the controllers."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._scope = TaskScope("reviews")  # never closed: killed tasks never end
        self._process = ""
        self._reviewer: Reviewer | None = None

    def wire(self, manager: Manager, process: str) -> None:
        """Register what evictions need with the controllers of this process."""
        wire_budgets(manager)
        made = wire_evacuation(manager, ClusterPicture(manager))
        self._process = process
        self._reviewer = Reviewer(manager, CurrentSettings(manager), made.caches.doing)

    def close(self) -> None:
        """The process is killed."""
        self._process, self._reviewer = "", None

    async def review(self, pod: Object) -> None:
        """Raises TooManyRequests when the Pod may not be evicted (now)."""
        process, reviewer = self._process, self._reviewer
        if reviewer is None or not pods.is_vm(pod):
            return self._by_budget(pod)
        meta = pod["metadata"]
        request = {"namespace": meta["namespace"], "name": meta["name"], "object": {}}
        answer: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        with self._loop.process(process):
            self._scope.spawn(_ask(reviewer, request, answer), f"review {meta['name']}")
        end_s = self._loop.time() + WEBHOOK_LIMIT_S
        while not answer.done() and self._process == process and self._loop.time() < end_s:
            await asyncio.wait([answer], timeout=LOOK_S)
        if not answer.done():
            return self._by_budget(pod)
        refusal = answer.result()
        if refusal is not None:
            raise TooManyRequests(refusal.message, refusal.reason, refusal.code)
        return None

    def _by_budget(self, pod: Object) -> None:
        if pods.is_vm(pod) and pods.phase(pod) is PodPhase.RUNNING:
            raise TooManyRequests(BUDGET, "TooManyRequests")


async def _ask(reviewer: Reviewer, request: Object, answer: asyncio.Future[Refusal | None]) -> None:
    refusal = await reviewer.review(request)
    if not answer.done():
        answer.set_result(refusal)

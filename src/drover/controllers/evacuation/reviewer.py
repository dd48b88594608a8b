"""The review of evictions: marks the Pod, holds the answer until that very Pod has ended, else says "try again" (429).

It is asked for VM Pods alone. The longer it may hold, the less a drain waits: kubectl asks again only every 5 s. A
review that is held occupies a place in the API server, so at most ``MOST_HELD`` are; more are answered at once. When
the asker goes away, or this process ends, the review is dropped; the mark stays on the Pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from drover.api import names, scheme
from drover.api.evacuation import Mark, mark_of, mark_patch
from drover.api.kinds import node as nodes
from drover.api.kinds import pod as pods
from drover.api.kinds import vml as vmls
from drover.api.meta import uid_of
from drover.api.status import ApiError, Conflict, NotFound, Unanswered
from drover.api.wire import Object
from drover.base.clock import rfc3339
from drover.base.tasks import TaskScope, wait_first
from drover.controllers.current import CurrentSettings
from drover.controllers.evacuation import review
from drover.controllers.evacuation.review import Next
from drover.controllers.webhook import Refusal
from drover.runtime.manager import Manager

MOST_HELD = 16
# The evacuation controller needs a moment to find out that a VM cannot leave.
LEAST_HELD_S = 1.5
TRIES = 5


class Reviewer:
    """``review`` is the rule of the webhook."""

    def __init__(
        self, manager: Manager, settings: CurrentSettings, doing: Callable[[str], str]
    ) -> None:
        self._manager = manager
        self._settings = settings
        self._doing = doing  # message of the evacuation under way, by key of the VM
        self._pods = manager.informer(scheme.POD, labels=names.VM_NAME_LABEL)
        self._leases = manager.informer(scheme.VML)
        self._nodes = manager.informer(scheme.NODE)
        self._held: dict[int, tuple[str, asyncio.Event]] = {}
        self._pods.add_handler(self._changed)

    @property
    def held(self) -> int:
        """How many reviews wait now."""
        return len(self._held)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        for uid, event in self._held.values():
            if pod is not None and uid_of(pod) == uid:
                event.set()

    async def review(self, request: Mapping[str, Any]) -> Refusal | None:
        """None: the Pod may be evicted."""
        try:
            return await self._review(request)
        except (ApiError, Unanswered):
            return review.refusal(review.AWAY)

    async def _review(self, request: Mapping[str, Any]) -> Refusal | None:
        key = f"{request.get('namespace', '')}/{request.get('name', '')}"
        pod = await self._pod(key)
        if pod is None or not pods.is_vm(pod):
            return None
        uid, before = uid_of(pod), mark_of(pod)
        match self._judge(pod, uid):
            case Next.ALLOW:
                return None
            case Next.REFUSE:
                return review.refusal(review.TARGET)
            case Next.MARK if not _dry(request):
                await self._mark(key, uid)
        if _dry(request):
            return review.dry_refusal(pods.vm_key(pod), pods.node_name(pod))
        await self._hold(key, uid)
        now = await self._pod(key)
        match self._judge(now, uid):
            case Next.ALLOW:
                return None
            case Next.AGAIN:
                return review.refusal(review.CHANGED)
        return review.refusal(self._words(now or pod, before))

    def _judge(self, pod: Object | None, uid: str) -> Next:
        if pod is None:
            return Next.ALLOW
        lease = self._leases.get(pods.vm_key(pod))
        return review.judge(pod, uid, vmls.holder(lease) if lease is not None else "")

    def _words(self, pod: Object, before: Mark | None) -> str:
        vm = pods.vm_key(pod)
        return review.words(vm, pod, before, self._doing(vm))

    async def _pod(self, key: str) -> Object | None:
        """From the cache; what is not there is asked for, since only a Pod that is gone may be let go."""
        cached = self._pods.get(key)
        return cached if cached is not None else await self._read(key)

    async def _read(self, key: str) -> Object | None:
        namespace, name = scheme.split_key(key)
        try:
            pod = await self._manager.client.get(scheme.POD, name, namespace)
        except NotFound:
            return None
        self._pods.observe(pod)
        return pod

    async def _mark(self, key: str, uid: str) -> None:
        """On the Pod as it is known, by compare-and-swap; another writer in between: once more, on the Pod as read."""
        for number in range(TRIES):
            pod = await (self._pod(key) if number == 0 else self._read(key))
            if self._judge(pod, uid) is not Next.MARK or pod is None:
                return
            node = await self._cordoned(pods.node_name(pod))
            mark = Mark(rfc3339(self._manager.clock.wall()), node)
            namespace, name = scheme.split_key(key)
            try:
                answer = await self._manager.client.patch(
                    scheme.POD, name, namespace, mark_patch(mark), version=pod
                )
            except (Conflict, NotFound):
                continue
            self._manager.log.mark("eviction.marked", pod=name, cordoned=mark.cordoned)
            self._pods.observe(answer)
            return

    async def _cordoned(self, node: str) -> bool:
        """Read live unless it is known: kubectl drain cordons a moment before its first eviction."""
        cached = self._nodes.get(node)
        if cached is not None and nodes.cordoned(cached):
            # If that is over this very moment, the mark is taken back, after a live read.
            return True
        try:
            return nodes.cordoned(await self._manager.client.get(scheme.NODE, node))
        except NotFound:
            return False

    async def _hold(self, key: str, uid: str) -> None:
        """Until the Pod has ended, the eviction is called off, the VM cannot leave, or the time is over."""
        limit_s = self._settings.now().eviction_hold_s
        if limit_s <= 0 or self.held >= MOST_HELD:
            return
        clock, event = self._manager.clock, asyncio.Event()
        ticket = id(event)
        self._held[ticket] = (uid, event)
        began_s = clock.monotonic()
        try:
            while True:
                held_s = clock.monotonic() - began_s
                pod = self._pods.get(key)
                over = pod is None or uid_of(pod) != uid or pods.ended(pod)
                over = over or (pod is not None and mark_of(pod) is None and not pods.deleting(pod))
                stuck = review.blocked_now(pod) and held_s >= LEAST_HELD_S
                if over or stuck or held_s >= limit_s:
                    return
                event.clear()
                step_s = min(limit_s - held_s, LEAST_HELD_S)
                async with TaskScope("held") as scope:
                    await wait_first(
                        scope.spawn(_until(event), "changed"),
                        scope.spawn(clock.sleep(step_s), "late"),
                    )
        finally:
            del self._held[ticket]


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _dry(request: Mapping[str, Any]) -> bool:
    """A dry run of an eviction shows in its own delete options too."""
    options = (request.get("object") or {}).get("deleteOptions") or {}
    return bool(request.get("dryRun")) or options.get("dryRun") == ["All"]

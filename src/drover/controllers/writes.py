"""The two writes that every controller does: its part of a status, and finalizers. Both land on the version read or
raise Conflict, and both put the answer into the cache."""

from __future__ import annotations

from drover.api import conditions as cond
from drover.api.merge import merge_patch
from drover.api.meta import name_of, namespace_of, with_finalizer, without_finalizer
from drover.api.wire import Object
from drover.base.clock import Clock
from drover.runtime.client import Client
from drover.runtime.informer import Informer


class Writer:
    """Writes objects of one informer's kind."""

    def __init__(self, client: Client, clock: Clock, informer: Informer) -> None:
        self._client = client
        self._clock = clock
        self._informer = informer

    async def status(self, obj: Object, fields: Object, conditions: list[Object]) -> Object:
        """Set these fields of the status (None removes one) and these conditions; others stay as they are."""
        before = dict(obj.get("status") or {})
        kept = list(before.get("conditions") or [])
        for wanted in conditions:
            kept = cond.set_condition(kept, wanted, self._clock.wall())
        merged = {**before, **fields, "conditions": kept}
        patch = merge_patch(
            before, {key: value for key, value in merged.items() if value is not None}
        )
        if not patch:
            return obj
        return await self._patch(obj, {"status": patch}, "status")

    async def add_finalizer(self, obj: Object, finalizer: str) -> Object:
        return await self._patch(obj, {"metadata": {"finalizers": with_finalizer(obj, finalizer)}})

    async def drop_finalizer(self, obj: Object, finalizer: str) -> Object:
        return await self._patch(
            obj, {"metadata": {"finalizers": without_finalizer(obj, finalizer)}}
        )

    async def _patch(self, obj: Object, patch: Object, subresource: str = "") -> Object:
        answer = await self._client.patch(
            self._informer.kind,
            name_of(obj),
            namespace_of(obj),
            patch,
            subresource=subresource,
            version=obj,
        )
        self._informer.observe(answer)
        return answer

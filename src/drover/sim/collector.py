"""A model of the garbage collector: deletes what its owners have left behind.

An object whose owner references all name uids that do not exist (any more) is deleted in the
background. References to kinds that the model does not know count as existing. Not modelled:
foreground deletion, orphaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.scheme import ALL
from drover.api.status import ApiError
from drover.runtime.client import Client

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.api.wire import Object
    from drover.base.clock import Clock
    from drover.sim.api import ApiModel
    from drover.sim.api.store import Change

USER = "system:serviceaccount:kube-system:generic-garbage-collector"
PAUSE_S = 0.1  # between two sweeps; the real one is as quick
_KINDS = {(kind.api_version, kind.kind): kind for kind in ALL}


class Collector:
    """Sweeps after changes."""

    def __init__(self, api: ApiModel, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._client = Client(api.transport(USER, ()))

    async def run(self) -> None:
        """For ever."""
        store = self._api.store
        seen, again = 0, True
        while True:
            if store.revision == seen:
                await store.wait_changed()
            await self._clock.sleep(PAUSE_S)
            news = seen < store.compacted or any(map(_matters, store.since(seen)))
            seen = store.revision
            if news or again:
                again = not await self._sweep()

    async def _sweep(self) -> bool:
        """False: something was refused, so the next change asks for another look."""
        doomed = [
            (kind, obj)
            for kind in self._api.store.kinds()
            for obj in self._api.objects(kind)
            if self._left_behind(obj)
        ]
        return all([await self._delete(kind, obj) for kind, obj in doomed])

    def _left_behind(self, obj: Object) -> bool:
        meta = obj["metadata"]
        owners = meta.get("ownerReferences") or []
        if not owners or meta.get("deletionTimestamp"):
            return False
        return not any(self._exists(owner, meta.get("namespace", "")) for owner in owners)

    def _exists(self, owner: Object, namespace: str) -> bool:
        kind = _KINDS.get((owner["apiVersion"], owner["kind"]))
        if kind is None:
            return True
        found = self._api.store.get(kind, namespace if kind.namespaced else "", owner["name"])
        return found is not None and found["metadata"]["uid"] == owner["uid"]

    async def _delete(self, kind: Kind, obj: Object) -> bool:
        meta = obj["metadata"]
        try:
            await self._client.delete(
                kind, meta["name"], meta.get("namespace", ""), uid=meta["uid"]
            )
        except ApiError:
            return False
        return True


def _matters(change: Change) -> bool:
    """Something went away, or names owners that were not looked for yet."""
    if change.new is None:
        return True
    owners = change.new["metadata"].get("ownerReferences")
    return bool(owners) and (
        change.old is None or change.old["metadata"].get("ownerReferences") != owners
    )

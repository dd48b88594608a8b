"""S4: revisions only grow, and a watcher sees each change once, in order, or is told Gone.

``Witness`` watches through a link of its own that breaks as all others do, resumes by version, and
keeps what it saw; the checker compares that with what was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drover.api.scheme import VM, VML, VMOP
from drover.api.status import ApiError, Gone, Unanswered
from drover.runtime.client import Client
from drover.sim.checkers.base import Checker

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.sim.api.store import Change
    from drover.sim.scenario import Scenario

LINK = "witness"
KINDS = (VM, VML, VMOP)
_WATCH_S = 60
_RETRY_S = 0.5


class WatchOrder(Checker):
    name = "S4 watches in order"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        world = scenario.world
        self._client = Client(world.net.transport(LINK, world.api.transport()))
        self._written: dict[Kind, list[int]] = {kind: [] for kind in KINDS}
        self._seen: dict[Kind, list[int]] = {kind: [] for kind in KINDS}
        self._from: dict[Kind, int] = {}
        self._broken = ""
        self._last = 0
        with world.loop.process(LINK):
            for kind in KINDS:
                world.scope.guard(self._watch(kind), f"witness {kind.plural}")

    def on_change(self, change: Change) -> str:
        if change.revision <= self._last:
            return f"revision {change.revision} came after {self._last}"
        self._last = change.revision
        if change.kind in self._written:
            self._written[change.kind].append(change.revision)
        return self._broken

    def at_rest(self) -> str:
        for kind in KINDS:
            began = self._from.get(kind)
            if began is None:
                continue
            written = [revision for revision in self._written[kind] if revision > began]
            if written != self._seen[kind]:
                return f"a watch of {kind.plural} saw {self._seen[kind]} of {written}"
        return ""

    async def _watch(self, kind: Kind) -> None:
        """For ever, from the last version seen."""
        while True:
            try:
                if kind not in self._from:
                    _, version = await self._client.list(kind)
                    self._from[kind], self._seen[kind] = int(version), []
                await self._read(kind)
            except Gone:
                self._from.pop(kind, None)
            except (ApiError, Unanswered):
                pass
            await self.world.clock.sleep(_RETRY_S)

    async def _read(self, kind: Kind) -> None:
        last = (self._seen[kind] or [self._from[kind]])[-1]
        async with self._client.watch(kind, str(last), _WATCH_S) as events:
            async for event in events:
                if event["type"] == "BOOKMARK":
                    continue
                if event["type"] == "ERROR":
                    raise Gone("the watch was told so", "Expired", 410)
                revision = int(event["object"]["metadata"]["resourceVersion"])
                if revision <= (self._seen[kind] or [self._from[kind]])[-1]:
                    self._broken = f"a watch of {kind.plural} saw revision {revision} late"
                self._seen[kind].append(revision)

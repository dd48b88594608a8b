"""Leader election on a Lease, so that one of several equal processes works at a time.

    waiting --(lease free, released or expired)--> leading --(cannot renew)--> LeadershipLost

This is **not fencing**: a leader whose process or network stands still may act once more after
another has taken over. Whatever must not happen twice is guarded by compare-and-swap on the object
itself; election only saves double work. Times in the Lease are for people: expiry is judged by our
own monotonic clock, from the moment we saw the Lease change, so wall clocks need not agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drover.api.scheme import LEASE
from drover.api.status import AlreadyExists, ApiError, NotFound, Unanswered
from drover.base.clock import rfc3339_micro
from drover.base.tasks import TaskScope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from drover.api.wire import Object
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.base.log import Log
    from drover.runtime.client import Client


class LeadershipLost(Exception):
    """The Lease could not be renewed in time, or somebody else holds it. The process should end."""


@dataclass(frozen=True)
class Timing:
    """``renew_s`` must leave a leader time to stop before ``duration_s`` lets others in."""

    duration_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0


class Elector:
    """One candidate, named by a fresh identity."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        ids: Ids,
        log: Log,
        *,
        namespace: str,
        name: str,
        timing: Timing | None = None,
    ) -> None:
        self.identity = f"{name}-{ids.uid()}"
        self._client = client
        self._clock = clock
        self._ids = ids
        self._log = log.bind(lease=f"{namespace}/{name}", identity=self.identity)
        self._namespace = namespace
        self._name = name
        self._timing = timing or Timing()
        self._seen: tuple[str, str] = ("", "")  # uid and resourceVersion of the Lease last read
        self._seen_s = 0.0  # our clock, when it last changed
        self._renewed_s = 0.0  # our clock, when the last acknowledged renewal was begun

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for leadership, then run ``lead`` while it lasts.

        Raises LeadershipLost after ``lead`` has been stopped, or what ``lead`` raised; gives the
        Lease back, as far as the API answers, in every case but the loss.
        """
        while not await self._try(self._take):
            await self._pause()
        self._log.info("leading")
        async with TaskScope(self._name) as scope:
            scope.guard(lead(), "lead")
            scope.guard(self._renew(), "renew")
            scope.guard(self._expire(), "expire")
            try:
                error = await scope.wait_broken()
            finally:
                await scope.aclose()
                if not isinstance(scope.failure, LeadershipLost):
                    await self._try(self._release)
        raise error

    async def _renew(self) -> None:
        while True:
            await self._pause()
            await self._try(self._take)

    async def _expire(self) -> None:
        """Ends the leadership even while a renewal hangs."""
        while (left_s := self._renewed_s + self._timing.renew_s - self._clock.monotonic()) > 0:
            await self._clock.sleep(left_s)
        raise LeadershipLost(f"not renewed for {self._timing.renew_s} s")

    async def _pause(self) -> None:
        await self._clock.sleep(self._timing.retry_s * (1 + self._ids.uniform() / 5))

    async def _try(self, step: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await step()
        except (ApiError, Unanswered) as error:
            self._log.warn("election step failed", error=repr(error))
            return False

    async def _take(self) -> bool:
        """Acquire or renew. False while somebody else leads."""
        began_s = self._clock.monotonic()
        try:
            lease = await self._client.get(LEASE, self._name, self._namespace)
        except NotFound:
            return await self._create(began_s)
        self._notice(lease)
        holder = lease["spec"].get("holderIdentity") or ""
        if holder not in ("", self.identity) and not self._expired(lease):
            return False
        spec = {**lease["spec"], **self._claim()}
        if holder != self.identity:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        await self._client.replace(LEASE, {**lease, "spec": spec})
        self._renewed_s = began_s
        return True

    async def _create(self, began_s: float) -> bool:
        claim = self._claim()
        spec = {**claim, "acquireTime": claim["renewTime"], "leaseTransitions": 0}
        meta = {"name": self._name, "namespace": self._namespace}
        try:
            await self._client.create(LEASE, {"metadata": meta, "spec": spec})
        except AlreadyExists:
            return False
        self._renewed_s = began_s
        return True

    async def _release(self) -> bool:
        lease = await self._client.get(LEASE, self._name, self._namespace)
        if lease["spec"].get("holderIdentity") == self.identity:
            spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._client.replace(LEASE, {**lease, "spec": spec})
        return True

    def _claim(self) -> Object:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._timing.duration_s),
            "renewTime": rfc3339_micro(self._clock.wall()),
        }

    def _notice(self, lease: Object) -> None:
        version = (lease["metadata"]["uid"], lease["metadata"]["resourceVersion"])
        if version != self._seen:
            self._seen = version
            self._seen_s = self._clock.monotonic()

    def _expired(self, lease: Object) -> bool:
        duration_s = float(lease["spec"].get("leaseDurationSeconds") or self._timing.duration_s)
        return self._clock.monotonic() >= self._seen_s + duration_s

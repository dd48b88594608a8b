"""What the contract suite of the API needs of either side: clients of any identity, and a
namespace per test.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.engine import connections_closed

from drover.api import scheme
from drover.api.names import CONTROLLERS_USER, NODE_USER_PREFIX, NODES_GROUP
from drover.api.status import ApiError, error_from
from drover.api.wire import Request
from drover.base.clock import RealClock
from drover.base.ids import RealIds, SeededIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.sim.api import ApiModel
from drover.sim.clock import SimClock
from drover.sim.lifecycle import Lifecycle
from drover.sim.scheduler import USER as SCHEDULER_USER
from drover.sim.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.engine import Engine

    from drover.api.scheme import Kind
    from drover.api.wire import Object
    from drover.runtime.transport import Transport

ADMIN = ("drover-admin", ("system:masters",))
EVENTUALLY_S = 40.0


class Rig:
    """One API under test. Subclasses give the transports."""

    name = ""

    def __init__(self, transports: Callable[[str, tuple[str, ...]], Awaitable[Transport]]) -> None:
        self._transports = transports
        self._open = AsyncExitStack()
        self.namespace = ""
        self.admin: Client = Client(_NOBODY)

    async def transport(self, user: str, groups: tuple[str, ...] = ()) -> Transport:
        transport = await self._transports(user, groups)
        self._open.push_async_callback(transport.aclose)
        return transport

    async def client(self, user: str, groups: tuple[str, ...] = ()) -> Client:
        return Client(await self.transport(user, groups))

    async def controllers(self) -> Client:
        return await self.client(CONTROLLERS_USER, (CONTROLLERS_USER,))

    async def node(self, name: str) -> Client:
        return await self.client(NODE_USER_PREFIX + name, (NODES_GROUP,))

    async def begin(self) -> None:
        self.admin = await self.client(*ADMIN)
        self.namespace = f"t-{RealIds().suffix(8)}"
        await self.admin.create(scheme.NAMESPACE, {"metadata": {"name": self.namespace}})

    async def end(self) -> None:
        await self._open.aclose()

    def forget(self) -> None:
        """Let the model forget its history; the engine has forgotten the first versions by
        itself.
        """

    async def raw(self, method: str, path: str, body: Any = None, **fields: Any) -> tuple[int, Any]:
        """As the administrator: status and body, errors not raised."""
        transport = await self.transport(*ADMIN)
        response = await transport.send(Request(method, path, body=body, **fields))
        return response.status, response.body


class ModelRig(Rig):
    """The model, with the model's background controllers."""

    name = "model"

    def __init__(self) -> None:
        self.api = ApiModel(SimClock(), SeededIds(0))
        super().__init__(self._door)

    async def begin(self) -> None:
        await super().begin()
        self.api.install()
        clock = SimClock()
        log = Log(clock, lambda _: None)
        scope = await self._open.enter_async_context(TaskScope("kubernetes"))
        door = Client(self.api.transport(SCHEDULER_USER, ()))
        scope.guard(Scheduler(door, clock, SeededIds(1), log).run(), "scheduler")
        scope.guard(Lifecycle(self.api, clock, log).run(), "lifecycle")

    async def _door(self, user: str, groups: tuple[str, ...]) -> Transport:
        return self.api.transport(user, groups)

    def forget(self) -> None:
        self.api.store.compact()


class EngineRig(Rig):
    """The real thing."""

    name = "engine"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        super().__init__(self._door)

    async def begin(self) -> None:
        await super().begin()

        async def there() -> bool:
            accounts, _ = await self.admin.list(scheme.SERVICEACCOUNT, self.namespace)
            return bool(accounts)  # without one no Pod can be made

        await eventually(there, "the default ServiceAccount")

    async def end(self) -> None:
        await super().end()
        await connections_closed()

    async def _door(self, user: str, groups: tuple[str, ...]) -> Transport:
        return await self._engine.access(user, groups).transport(RealClock())


class _Nobody:
    """Before ``begin``."""

    async def send(self, request: Request) -> Any:
        raise AssertionError("the rig has not begun")

    def stream(self, request: Request) -> Any:
        raise AssertionError("the rig has not begun")

    async def aclose(self) -> None:
        return None


_NOBODY = _Nobody()


class Follower:
    """Collects the events of one watch."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Object]] = []
        self.error: ApiError | None = None

    def types(self) -> list[str]:
        return [kind for kind, _ in self.events]

    async def take(self, events: AsyncIterator[dict[str, Any]]) -> None:
        async for event in events:
            if event["type"] == "ERROR":
                self.error = error_from(int(event["object"]["code"]), event["object"])
            elif event["type"] != "BOOKMARK":
                self.events.append((event["type"], event["object"]))

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.events) >= count, f"{count} events, saw {self.types()}")


@asynccontextmanager
async def following(
    client: Client, kind: Kind, version: str, namespace: str, **selection: str
) -> AsyncIterator[Follower]:
    """A watch that runs while the block does."""
    follower = Follower()

    async def follow() -> None:
        try:
            async with client.watch(kind, version, 60, namespace=namespace, **selection) as events:
                await follower.take(events)
        except ApiError as error:
            follower.error = error

    async with TaskScope("following") as scope:
        scope.spawn(follow(), kind.plural)
        yield follower
        if scope.failure is not None:
            raise scope.failure


async def eventually(check: Callable[[], Any], what: str) -> Any:
    """Poll until ``check`` (which may be async) gives something true, and return it."""
    deadline = asyncio.get_running_loop().time() + EVENTUALLY_S
    while True:
        value = check()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.02)

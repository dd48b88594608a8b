"""Assembles informers, controllers and the event recorder of one process and runs them.

Start: recorder, informers, wait until every informer has synced, controllers. Stop: the other way
round. If anything that must not end ends, ``run`` raises its error and the process should stop.

Of several equal processes all keep their caches, for whoever asks them, and the one that is elected
runs its controllers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from drover.base.tasks import TaskScope
from drover.runtime.events import Recorder
from drover.runtime.forms import Packed, Plain
from drover.runtime.informer import Informer
from drover.runtime.reflector import Selection

if TYPE_CHECKING:
    from drover.api.scheme import Kind
    from drover.base.clock import Clock
    from drover.base.ids import Ids
    from drover.base.log import Log
    from drover.runtime.client import Client
    from drover.runtime.controller import Controller
    from drover.runtime.election import Elector


async def _nothing() -> None:
    """There is nothing to wait for."""


class Manager:
    """What every controller is handed: the ports, the shared informers, the recorder."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        ids: Ids,
        log: Log,
        component: str = "drover",
        packed: Collection[Kind] = (),
    ) -> None:
        """``packed``: of which kinds the caches hold the objects packed, see ``forms``."""
        self.client = client
        self.clock = clock
        self.ids = ids
        self.log = log
        self.recorder = Recorder(client, clock, ids, component)
        self._plain = Plain()
        self._packed = packed
        self._informers: dict[tuple[Kind, str, str, str], Informer] = {}
        self._controllers: list[Controller] = []
        self._scope: TaskScope | None = None
        self._leading: TaskScope | None = None  # while the controllers run
        self._stands_by = False  # others may lead

    def informer(
        self, kind: Kind, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> Informer:
        """The one informer for these arguments. May be asked for while running."""
        chosen = (kind, namespace, labels, fields)
        if chosen not in self._informers:
            selection = Selection(kind, namespace, labels, fields)
            form = Packed() if kind in self._packed else self._plain
            informer = Informer(self.client, self.clock, self.ids, self.log, selection, form)
            self._informers[chosen] = informer
            if self._scope is not None:
                self._follow(self._scope, informer)
        return self._informers[chosen]

    def _follow(self, scope: TaskScope, informer: Informer) -> None:
        """A watch of its own, or none where the whole kind is watched anyway."""
        chosen = informer.selection
        whole = self._informers.get((chosen.kind, "", "", ""))
        if chosen.labels and whole is not None and not chosen.namespace and not chosen.fields:
            informer.follow(whole)
        else:
            scope.guard(informer.run(), f"informer {chosen}")

    def add(self, controller: Controller) -> None:
        """Bind a controller and, once every informer has synced, run it."""
        controller.bind(self.clock, self.log)
        self._controllers.append(controller)
        if self._stands_by:
            controller.stand_by()
        if self._leading is not None:
            self._leading.spawn(
                self._start(self._leading, [controller]), f"start {controller.name}"
            )

    @property
    def controllers(self) -> tuple[Controller, ...]:
        return tuple(self._controllers)

    @property
    def leading(self) -> bool:
        """Whether its controllers run."""
        return self._leading is not None

    @property
    def synced(self) -> bool:
        """Whether its caches hold everything."""
        return all(informer.synced for informer in self._informers.values())

    def unsettled(self) -> list[str]:
        """What its controllers have still to do now, or failed at: controller and key."""
        return [key for controller in self._controllers for key in controller.unsettled()]

    async def run(
        self, elector: Elector | None = None, before: Callable[[], Awaitable[None]] = _nothing
    ) -> None:
        """Run until cancelled; raises what broke, the loss of leadership too. The controllers run while ``elector``
        says so, and once ``before`` has returned.
        """
        self._stands_by = elector is not None
        if self._stands_by:
            for controller in self._controllers:
                controller.stand_by()
        async with TaskScope("manager") as scope:
            self._scope = scope
            try:
                scope.guard(self.recorder.run(), "events")
                for informer in list(self._informers.values()):
                    self._follow(scope, informer)
                if elector is None:
                    scope.spawn(self._begin(scope, before), "start")
                else:
                    scope.guard(elector.run(lambda: self._lead(before)), "election")
                raise await scope.wait_broken()
            finally:
                self._scope = self._leading = None

    async def _lead(self, before: Callable[[], Awaitable[None]]) -> None:
        async with TaskScope("leader") as scope:
            scope.spawn(self._begin(scope, before), "start")
            try:
                raise await scope.wait_broken()
            finally:
                self._leading = None

    async def _begin(self, scope: TaskScope, before: Callable[[], Awaitable[None]]) -> None:
        await before()
        self._leading, self._stands_by = scope, False
        await self._start(scope, list(self._controllers))

    async def _start(self, scope: TaskScope, controllers: list[Controller]) -> None:
        for informer in list(self._informers.values()):
            await informer.wait_synced()
        for controller in controllers:
            scope.guard(controller.run(), controller.name)

"""What a contract test of the Hypervisor port is given, and the model's way to give it.

Two nodes, ``node-1`` and ``node-2``, that share one disk; guests that can be told to end; one wire
that can fail.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from tests.agent.qemu.rig import SPEC

from drover.agent.ports import Disk, Hypervisor, Listener, MachineSpec, RunState
from drover.base.clock import RealClock
from drover.base.tasks import TaskScope
from drover.sim.hypervisor import ModelHypervisor, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_DIRTY_BYTES_PER_SECOND = 300 << 20


class Node(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def hypervisor(self) -> Hypervisor: ...

    async def restart_agent(self) -> None:
        """A new hypervisor object that knows nothing; processes live on."""
        ...


class Rig(Protocol):
    scope: TaskScope
    kind: str

    @property
    def nodes(self) -> Sequence[Node]: ...

    def spec(self, **changes: Any) -> MachineSpec: ...

    async def booted(self, copy: str) -> None:
        """Wait until the guest shows life."""
        ...

    async def runs(self, copy: str) -> bool:
        """Does the guest make progress right now?"""
        ...

    async def guest(self, copy: str, act: str) -> None:
        """The guest does: reset, poweroff, panic; or dirty: rewrites 16 MiB all the time from now
        on.
        """
        ...

    async def crash(self, copy: str) -> None:
        """The QEMU process dies by itself."""
        ...

    def wire(self, listener: Listener) -> tuple[str, int]:
        """Where to connect so that the following can happen to the stream."""
        ...

    def cut(self) -> None: ...

    def heal(self) -> None: ...

    def slow(self, bytes_per_second: float) -> None: ...

    def swallow_last_word(self) -> None:
        """The target's final message is lost and the connection closed."""
        ...

    def hold_last_word(self) -> None:
        """The target's final message is lost and nobody notices."""
        ...


@dataclass
class ModelNode:
    site: Site
    name: str

    def __post_init__(self) -> None:
        self.hypervisor = self._make()

    def _make(self) -> ModelHypervisor:
        return ModelHypervisor(self.site, self.name, f"address-of-{self.name}")

    async def restart_agent(self) -> None:
        self.site.agent_ended(self.name)
        self.hypervisor = self._make()


class ModelRig:
    """The model leg."""

    kind = "model"

    def __init__(self, scope: TaskScope) -> None:
        self.scope = scope
        self.site = Site(RealClock(), scope)
        self.nodes = (ModelNode(self.site, "node-1"), ModelNode(self.site, "node-2"))
        self._link = self.site.link("node-1", "node-2")

    def spec(self, **changes: Any) -> MachineSpec:
        return replace(SPEC, **{"disks": (Disk("root", "/disks/disk.raw"),), **changes})

    async def booted(self, copy: str) -> None:
        self.site.qemu(copy).guest.used_bytes = 1 << 20
        self.site.qemu(copy).guest.powerdown_s = 0.1
        assert await self.runs(copy)

    async def runs(self, copy: str) -> bool:
        return self.site.qemu(copy).state is RunState.RUNNING

    async def guest(self, copy: str, act: str) -> None:
        qemu = self.site.qemu(copy)
        match act:
            case "dirty":
                qemu.guest.used_bytes = 16 << 20
                qemu.guest.dirty_bytes_per_second = _DIRTY_BYTES_PER_SECOND
            case "reset":
                qemu.guest_reset()
            case "poweroff":
                qemu.guest_poweroff()
            case "panic":
                qemu.guest_panic()
            case _:
                raise AssertionError(act)

    async def crash(self, copy: str) -> None:
        self.site.qemu(copy).crash()

    def wire(self, listener: Listener) -> tuple[str, int]:
        return listener.address, listener.port

    def cut(self) -> None:
        self._link.up = False

    def heal(self) -> None:
        self._link.up = True

    def slow(self, bytes_per_second: float) -> None:
        self._link.bytes_per_second = bytes_per_second

    def swallow_last_word(self) -> None:
        self._link.loses_last_word = True

    def hold_last_word(self) -> None:
        self._link.holds_last_word = True


@contextlib.asynccontextmanager
async def model_rig() -> AsyncIterator[ModelRig]:
    async with TaskScope("rig") as scope:
        yield ModelRig(scope)
        assert scope.failure is None, scope.failure

"""What makes sure that a node's VMs are dead on time: a port, and its three implementations.

- ``Deadline`` speaks with nodeinit, which kills every QEMU at an absolute time even when this agent is frozen. It does
  not survive a nodeinit that is itself stopped, nor a QEMU that the kernel cannot kill: labs and tests.
- ``Device`` is the same, and behind it a watchdog device that resets the host when nodeinit did not keep the deadline.
- ``NoWatchdog`` promises nothing, so its node is never armed and never fenced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from drover.agent.ports import Hypervisor, HypervisorError, MonitorSilent
from drover.agent.spawner import NodeInitSpawner
from drover.base.clock import Clock

DEADLINE, DEVICE, NONE = "deadline", "device", "none"
KINDS = (DEADLINE, DEVICE, NONE)
_POLL_S = 0.05


class Watchdog(Protocol):
    """Moments are those of the agent's clock (``Clock.monotonic``)."""

    @property
    def kind(self) -> str: ...

    @property
    def kick_s(self) -> float:
        """T: how long after it was fed it may fire; 0 when it is told a deadline."""
        ...

    async def arm(self) -> None:
        """Make ready. Before this nothing may be promised. Idempotent. Raises HypervisorError when it cannot guard
        this node, MonitorSilent when nobody knows."""
        ...

    async def live(self, life: str, until_s: float) -> None:
        """Let this life last until then, or later if that was said before. Raises HypervisorError when the life is
        over, MonitorSilent when nobody knows (the earlier deadline may stand)."""
        ...

    async def until(self, life: str) -> float | None:
        """The deadline to which this life is held now; None: none. Raises MonitorSilent."""
        ...

    async def free(self, life: str) -> None:
        """No deadline any more: the node promises nothing."""
        ...

    async def bury(self, life: str) -> None:
        """End a life; returns when none of its QEMUs lives. Idempotent. One that knows no lives ends all QEMUs."""
        ...

    async def ended(self) -> list[str]:
        """Lives of this boot that are over."""
        ...


class Deadline:
    """The lab's: nodeinit. ``to_boottime`` turns the agent's moments into those of the host."""

    kind = DEADLINE

    def __init__(
        self, spawner: NodeInitSpawner, to_boottime: Callable[[float], float], clock: Clock
    ) -> None:
        self._spawner = spawner
        self._to_boottime = to_boottime
        self._clock = clock

    @property
    def kick_s(self) -> float:
        return 0.0

    async def arm(self) -> None:
        return

    async def live(self, life: str, until_s: float) -> None:
        await self._spawner.judge("live", life, self._to_boottime(until_s))

    async def until(self, life: str) -> float | None:
        until_s = await self._spawner.until(life)
        return None if until_s is None else until_s - self._to_boottime(0.0)

    async def free(self, life: str) -> None:
        await self._spawner.judge("free", life)

    async def bury(self, life: str) -> None:
        await self._spawner.judge("end", life)
        while await self._spawner.of_life(life):
            await self._clock.sleep(_POLL_S)

    async def ended(self) -> list[str]:
        return await self._spawner.ended()


class Device(Deadline):
    """A host's: nodeinit's deadline, and the device at ``path``, which fires no later than ``timeout_s`` after it was
    fed last."""

    kind = DEVICE

    def __init__(
        self,
        spawner: NodeInitSpawner,
        to_boottime: Callable[[float], float],
        clock: Clock,
        path: str,
        timeout_s: int,
    ) -> None:
        super().__init__(spawner, to_boottime, clock)
        self._path = path
        self._timeout_s = timeout_s

    @property
    def kick_s(self) -> float:
        return self._timeout_s

    async def arm(self) -> None:
        await self._spawner.arm(self._path, self._timeout_s)


class NoWatchdog:
    """Nothing kills this node's VMs but its agent."""

    kind = NONE
    kick_s = 0.0

    def __init__(self, hypervisor: Hypervisor, clock: Clock) -> None:
        self._hypervisor = hypervisor
        self._clock = clock

    async def arm(self) -> None:
        raise HypervisorError("this node has no watchdog")

    async def live(self, life: str, until_s: float) -> None:
        raise HypervisorError("this node has no watchdog")

    async def until(self, life: str) -> float | None:
        return None

    async def free(self, life: str) -> None:
        return

    async def bury(self, life: str) -> None:
        while True:
            try:
                living = await self._hypervisor.adopt()
                for machine in living:
                    await machine.kill()
            except MonitorSilent:
                living = []
                await self._clock.sleep(_POLL_S)
                continue
            if not living:
                return

    async def ended(self) -> list[str]:
        return []

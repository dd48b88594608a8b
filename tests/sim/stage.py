"""A stage for named scenarios: a small world, people, faults, and the judge who looks at each step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from drover.sim.checkers.judge import Broken, Judge
from drover.sim.faults import Faults
from drover.sim.loop import run
from drover.sim.qemu_model import Guest
from drover.sim.scenario import Scenario
from drover.sim.world import Shape, World

MIB = 2**20
REST_S = 700.0


@dataclass
class Stage:
    """What a scenario plays on: ``s`` for people, ``f`` for what breaks."""

    s: Scenario
    f: Faults
    world: World
    judge: Judge

    async def pause(self, seconds: float) -> None:
        await self.judge.patience(seconds)

    def do(self, fault: Awaitable[None]) -> asyncio.Task[None]:
        """Let a fault run its course beside the story."""
        return self.world.scope.spawn(_awaited(fault), "fault")

    async def moving(self, vm: str = "a", **guest: int) -> str:
        """A VM whose memory is being copied right now; the name of the operation."""
        await self.s.running_vm(vm, guest=large(**guest))
        operation = await self.s.evict(vm)
        await self.s.at("evict.copy")
        await self.pause(0.1)
        return operation


async def _awaited(fault: Awaitable[None]) -> None:
    await fault


def large(**guest: int) -> Guest:
    """A guest whose copy takes about half a second."""
    return Guest(**{"used_bytes": 256 * MIB, "dirty_bytes_per_second": 2 * MIB, **guest})


Story = Callable[[Stage], Awaitable[None]]


def tell(
    story: Story,
    seed: int = 0,
    nodes: int = 3,
    fenced: str = "",
    firmware: tuple[str, ...] = (),
    drains: bool = False,
    rebalances: bool = False,
) -> World:
    """Play a scenario; afterwards everything is mended and must come to rest."""

    async def play() -> World:
        shape = Shape(
            nodes=nodes, fenced=fenced, firmware=firmware, drains=drains, rebalances=rebalances
        )
        world = World(seed, shape)
        try:
            async with world:
                scenario = Scenario(world)
                stage = Stage(scenario, Faults(world), world, Judge(scenario))
                await story(stage)
                stage.judge.check()
                stage.f.heal()
                await stage.judge.rest(REST_S)
        except (Broken, TimeoutError, AssertionError) as failed:
            failed.add_note("\n" + "\n".join(list(world.trace)[-50:]))
            raise
        return world

    return run(play(), seed)

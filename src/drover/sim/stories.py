"""Stories that a seed fills in: people at work, weather, and then time to settle.

``evict``: each VM has a user who moves it, changes their mind, stops, restarts and deletes. With
weather, faults strike meanwhile (safety: checkers at each step); then everything is mended, the
users go home, and all must come to rest within ``SETTLE_S`` (liveness).

The pace says how dense that is. In a ``rush`` every user acts every few seconds, which finds most
in a second of computing; on a ``day`` each VM is moved about once an hour, as in real life.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from drover.api.profiles import LAB
from drover.api.status import ApiError
from drover.base.tasks import TaskScope
from drover.sim.checkers.judge import Broken, Judge
from drover.sim.parts import Dice
from drover.sim.qemu_model import Guest
from drover.sim.scenario import Scenario
from drover.sim.weather import Weather
from drover.sim.world import Shape, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

START_LIMIT_S = 120.0
# A crash back-off lasts up to 300 s, and a copy without progress 150 s.
SETTLE_S = 900.0
POLICIES = ("AlwaysOn", "AlwaysOn", "AlwaysOnUnlessStoppedManually")


class Bad(Protocol):
    """Weather."""

    def start(self) -> None: ...

    async def stop(self) -> None:
        """Everything is mended."""
        ...


@dataclass(frozen=True)
class Pace:
    """How often something happens (seconds)."""

    think_s: tuple[float, float]  # between two acts of one user: least and most
    fault_means_s: tuple[float, ...]  # between two faults at random times: one is drawn by the seed
    work_s: float  # how long people work, unless the plan says otherwise


PACES = {
    "rush": Pace((0.5, 12.0), (5.0, 15.0, 60.0, 1e6), 120.0),
    "day": Pace((60.0, 3540.0), (300.0, 900.0, 3600.0, 1e6), 3600.0),
}


@dataclass(frozen=True)
class Plan:
    """What a run is made of, besides its seed."""

    story: str = "evict"
    nodes: int = 3
    vms: int = 4
    pace: str = "rush"
    seconds: float = 0.0  # of people at work; 0: as the pace says
    weather: bool = True
    fencing: str = LAB.name  # the profile by which the story coldstandby begins and ends

    @property
    def work_s(self) -> float:
        return self.seconds or PACES[self.pace].work_s


@dataclass
class Result:
    """Of one run."""

    seed: int
    broken: Broken | None
    virtual_s: float
    trace: list[str]
    marks: dict[str, int]


class EvictStory:
    """One run; ``play`` inside ``sim.loop.run``."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self._seed = seed
        self._plan = plan
        self._dice = Dice(f"story-{seed}")

    async def play(self) -> Result:
        world = World(self._seed, self._shape())
        broken: Broken | None = None
        try:
            async with world:
                await self._run(Scenario(world))
        except Broken as verdict:
            broken = verdict
        except TimeoutError as late:
            broken = Broken("the story's beginning", str(late), world.loop.time())
        return Result(self._seed, broken, world.loop.time(), list(world.trace), dict(world.marks))

    def _shape(self) -> Shape:
        return Shape(nodes=self._plan.nodes)

    def _people(self, scenario: Scenario, users: TaskScope, vms: list[str], pace: Pace) -> None:
        """Who is at work."""
        for name in vms:
            users.guard(User(scenario, name, pace.think_s).work(), name)

    async def _furnish(self, scenario: Scenario) -> None:
        """What stands before the first VM is made."""

    async def _create(self, scenario: Scenario, number: int) -> None:
        """VM ``number``, from 0."""
        await scenario.create_vm(f"vm{number + 1}", self._dice.pick(POLICIES), self._guest())

    async def _go_home(self, scenario: Scenario) -> None:
        """What people put in order before they leave."""

    def _weather(self, scenario: Scenario, pace: Pace) -> Bad:
        """What breaks."""
        return Weather(scenario, pace.fault_means_s)

    async def _afterwards(self, scenario: Scenario, judge: Judge) -> None:
        """What comes when all has settled."""

    async def _run(self, scenario: Scenario) -> None:
        judge = Judge(scenario)
        names = [f"vm{number}" for number in range(1, self._plan.vms + 1)]
        await self._furnish(scenario)
        for number in range(self._plan.vms):
            await self._create(scenario, number)
        await scenario.until(lambda: all(map(scenario.runs, names)), "all VMs run", START_LIMIT_S)
        pace = PACES[self._plan.pace]
        weather = self._weather(scenario, pace)
        if self._plan.weather:
            weather.start()
        async with TaskScope("users") as users:
            self._people(scenario, users, names, pace)
            await judge.patience(self._plan.work_s)
            if users.failure is not None:
                raise users.failure
        if self._plan.weather:
            await weather.stop()
        scenario.world.note("the users go home")
        await self._go_home(scenario)
        await judge.rest(SETTLE_S)
        await self._afterwards(scenario, judge)

    def _guest(self) -> Guest:
        return Guest(
            used_bytes=self._dice.pick((16, 64, 256)) << 20,
            dirty_bytes_per_second=self._dice.pick((1, 20, 100)) << 20,
            obeys_power_button=self._dice.happens(0.8),
        )


class User:
    """The owner of one VM."""

    def __init__(self, scenario: Scenario, vm: str, think_s: tuple[float, float]) -> None:
        self._scenario = scenario
        self._vm = vm
        self._think_s = think_s
        self._dice = Dice(f"user-{scenario.world.seed}-{vm}")

    async def work(self) -> None:
        """For ever: think, act."""
        while True:
            await asyncio.sleep(self._dice.between(*self._think_s))
            try:
                await self._choose()()
            except ApiError as refused:
                self._scenario.world.note(f"user: refused: {refused.message}")

    def _choose(self) -> Callable[[], Awaitable[None]]:
        wheel = [self._evict] * 5 + [self._abort] * 4 + [self._migrate, self._restart]
        wheel += [self._stop_and_start, self._delete_pod, self._recreate]
        return self._dice.pick(wheel)

    async def _evict(self) -> None:
        operation = await self._scenario.evict(self._vm)
        await self._finished(operation)
        if self._scenario.operation_phase(operation) == "Failed" and self._dice.happens(0.4):
            await self._recreate()  # out of patience

    async def _abort(self) -> None:
        operation = await self._scenario.evict(self._vm)
        await asyncio.sleep(self._dice.between(0.0, self._dice.pick((0.1, 0.6, 3.0))))
        await self._scenario.abort(operation)

    async def _migrate(self) -> None:
        node = self._dice.pick(list(self._scenario.world.nodes))
        selector = {"nodeSelector": {"kubernetes.io/hostname": node}}
        operation = await self._scenario.operate("Migrate", self._vm, migrate=selector)
        await asyncio.sleep(self._dice.between(0.0, 5.0))
        await self._scenario.abort(operation)

    async def _restart(self) -> None:
        await self._finished(await self._scenario.operate("Restart", self._vm))

    async def _stop_and_start(self) -> None:
        force = self._dice.happens(0.5)
        await self._finished(await self._scenario.operate("Stop", self._vm, force=force))
        await self._finished(await self._scenario.operate("Start", self._vm))

    async def _delete_pod(self) -> None:
        pods = self._scenario.pods_of(self._vm)
        if pods:
            grace_s = self._dice.pick((None, None, 0))
            await self._scenario.delete_pod(self._dice.pick(pods)["metadata"]["name"], grace_s)

    async def _recreate(self) -> None:
        await self._scenario.delete_vm(self._vm)
        try:
            await self._scenario.until(lambda: self._scenario.vm(self._vm) is None, "", 60)
        except TimeoutError:
            return
        guest = self._scenario.guests[self._vm]
        await self._scenario.create_vm(self._vm, self._dice.pick(POLICIES), guest)

    async def _finished(self, operation: str) -> None:
        """As long as a person waits."""
        try:
            await self._scenario.finished(operation, self._dice.pick((5.0, 20.0)))
        except TimeoutError:
            return

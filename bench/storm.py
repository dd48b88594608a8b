"""bench/storm: ten of a hundred nodes lose power at once; time until their VMs run again, and what that writes.

Simulated: the real controllers and a hundred real agents on virtual time, against the models of Kubernetes and of QEMU
(a guest starts in 0.15 s there). So the figures are about what drover waits for and writes, not about how fast a
machine is. The yardstick of the time is F, which no rule of ours could undercut.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import Counter
from dataclasses import dataclass, field

from drover.api.kinds import nodefence
from drover.api.profiles import LAB
from drover.api.scheme import NODEROSTER, VM
from drover.sim.loop import run
from drover.sim.scenario import Scenario
from drover.sim.world import GROUP, Shape, World

PROFILE = LAB
PER_NODE = 10
BEFORE_S = 30.0
SETTLE_S = 600.0


@dataclass
class Counted:
    """Writes by kind, and by virtual second."""

    kinds: Counter[str] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)

    @property
    def peak(self) -> int:
        return max(self.seconds.values(), default=0)


@dataclass
class Storm:
    """What came of it: moments are virtual seconds after the loss."""

    lost_vms: int
    fenced_s: list[float]
    again_s: list[float]
    calm: Counted
    storm: Counted


class Meter:
    """Counts every write to the modelled API while it is on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen = world.api.store.revision
        self.counted = Counted()
        world.scope.guard(self._follow(), "meter")

    def begin(self) -> Counted:
        self.counted = Counted()
        return self.counted

    async def _follow(self) -> None:
        store = self._world.api.store
        while True:
            for change in store.since(self._seen):
                self._seen = change.revision
                self.counted.kinds[change.kind.kind] += 1
                self.counted.seconds[int(self._world.loop.time())] += 1
            if store.revision == self._seen:
                await store.wait_changed()


async def play(nodes: int, lost: int) -> Storm:
    addresses = ("10.66.0.10", "10.66.63.250")
    shape = Shape(nodes, "64", "256Gi", fenced=PROFILE.name, addresses=addresses)
    async with World("storm", shape) as world:
        scenario = Scenario(world)
        names = [f"vm{number}" for number in range(nodes * PER_NODE)]
        for name in names:
            await scenario.create_vm(name)
        await scenario.until(lambda: all(map(scenario.runs, names)), "all run", SETTLE_S)
        await scenario.until(lambda: _settled(world), "the roster has settled", SETTLE_S)
        meter = Meter(world)
        calm = meter.begin()
        await world.clock.sleep(BEFORE_S)
        gone = [f"n{number}" for number in range(1, nodes + 1)][:: nodes // lost][:lost]
        theirs = [name for name in names if scenario.node_of(name) in gone]
        storm, began_s = meter.begin(), world.loop.time()
        fenced_s: list[float] = []
        world.on_mark.append(
            lambda mark, _: (
                fenced_s.append(world.loop.time() - began_s) if mark == "fencing.fenced" else None
            )
        )
        for node in gone:
            world.power_off(node)
        again: dict[str, float] = {}

        def all_again() -> bool:
            for name in theirs:
                if name not in again and scenario.node_of(name) not in gone and scenario.runs(name):
                    again[name] = world.loop.time() - began_s
            return len(again) == len(theirs)

        await world.until(all_again, "all run again", SETTLE_S)
        assert len(world.api.objects(VM)) == len(names)
        assert not world.site.ledger.violations
        return Storm(len(theirs), fenced_s, sorted(again.values()), calm, storm)


def _settled(world: World) -> bool:
    obj = world.find(NODEROSTER, GROUP)
    roster = nodefence.roster(obj) if obj is not None else None
    return roster is not None and not roster.previous and len(roster.members) > 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/storm", description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--lost", type=int, default=10)
    asked = parser.parse_args()
    began_s, timing = time.process_time(), PROFILE.timing()
    gc.disable()
    found = run(play(asked.nodes, asked.lost), "storm")
    again, storm = found.again_s, found.storm
    print(
        f"{asked.lost} of {asked.nodes} nodes lost; {found.lost_vms} of {asked.nodes * PER_NODE} VMs theirs"
    )
    first, last = min(found.fenced_s), max(found.fenced_s)
    print(f"F = {timing.fence_s:.2f} s; fenced after {first:.2f} to {last:.2f} s")
    middle = again[len(again) // 2]
    print(f"VMs run again: first {again[0]:.2f} s, median {middle:.2f} s, last {again[-1]:.2f} s")
    calm_per_s = sum(found.calm.kinds.values()) / BEFORE_S
    storm_per_s = sum(storm.kinds.values()) / again[-1]
    print(
        f"writes a second: {calm_per_s:.1f} before, {storm_per_s:.1f} until the last VM runs, worst {storm.peak}"
    )
    for kind, number in storm.kinds.most_common():
        print(f"  {kind:24} {number:6} writes, {number / again[-1]:7.1f} a second; before "
              f"{found.calm.kinds[kind] / BEFORE_S:.1f}")  # fmt: skip
    print(f"{time.process_time() - began_s:.0f} CPU seconds")


if __name__ == "__main__":
    main()

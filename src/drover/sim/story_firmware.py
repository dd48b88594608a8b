"""The story ``firmware``: guests are brought from one version of QEMU to another and back while all goes on.

An operator sets the wanted version now and then: forth, back, the same again (which begins a rollout that had
stopped anew), or none at all, and switches the updates off and on. The owners of the VMs go on as in ``evict``, at a
slower pace, and under weather targets do not start, so that rollouts fail and stop. In the end the operator sets a
version once more, and every guest must come to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from drover.api import firmware, names, scheme
from drover.api.status import ApiError
from drover.sim.parts import Dice
from drover.sim.stories import EvictStory, Pace
from drover.sim.world import Shape

if TYPE_CHECKING:
    from drover.base.tasks import TaskScope
    from drover.sim.scenario import Scenario

VERSIONS = ("7.2.22", "10.0.2")
PAUSE_S = (3.0, 40.0)
SLOWER = 5  # than in ``evict``


class FirmwareStory(EvictStory):
    """One run."""

    def _shape(self) -> Shape:
        return Shape(nodes=self._plan.nodes, firmware=VERSIONS)

    def _people(self, scenario: Scenario, users: TaskScope, vms: list[str], pace: Pace) -> None:
        think_s = (pace.think_s[0] * SLOWER, pace.think_s[1] * SLOWER)
        super()._people(scenario, users, vms, Pace(think_s, pace.fault_means_s, pace.work_s))
        users.guard(Operator(scenario).work(), "operator")

    async def _go_home(self, scenario: Scenario) -> None:
        """Set again, a rollout that had stopped begins anew."""
        await wish(scenario, self._dice.pick(VERSIONS), "the last word")


class Operator:
    """Has the firmware in hand."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._dice = Dice(f"operator-{scenario.world.seed}")
        self._version = ""

    async def work(self) -> None:
        """For ever."""
        number = 0
        while True:
            await asyncio.sleep(self._dice.between(*PAUSE_S))
            number += 1
            self._version = self._dice.pick((*VERSIONS, *VERSIONS, self._version, ""))
            try:
                await wish(
                    self._scenario, self._version, f"{number}", updates=self._dice.happens(0.9)
                )
            except ApiError as refused:
                self._scenario.world.note(f"operator: refused: {refused.message}")


async def wish(scenario: Scenario, version: str, token: str, updates: bool = True) -> None:
    """As ``drover firmware set`` writes it; an empty version is ``none``."""
    world = scenario.world
    world.note(f"operator: firmware {version or 'none'}{'' if updates else ', updates off'}")
    settings = {"firmware": {"version": version or None, "updates": updates}}
    change = {
        "metadata": {"annotations": {firmware.SET_ANNOTATION: token}},
        "spec": {"settings": settings},
    }
    if world.find(scheme.MODULECONFIG, names.MODULE_CONFIG) is None:
        meta = {"name": names.MODULE_CONFIG}
        await world.user.create(scheme.MODULECONFIG, {"metadata": meta, "spec": {}})
    await world.user.patch(scheme.MODULECONFIG, names.MODULE_CONFIG, "", change)

"""What others refuse to let the fencing do holds up nothing else: a review of somebody's that fails, for one Pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.sim.test_scenarios_fencing import elsewhere, fenced_world, phase_of

from drover.api.meta import name_of
from drover.api.scheme import POD
from drover.api.status import ServerError

if TYPE_CHECKING:
    from tests.sim.stage import Stage

    from drover.sim.api.admission import Review

pytestmark = [pytest.mark.sim, pytest.mark.timeout(60)]


def test_a_pod_that_cannot_be_deleted_holds_up_no_restart_and_no_other_fencing() -> None:
    """The webhook that is asked first may have been on the very node that is lost."""
    refused: dict[str, None] = {}

    def review(asked: Review) -> None:
        if asked.kind is POD and asked.operation == "DELETE" and asked.meta["name"] in refused:
            raise ServerError('failed calling webhook "pods.example": connection refused')

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        world.api.admissions.insert(0, review)
        await s.running_vm("a")
        first = s.node_of("a")
        (pod,) = s.pods_of("a")
        refused[name_of(pod)] = None
        stage.do(stage.f.power_cycle(first, 150))
        await elsewhere(stage, "a", first)
        assert phase_of(world, first) == "Fenced"
        second = max(node for node in world.nodes if node != first)
        await s.running_vm("b", nodeSelector={"kubernetes.io/hostname": second})
        stage.do(stage.f.power_cycle(second, 90))
        await s.until(lambda: phase_of(world, second) == "Released", "it is fenced, too", 40)
        refused.clear()
        await s.until(lambda: phase_of(world, first) == "Released", "it goes on by itself", 10)

    fenced_world(story, nodes=5)

"""Checkers that no planted bug of the rules needs: each speaks when somebody does what it forbids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api import names
from drover.api.names import VmmPhase
from drover.api.scheme import MODULECONFIG, NODE, POD, VM, VMM
from drover.api.status import NotFound
from drover.runtime.client import Client
from drover.runtime.controller import Controller
from drover.sim.checkers.judge import Broken

if TYPE_CHECKING:
    from drover.runtime.controller import Outcome

pytestmark = pytest.mark.sim


async def cordon(stage: Stage, *nodes: str, on: bool = True) -> None:
    for node in nodes:
        await stage.world.user.patch(NODE, node, "", {"spec": {"unschedulable": on or None}})


async def two_that_move(stage: Stage) -> tuple[str, str]:
    """Their migrations; both VMs are on one node, so one copies and the other waits."""
    s = stage.s
    await cordon(stage, "n2", "n3")
    for vm in ("a", "b"):
        await s.running_vm(vm, guest=large(dirty_bytes_per_second=0, used_bytes=1 << 30))
    await cordon(stage, "n2", "n3", on=False)
    await stage.pause(40)  # whatever broke is long ago
    for vm in ("a", "b"):
        await s.evict(vm)
    await s.at("evict.copy")
    migrations = [s.migration(vm) for vm in ("a", "b")]
    found = [vmm["metadata"]["name"] for vmm in migrations if vmm is not None]
    return found[0], found[1]


def test_s6_a_transfer_too_many() -> None:
    async def story(stage: Stage) -> None:
        god = Client(stage.world.api.stagehand())
        for name in await two_that_move(stage):
            status = {"status": {"phase": VmmPhase.COPYING}}
            await god.patch(VMM, name, "default", status, subresource="status")
        await stage.pause(1)

    with pytest.raises(Broken, match="S6 limits hold: too many transfers: 2 leave n1"):
        tell(story)


def test_s6_is_content_with_what_the_controllers_do() -> None:
    async def story(stage: Stage) -> None:
        await two_that_move(stage)
        await stage.s.until(lambda: not {"n1"} & {stage.s.node_of(v) for v in "ab"}, "moved", 60)

    tell(story)


def test_s7_a_pod_on_a_cordoned_node() -> None:
    async def story(stage: Stage) -> None:
        await cordon(stage, "n1", "n2", "n3")
        await stage.pause(5)
        await stage.s.create_vm("a")
        await stage.s.until(lambda: bool(stage.s.pods_of("a")), "it has a Pod", 10)
        name = stage.s.pods_of("a")[0]["metadata"]["name"]
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "n2"}}
        await stage.world.user.post(POD.path("default", name, "binding"), binding)
        await stage.pause(1)

    with pytest.raises(Broken, match=r"S7 nothing lands on a cordoned node: .* bound to n2"):
        tell(story)


def test_l3_a_controller_that_never_comes_to_rest() -> None:
    async def always_fails(key: str) -> Outcome:
        raise NotFound("what it wants is not there", "NotFound")

    async def story(stage: Stage) -> None:
        manager = stage.world.manager
        assert manager is not None
        busy = Controller("restless", always_fails)
        manager.add(busy)
        busy.add("a")
        await stage.judge.rest(60)

    with pytest.raises(Broken, match=r"L3 the controllers are at rest: .*restless a"):
        tell(story)


def test_a_guest_that_stays_on_another_firmware() -> None:
    async def story(stage: Stage) -> None:
        await stage.s.running_vm("a")
        firmware = {"firmware": {"version": "10.0.2", "updates": False}}
        meta = {"name": names.MODULE_CONFIG}
        await stage.world.user.create(
            MODULECONFIG, {"metadata": meta, "spec": {"settings": firmware}}
        )
        assert stage.world.find(VM, "a") is not None
        await stage.judge.rest(60)

    with pytest.raises(
        Broken, match=r"wanted firmware: .*VM a is on 7\.2\.22, and 10\.0\.2 is wanted"
    ):
        tell(story, firmware=("7.2.22", "10.0.2"))

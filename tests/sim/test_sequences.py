"""Sequences that a black-box test of drains and of limits expects, in whole worlds.

Those of a single move, of refused operations, of run policies and of a changed wish of placement are played on real
guests: tests/kubectl, tests/e2e (test_migration, test_run_policy, test_firmware).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from tests.sim.stage import Stage, large, tell

from drover.api import names
from drover.api.kinds import vmm as vmms
from drover.api.names import VmmPhase
from drover.api.scheme import NODE, POD, VMM, VMOP
from drover.api.status import NotFound, TooManyRequests
from drover.api.wire import Object

pytestmark = pytest.mark.sim

VMS = ("a", "b", "c")
RETRY_S = 5.0  # as kubectl drain


async def cordon(stage: Stage, *nodes: str, on: bool = True) -> None:
    for node in nodes:
        await stage.world.user.patch(NODE, node, "", {"spec": {"unschedulable": on or None}})


async def three_on_n1(stage: Stage) -> None:
    await cordon(stage, "n2", "n3")
    for vm in VMS:
        await stage.s.running_vm(vm, guest=large())
    await cordon(stage, "n2", "n3", on=False)


def evacuations(stage: Stage, vm: str) -> list[Object]:
    return [
        op
        for op in stage.world.api.objects(VMOP)
        if op["metadata"]["name"].startswith(names.EVACUATION_PREFIX)
        and op["spec"]["virtualMachineName"] == vm
    ]


def marked(stage: Stage, vm: str) -> bool:
    conditions = stage.s.vm_status(vm).get("conditions") or []
    return any(c["type"] == "EvictionRequired" and c["status"] == "True" for c in conditions)


async def ask(stage: Stage, vm: str) -> bool:
    """One eviction of the VM's Pod; whether it was allowed."""
    [pod] = stage.s.pods_of(vm)
    name = pod["metadata"]["name"]
    body = {"metadata": {"name": name, "namespace": "default"}}
    try:
        await stage.world.user.post(POD.path("default", name, "eviction"), body)
    except TooManyRequests:
        return False
    return True


async def drain(stage: Stage, node: str = "n1") -> None:
    """Evict all Pods of a node until they are gone."""
    await cordon(stage, node)
    for vm in VMS:
        while stage.s.node_of(vm) == node:
            with suppress(NotFound, ValueError):  # it has just moved
                await ask(stage, vm)
            await asyncio.sleep(RETRY_S)


def test_d5_a_drain_moves_each_vm_once_one_after_another_and_nothing_moves_back() -> None:
    async def story(stage: Stage) -> None:
        at_once = 0

        def look(mark: str, entry: object) -> None:
            nonlocal at_once
            found = stage.world.api.objects(VMM)
            leaving = [v for v in found if vmms.phase(v) in (VmmPhase.READY, VmmPhase.COPYING)]
            at_once = max(at_once, len(leaving))

        await three_on_n1(stage)
        stage.world.on_mark.append(look)
        await drain(stage)
        assert at_once == 1
        assert {vm: len(evacuations(stage, vm)) for vm in VMS} == dict.fromkeys(VMS, 1)
        places = {vm: stage.s.node_of(vm) for vm in VMS}
        assert "n1" not in places.values()
        await cordon(stage, "n1", on=False)
        await stage.pause(400)
        assert {vm: stage.s.node_of(vm) for vm in VMS} == places
        assert not any(marked(stage, vm) for vm in VMS)

    tell(story, drains=True)


@pytest.mark.parametrize(
    "step", ["eviction.marked", "evacuation.created", "evict.copy", "evict.hand-over"]
)
def test_d5_although_the_controllers_die_at_a_step(step: str) -> None:
    async def story(stage: Stage) -> None:
        await three_on_n1(stage)
        drained = stage.do(drain(stage))
        await stage.s.at(step)
        stage.world.kill_controllers()
        await stage.pause(7)
        stage.world.start_controllers()
        await drained
        assert {vm: len(evacuations(stage, vm)) for vm in VMS} == dict.fromkeys(VMS, 1)
        assert "n1" not in {stage.s.node_of(vm) for vm in VMS}

    tell(story, drains=True)


def test_two_drains_race_for_the_last_free_node() -> None:
    """Each moves its VMs once, and neither sends one to the node of the other."""

    async def story(stage: Stage) -> None:
        await cordon(stage, "n2", "n3")
        for vm in ("a", "b"):
            await stage.s.running_vm(vm, guest=large())
        await cordon(stage, "n1")
        await cordon(stage, "n2", on=False)
        await stage.s.running_vm("c", guest=large())
        await cordon(stage, "n1", "n3", on=False)
        for drained in [stage.do(drain(stage, node)) for node in ("n1", "n2")]:
            await drained
        assert {vm: stage.s.node_of(vm) for vm in VMS} == dict.fromkeys(VMS, "n3")
        assert {vm: len(evacuations(stage, vm)) for vm in VMS} == dict.fromkeys(VMS, 1)

    tell(story, drains=True)


def test_d6_deleting_the_operation_cancels_until_the_next_eviction() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await three_on_n1(stage)
        asked = stage.do(_asked(stage, "a"))
        await s.at("evict.copy")
        [made] = evacuations(stage, "a")
        assert marked(stage, "a")
        await s.abort(made["metadata"]["name"])
        await asked
        await s.until(lambda: not marked(stage, "a"), "the mark is gone", 30)
        await stage.pause(400)
        assert (s.node_of("a"), evacuations(stage, "a")) == ("n1", [])
        assert s.runs("a")
        await ask(stage, "a")
        await s.until(lambda: s.node_of("a") != "n1", "the next eviction moves it", 60)

    tell(story, drains=True)


async def _asked(stage: Stage, vm: str) -> None:
    await ask(stage, vm)


def test_d7_without_room_it_waits_is_tried_again_and_goes_when_there_is_some() -> None:
    """Room is lost after the operation was made: the scheduler refuses, the attempt fails, the next is made."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await three_on_n1(stage)
        for node in ("n2", "n3"):
            stage.world.site.refuse_launch[node] = "no memory"
        assert not await ask(stage, "a")

        def failed() -> int:
            return sum(
                op.get("status", {}).get("phase") == "Failed" for op in evacuations(stage, "a")
            )

        await s.until(lambda: failed() >= 2, "two attempts have failed", 900)
        assert (s.node_of("a"), s.runs("a")) == ("n1", True)
        stage.world.site.refuse_launch.clear()
        await cordon(stage, "n2", "n3")
        await stage.pause(400)  # now no node may take it: nothing is tried, and it waits
        tried = len(evacuations(stage, "a"))
        await stage.pause(400)
        assert len(evacuations(stage, "a")) == tried
        assert s.runs("a")
        await cordon(stage, "n2", "n3", on=False)
        await s.until(lambda: s.node_of("a") != "n1", "there is room, and it goes", 60)

    tell(story, drains=True)

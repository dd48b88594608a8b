"""VMs that required affinity binds to each other leave a node as a group."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.controllers.evacuation.test_evacuation import (
    Stage,
    condition,
    cordon,
    operations,
    room,
)
from tests.controllers.world import NS, World, play

from drover.api import names
from drover.api.evacuation import Mark, mark_patch
from drover.api.placement import REQUIRED
from drover.api.scheme import NODE, POD, VM, VMM
from drover.api.wire import Object

HOSTNAME = "kubernetes.io/hostname"


def bound_to(app: str) -> Any:
    term = {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"app": app}}}
    return {"virtualMachineAndPodAffinity": {REQUIRED: [term]}}


async def running(world: World, name: str, memory: str, affinity: Any) -> Object:
    """A VM on n1."""
    await world.ready_disk(name)
    await world.ready_address(name, f"10.66.10.{20 + len(name)}")
    spec: dict[str, Any] = {
        "runPolicy": "AlwaysOn",
        "memory": {"size": memory},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
    }
    if affinity:
        spec["affinity"] = affinity
    await world.create(VM, name, spec, labels={"app": name})
    await world.settle(2)
    pod = await world.boot(name, "n1")
    await world.settle(4)
    return pod


async def three_nodes(world: World, **memory: str) -> None:
    await world.ready_class()
    for node in ("n1", "n2", "n3"):
        await world.join(node)
        await world.patch(NODE, node, {"metadata": {"labels": {HOSTNAME: node}}})
        await room(world, node, memory.get(node, "16Gi"))


async def mark(world: World, pod: Object) -> None:
    """As the review does."""
    patch = mark_patch(Mark("1970-01-01T00:00:00Z", cordoned=True))
    await world.manager.client.patch(POD, pod["metadata"]["name"], NS, patch)


def plans(found: list[Object]) -> dict[str, Any]:
    return {
        op["spec"]["virtualMachineName"]: json.loads(
            op["metadata"]["annotations"].get(names.PLAN_ANNOTATION, "{}")
        )
        for op in found
    }


@pytest.mark.parametrize("mutual", [False, True], ids=["a follower", "each other"])
def test_they_go_to_the_node_that_takes_all_of_them(mutual: bool) -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await three_nodes(world, n2="3Gi")
        db = await running(world, "db", "1Gi", None)
        web = await running(world, "web", "2Gi", bound_to("db"))
        if mutual:
            await world.patch(VM, "db", {"spec": {"affinity": bound_to("web")}})
            await world.settle(2)
        await cordon(world, "n1")
        for pod in (db, web):
            await mark(world, pod)
        await world.settle(5)
        found = plans(await operations(world))
        assert found["web"] == {"node": "n3", "liftedAffinityTerms": [0]}
        assert found["db"] == {"node": "n3", "liftedAffinityTerms": [0] if mutual else []}
        # One slot for moves away from n1: the first target carries the plan.
        moves, _ = await world.admin.list(VMM, NS)
        assert {move["spec"]["plan"]["node"] for move in moves} == {"n3"}
        [target] = [
            pod
            for pod in (await world.admin.list(POD, NS))[0]
            if pod["metadata"]["uid"] not in (db["metadata"]["uid"], web["metadata"]["uid"])
        ]
        affinity = target["spec"]["affinity"]
        assert "podAffinity" not in affinity
        fields = affinity["nodeAffinity"][REQUIRED]["nodeSelectorTerms"][0]["matchFields"]
        assert {"key": "metadata.name", "operator": "In", "values": ["n3"]} in fields

    play(story, stage.wire)


def test_one_whose_companion_stays_waits_and_says_for_whom() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await three_nodes(world)
        db = await running(world, "db", "1Gi", None)
        web = await running(world, "web", "1Gi", bound_to("db"))
        await cordon(world, "n1")
        await mark(world, web)
        await world.settle(10)
        assert await operations(world) == []
        blocked = condition(await world.get(VM, "web"), "EvacuationBlocked")
        assert blocked is not None
        assert db["metadata"]["name"] in blocked["message"]
        await mark(world, db)
        await world.settle(5)
        assert set(plans(await operations(world))) == {"db", "web"}

    play(story, stage.wire)


def test_no_node_takes_all() -> None:
    stage = Stage()

    async def story(world: World) -> None:
        await three_nodes(world, n2="3Gi", n3="3Gi")
        db = await running(world, "db", "2Gi", None)
        web = await running(world, "web", "2Gi", bound_to("db"))
        await cordon(world, "n1")
        for pod in (db, web):
            await mark(world, pod)
        await world.settle(10)
        assert await operations(world) == []
        blocked = condition(await world.get(VM, "web"), "EvacuationBlocked")
        assert blocked is not None
        assert "no node takes all that must stay together" in blocked["message"]

    play(story, stage.wire)

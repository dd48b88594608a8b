"""The picture of the cluster is made anew for what is in it, and not for heartbeats."""

from __future__ import annotations

from tests.controllers.moving import running
from tests.controllers.moving import wire as wire_moves
from tests.controllers.world import World, play

from drover.api.scheme import NODE, POD
from drover.controllers.pictures import ClusterPicture


def test_it_is_the_same_until_something_in_it_changes() -> None:
    made: list[ClusterPicture] = []

    def wire(world: World) -> None:
        wire_moves(world)
        made.append(ClusterPicture(world.manager))

    async def story(world: World) -> None:
        (picture,) = made
        await running(world, "n1", "n2")
        await world.settle(1)
        first = picture.now()
        assert first is picture.now()
        (pod, *_) = picture.pods.all()
        name = pod["metadata"]["name"]

        await world.set_status(NODE, "n1", {"conditions": [{"type": "Ready", "status": "True"}]})
        await world.set_status(POD, name, {"message": "still here"})
        await world.patch(POD, name, {"metadata": {"annotations": {"a": "b"}}})
        await world.settle(1)
        assert picture.now() is first

        for change in (
            lambda: world.patch(NODE, "n1", {"spec": {"unschedulable": True}}),
            lambda: world.set_status(NODE, "n2", {"allocatable": {"cpu": "3", "memory": "1Gi"}}),
            lambda: world.patch(POD, name, {"metadata": {"labels": {"a": "b"}}}),
            lambda: world.set_status(POD, name, {"phase": "Succeeded"}),
            lambda: world.delete(POD, name),
        ):
            before = picture.now()
            await change()
            await world.settle(1)
            assert picture.now() is not before
        assert f"default/{name}" not in picture.now().pods.row_of

    play(story, wire)

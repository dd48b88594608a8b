"""Images: fetched with progress, judged, tried again when that can help, kept while in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.world import World, play

from drover.api import names
from drover.api.scheme import CVIMAGE, VDISK, VIMAGE, VM
from drover.controllers.images.controller import wire
from drover.controllers.images.decide import ImageView, Refuse, decide
from drover.controllers.images.fetch import Fetched, FetchError, Source
from drover.controllers.storage import ImageInfo
from drover.sim.storage import MemoryStorage

MI = 2**20


def spec(url: str = "https://images.test/linux.qcow2") -> dict[str, Any]:
    return {"dataSource": {"type": "HTTP", "http": {"url": url, "checksum": {"sha256": "ab" * 32}}}}


class Rig:
    """The fetcher takes four seconds, or raises what ``errors`` holds."""

    def __init__(self) -> None:
        self.errors: list[FetchError] = []
        self.asked: list[Source] = []
        self.world: World | None = None
        self.storage: MemoryStorage | None = None

    def wire(self, world: World) -> None:
        self.world, self.storage = world, MemoryStorage(world.clock)
        wire(world.manager, self.storage, self)

    async def fetch(self, source: Source, target: Path, progress: Fetched) -> None:
        assert self.world is not None
        assert self.storage is not None
        self.asked.append(source)
        if self.errors:
            raise self.errors.pop(0)
        for part in range(4):
            progress(part * 16 * MI, 64 * MI)
            await self.world.clock.sleep(1)
        self.storage.fetched[target] = ImageInfo("qcow2", 256 * MI, 64 * MI)


async def ready(world: World, kind: Any = CVIMAGE) -> tuple[str, str, str]:
    status = (await world.get(kind, "linux"))["status"]
    condition = next(c for c in status["conditions"] if c["type"] == "Ready")
    return status["phase"], condition["reason"], condition["message"]


@pytest.mark.parametrize("kind", [VIMAGE, CVIMAGE])
def test_an_image_is_fetched_with_progress(kind: Any) -> None:
    rig = Rig()

    async def story(world: World) -> None:
        made = await world.create(kind, "linux", spec())
        await world.settle(2.5)
        status = (await world.get(kind, "linux"))["status"]
        assert (status["phase"], status["progress"]) == ("Provisioning", "40%")
        await world.settle(6)
        status = (await world.get(kind, "linux"))["status"]
        assert (status["phase"], status["progress"], status["format"]) == ("Ready", "100%", "qcow2")
        assert status["target"]["path"] == f"{made['metadata']['uid']}.qcow2"
        assert status["size"] == {
            "stored": "64Mi", "storedBytes": str(64 * MI), "unpacked": "256Mi", "unpackedBytes": str(256 * MI),
        }  # fmt: skip
        trusted = kind is CVIMAGE  # an administrator's
        wanted = Source("https://images.test/linux.qcow2", {"sha256": "ab" * 32}, trusted)
        assert rig.asked == [wanted]

    play(story, rig.wire)


def test_what_cannot_work_fails_once() -> None:
    rig = Rig()
    rig.errors = [FetchError("https://images.test/linux.qcow2 answers 404 Not Found", False)]

    async def story(world: World) -> None:
        await world.create(CVIMAGE, "linux", spec())
        await world.settle(1000)
        phase, reason, message = await ready(world)
        assert (phase, reason) == ("Failed", "ProvisioningFailed")
        assert "404" in message
        assert len(rig.asked) == 1

    play(story, rig.wire)


def test_what_may_pass_is_tried_again_with_a_back_off() -> None:
    rig = Rig()
    rig.errors = [FetchError("connection refused", True)] * 2

    async def story(world: World) -> None:
        await world.create(CVIMAGE, "linux", spec())
        await world.settle(5)
        assert (await ready(world))[:2] == ("Provisioning", "ProvisioningFailed")
        assert len(rig.asked) == 1
        await world.settle(10)
        assert len(rig.asked) == 2
        await world.settle(15)
        assert len(rig.asked) == 2
        await world.settle(20)
        assert (await ready(world))[0] == "Ready"

    play(story, rig.wire)


@pytest.mark.parametrize(
    ("kind", "body", "word"),
    [
        (VIMAGE, spec("file:///srv/linux.qcow2"), "ClusterVirtualImages only"),
        (CVIMAGE, {"dataSource": {"type": "ContainerImage"}}, "ContainerImage is not served"),
        (CVIMAGE, {"dataSource": {"type": "Upload"}}, "Upload is not served"),
        (CVIMAGE, spec("ftp://images.test/x"), "use an http, https or file URL"),
    ],
)
def test_sources_that_are_not_served_are_named(kind: Any, body: Any, word: str) -> None:
    """Most are refused by the schema already; this is for objects that came before it."""
    image = {"metadata": {"name": "linux", "finalizers": [names.VIMAGE_FINALIZER]}, "spec": body}
    step = decide(ImageView(image, kind is CVIMAGE, ()))
    assert isinstance(step, Refuse)
    assert word in step.message


def test_a_refused_source_is_shown() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        await world.create(VIMAGE, "linux", spec("file:///srv/linux.qcow2"))
        await world.settle()
        phase, _, message = await ready(world, VIMAGE)
        assert phase == "Failed"
        assert "ClusterVirtualImages only" in message
        assert rig.asked == []

    play(story, rig.wire)


def test_an_image_in_use_is_kept() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        await world.create(CVIMAGE, "linux", spec())
        await world.settle(10)
        await world.create(
            VM, "vm", {"blockDeviceRefs": [{"kind": "ClusterVirtualImage", "name": "linux"}]}
        )
        reference = {"kind": "ClusterVirtualImage", "name": "linux"}
        await world.create(
            VDISK, "root", {"dataSource": {"type": "ObjectRef", "objectRef": reference}}
        )
        await world.delete(CVIMAGE, "linux")
        await world.settle()
        status = (await world.get(CVIMAGE, "linux"))["status"]
        in_use = next(c for c in status["conditions"] if c["type"] == "InUse")
        assert in_use["message"].startswith(
            "Used by VirtualMachine default/vm, VirtualDisk default/root"
        )
        await world.delete(VM, "vm")
        await world.settle()
        assert await world.find(CVIMAGE, "linux") is not None
        await world.set_status(VDISK, "root", {"phase": "Ready"})
        await world.settle()
        assert await world.find(CVIMAGE, "linux") is None
        assert rig.storage is not None
        assert rig.storage.images == {}

    play(story, rig.wire)


def test_a_deletion_ends_the_fetch() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        await world.create(CVIMAGE, "linux", spec())
        await world.settle(1.5)
        await world.delete(CVIMAGE, "linux")
        await world.settle(3)
        assert await world.find(CVIMAGE, "linux") is None

    play(story, rig.wire)

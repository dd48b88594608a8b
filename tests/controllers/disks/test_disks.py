"""Disks: made once, never under a running VM's feet removed, and free again after their VM."""

from __future__ import annotations

from tests.controllers.world import NS, World, play

from drover.api.scheme import CVIMAGE, VDISK, VM, VML
from drover.controllers.disks.controller import wire
from drover.controllers.storage import ImageInfo, StorageError
from drover.sim.storage import MemoryStorage

MI = 2**20
FROM_IMAGE = {
    "dataSource": {
        "type": "ObjectRef",
        "objectRef": {"kind": "ClusterVirtualImage", "name": "linux"},
    }
}


class Rig:
    def __init__(self) -> None:
        self.storage: MemoryStorage | None = None

    def wire(self, world: World) -> None:
        self.storage = MemoryStorage(world.clock)
        wire(world.manager, self.storage)

    @property
    def files(self) -> MemoryStorage:
        assert self.storage is not None
        return self.storage


async def image(world: World, rig: Rig, size: int = 64 * MI) -> None:
    rig.files.images["img.qcow2"] = ImageInfo("raw", size)
    await world.create(CVIMAGE, "linux", {})
    await world.set_status(CVIMAGE, "linux", {"phase": "Ready", "target": {"path": "img.qcow2"}})


async def status(world: World, name: str = "root") -> dict[str, object]:
    found: dict[str, object] = (await world.get(VDISK, name)).get("status", {})
    return found


def conditions(found: dict[str, object]) -> dict[str, tuple[str, str]]:
    entries: list[dict[str, str]] = found["conditions"]  # type: ignore[assignment]
    return {c["type"]: (c["reason"], c["message"]) for c in entries}


def test_a_blank_disk() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        made = await world.create(VDISK, "root", {"persistentVolumeClaim": {"size": "1Gi"}})
        await world.settle()
        found = await status(world)
        assert (found["phase"], found["capacity"]) == ("Ready", "1Gi")
        assert found["target"] == {"path": f"{made['metadata']['uid']}.qcow2"}
        await world.delete(VDISK, "root")
        await world.settle()
        assert await world.find(VDISK, "root") is None
        assert rig.files.disks == {}

    play(story, rig.wire)


def test_a_disk_waits_for_its_image_and_shows_progress() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        await world.create(VDISK, "root", FROM_IMAGE)
        await world.settle()
        found = await status(world)
        assert found["phase"] == "Pending"
        assert conditions(found)["DatasourceReady"] == (
            "ClusterImageNotFound", 'ClusterVirtualImage "linux" does not exist',
        )  # fmt: skip
        await image(world, rig)
        await world.settle(1.5)
        found = await status(world)
        assert (found["phase"], found["progress"]) == ("Provisioning", "50%")
        await world.settle(3)
        found = await status(world)
        assert (found["phase"], found["capacity"], found["progress"]) == ("Ready", "64Mi", "100%")

    play(story, rig.wire)


def test_a_disk_whose_image_failed_says_why() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        why = "file://IMAGE names another host"
        ready = {"type": "Ready", "status": "False", "reason": "ProvisioningFailed", "message": why}
        await world.create(CVIMAGE, "linux", {})
        await world.set_status(CVIMAGE, "linux", {"phase": "Failed", "conditions": [ready]})
        await world.create(VDISK, "root", FROM_IMAGE)
        await world.settle()
        assert conditions(await status(world))["DatasourceReady"] == (
            "ClusterImageNotReady", f'ClusterVirtualImage "linux" is Failed: {why}',
        )  # fmt: skip

    play(story, rig.wire)


def test_a_disk_smaller_than_its_image_fails() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        await image(world, rig)
        await world.create(VDISK, "root", {**FROM_IMAGE, "persistentVolumeClaim": {"size": "8Mi"}})
        await world.settle(5)
        found = await status(world)
        assert found["phase"] == "Failed"
        assert "smaller" in conditions(found)["Ready"][1]

    play(story, rig.wire)


def test_a_passing_failure_is_tried_again() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        rig.files.fail = StorageError("the NFS server is away")
        await world.create(VDISK, "root", {"persistentVolumeClaim": {"size": "1Gi"}})
        await world.settle()
        assert conditions(await status(world))["Ready"] == (
            "ProvisioningFailed",
            "the NFS server is away",
        )
        await world.settle(20)
        assert (await status(world))["phase"] == "Ready"

    play(story, rig.wire)


def test_a_deletion_ends_the_copy() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        await image(world, rig)
        await world.create(VDISK, "root", FROM_IMAGE)
        await world.settle(0.5)
        await world.delete(VDISK, "root")
        await world.settle(3)
        assert await world.find(VDISK, "root") is None
        assert rig.files.disks == {}

    play(story, rig.wire)


def test_a_held_disk_stays_until_its_vm_lets_go() -> None:
    """Safety rule 11."""
    rig = Rig()

    async def story(world: World) -> None:
        await world.create(VDISK, "root", {"persistentVolumeClaim": {"size": "1Gi"}})
        refs = [{"kind": "VirtualDisk", "name": "root"}]
        vm = await world.create(VM, "linux-vm", {"blockDeviceRefs": refs})
        await world.settle()
        held = {"name": "linux-vm", "uid": vm["metadata"]["uid"], "epoch": 1}
        await world.set_status(VDISK, "root", {"heldBy": held})
        await world.delete(VDISK, "root")
        await world.settle()
        found = await status(world)
        assert 'VirtualMachine "linux-vm" uses this disk' in conditions(found)["InUse"][1]
        assert rig.files.disks
        await world.set_status(VDISK, "root", {"heldBy": None})
        await world.settle()
        assert await world.find(VDISK, "root") is None
        assert rig.files.disks == {}

    play(story, rig.wire)


def test_a_disk_of_a_vm_that_is_gone_is_freed_but_not_while_its_lease_is_held() -> None:
    rig = Rig()

    async def story(world: World) -> None:
        await world.create(VDISK, "root", {"persistentVolumeClaim": {"size": "1Gi"}})
        await world.settle()
        owner = {"apiVersion": "v", "kind": "VirtualMachine", "name": "ghost", "uid": "u1"}
        lease = {
            "metadata": {
                "name": "ghost",
                "namespace": NS,
                "ownerReferences": [owner],
                "finalizers": ["drover.dev/held"],
            },
            "spec": {
                "holder": "p1",
                "node": "n1",
                "nodeIncarnation": "i",
                "epoch": 1,
                "disks": ["root"],
            },
        }
        made = await world.manager.client.create(VML, lease)
        await world.set_status(
            VDISK, "root", {"heldBy": {"name": "ghost", "uid": "u1", "epoch": 1}}
        )
        await world.settle(5)
        assert (await status(world))["heldBy"]
        released = {**made, "spec": {**made["spec"], "holder": "", "epoch": 2}}
        await world.node("n1").replace(VML, released)
        await world.settle(5)
        assert "heldBy" not in await status(world)

    play(story, rig.wire)

"""What a guest has, disks and address, nobody else gets before it has ended, whatever its VM's spec says by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.sim.stage import Stage, tell
from tests.sim.test_scenarios_lease import lose_lease

from drover.api.scheme import POD, VDISK, VM, VMIP, VMIPLEASE
from drover.sim.faults import lease_write
from drover.sim.qemu_model import Guest
from drover.sim.scenario import NAMESPACE
from drover.sim.world import CONTROLLERS

if TYPE_CHECKING:
    from drover.api.wire import Object

pytestmark = pytest.mark.sim


async def claim(stage: Stage, name: str) -> None:
    meta = {"name": name, "namespace": NAMESPACE}
    await stage.world.user.create(VMIP, {"metadata": meta, "spec": {"type": "Auto"}})


async def change(stage: Stage, vm: str, **spec: object) -> None:
    await stage.world.user.patch(VM, vm, NAMESPACE, {"spec": spec})


def disks(*names: str) -> list[Object]:
    return [{"kind": "VirtualDisk", "name": name} for name in names]


async def two_for_one_address(stage: Stage) -> None:
    """``a`` has it and leaves slowly, ``b`` waits for it."""
    await claim(stage, "shared")
    slow = Guest(powerdown_s=30)
    await stage.s.running_vm(
        "a", guest=slow, terminationGracePeriodSeconds=60, virtualMachineIPAddressName="shared"
    )
    await stage.s.create_vm("b", virtualMachineIPAddressName="shared")
    await stage.pause(5)
    assert not stage.s.running_copies("b")


def test_the_address_of_a_vm_that_is_being_deleted_is_free_when_its_guest_has_ended() -> None:
    async def story(stage: Stage) -> None:
        s = stage.s
        await two_for_one_address(stage)
        address = s.vm_status("a")["ipAddress"]
        await s.delete_vm("a")
        await s.until(lambda: s.runs("b"), "b has the address", 60)
        assert s.vm_status("b")["ipAddress"] == address

    tell(story)


def test_the_address_that_a_running_guest_has_stays_its_own_though_its_vm_names_another() -> None:
    """The change waits for a restart. Even its owner cannot take it away before that."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await two_for_one_address(stage)
        await claim(stage, "other")
        address = s.vm_status("a")["ipAddress"]
        await change(stage, "a", virtualMachineIPAddressName="other")
        await world.user.delete(VMIP, "shared", NAMESPACE)
        await stage.pause(20)
        assert s.vm_status("a")["ipAddress"] == address
        assert world.find(VMIP, "shared") is not None
        await s.finished(await s.operate("Restart", "a"))
        await s.until(lambda: s.vm_status("a")["ipAddress"] != address, "a has the other one", 60)
        await s.until(lambda: world.find(VMIP, "shared") is None, "the claim may go", 10)
        await claim(stage, "shared")
        await s.until(lambda: s.runs("b"), "b has the address", 60)

    tell(story)


def test_an_address_whose_claim_was_taken_away_by_force_goes_to_nobody_else() -> None:
    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await claim(stage, "shared")
        await s.running_vm("a", virtualMachineIPAddressName="shared")
        lease = "ip-" + s.vm_status("a")["ipAddress"].replace(".", "-")
        await world.user.delete(VMIP, "shared", NAMESPACE)
        await world.user.patch(VMIP, "shared", NAMESPACE, {"metadata": {"finalizers": []}})
        await stage.pause(700)
        assert world.find(VMIPLEASE, lease, "") is not None
        await s.delete_vm("a")
        await s.until(lambda: s.vm("a") is None, "a is gone", 30)
        await s.until(lambda: world.find(VMIPLEASE, lease, "") is None, "and its address", 700)

    tell(story)


async def a_disk(stage: Stage, name: str) -> None:
    meta = {"name": name, "namespace": NAMESPACE}
    blank = {"persistentVolumeClaim": {"size": "1Gi"}}
    await stage.world.user.create(VDISK, {"metadata": meta, "spec": blank})


async def two_for_one_disk(stage: Stage, **options: object) -> None:
    """``a`` runs with the disk of its name, ``b`` waits for it."""
    await stage.s.running_vm("a", **options)
    await stage.s.create_vm("b", blockDeviceRefs=disks("a"))
    await stage.pause(3)
    assert not stage.s.running_copies("b")


def test_a_rebuilt_lease_holds_the_disks_that_the_guest_has() -> None:
    """Its spec names others by now, for the next start."""

    async def story(stage: Stage) -> None:
        s = stage.s
        await two_for_one_disk(stage)
        await a_disk(stage, "spare")
        await change(stage, "a", blockDeviceRefs=disks("spare"))
        await stage.pause(3)
        lose_lease(stage)
        await s.until(lambda: s.lease("a") is not None, "the lease is rebuilt", 60)
        await stage.pause(10)
        assert s.lease_spec("a")["disks"] == ["a"]
        assert s.runs("a")
        await s.finished(await s.operate("Restart", "a"))
        await s.until(lambda: s.runs("a") and s.runs("b"), "each has one", 60)

    tell(story)


def test_a_vm_that_stops_keeps_its_disks_though_its_lease_is_lost_meanwhile() -> None:
    """Absent is not released (safety rule 1)."""

    async def story(stage: Stage) -> None:
        s = stage.s
        slow = Guest(powerdown_s=20)
        await two_for_one_disk(
            stage,
            policy="AlwaysOnUnlessStoppedManually",
            guest=slow,
            terminationGracePeriodSeconds=60,
        )
        await s.operate("Stop", "a")
        await s.at("stop.powerdown")
        lose_lease(stage)
        await s.until(lambda: s.runs("b"), "b has the disk", 90)

    tell(story)


def test_a_start_that_was_given_up_does_not_begin_when_its_acquire_lands_at_last() -> None:
    """Its leader died with the write on the way, its disk has gone to another VM, and its node has not heard that its
    Pod is deleted."""

    async def story(stage: Stage) -> None:
        s, world = stage.s, stage.world
        await a_disk(stage, "spare")
        held = stage.f.hold(CONTROLLERS, lease_write)
        await s.create_vm("a")
        await s.until(lambda: bool(held.requests), "the Acquire is under way", 30)
        (pod,) = s.pods_of("a")
        node = pod["spec"]["nodeName"]
        other = next(name for name in world.nodes if name != node)
        deaf = stage.do(stage.f.lag(node, POD, 70))
        world.kill_controllers()
        await change(stage, "a", blockDeviceRefs=disks("spare"), runPolicy="AlwaysOff")
        world.start_controllers()
        at_home = {"kubernetes.io/hostname": other}
        await s.create_vm("b", blockDeviceRefs=disks("a"), nodeSelector=at_home)
        await s.until(lambda: s.runs("b"), "b has the disk", 40)
        held.let_go()
        await stage.pause(20)
        await deaf
        await s.until(lambda: s.phase("a") == "Stopped", "a is off", 30)
        assert s.runs("b")

    tell(story)

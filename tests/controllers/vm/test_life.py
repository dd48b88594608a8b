"""The life of one VM against the API model: start, run, end, stop, restart, delete."""

from __future__ import annotations

import json

import pytest
from tests.controllers.world import NS, Story, World, play

from drover.api import names
from drover.api.kinds import vml as vmls
from drover.api.machine import GuestNetwork
from drover.api.scheme import POD, SECRET, VDISK, VM, VML
from drover.controllers.vm.act import Settings
from drover.controllers.vm.controller import wire

SETTINGS = Settings(GuestNetwork("10.66.10.254", 24), "/shared/disks", "/shared/images")
SPEC = {
    "cpu": {"cores": 2, "coreFraction": "50%"},
    "memory": {"size": "1Gi"},
    "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
}


def tell(story: Story, seed: int = 0) -> None:
    play(story, lambda world: wire(world.manager, SETTINGS), seed)


async def needs(world: World, vm: str = "linux-vm") -> None:
    await world.ready_class()
    await world.ready_disk("root")
    await world.ready_address(vm)
    for node in ("n1", "n2"):
        await world.join(node)


async def running(world: World, policy: str = "AlwaysOnUnlessStoppedManually") -> None:
    await needs(world)
    await world.create(VM, "linux-vm", {**SPEC, "runPolicy": policy})
    await world.settle()
    if policy == "Manual":
        await world.ask("linux-vm", "start", "op;2026-01-01T00:00:01Z")
        await world.settle()
    await world.boot("linux-vm", "n1")


def test_a_vm_starts_once_its_needs_are_met() -> None:
    async def story(world: World) -> None:
        await world.create(VM, "linux-vm", SPEC)
        await world.settle()
        vm = await world.get(VM, "linux-vm")
        assert vm["status"]["phase"] == "Pending"
        why = {
            c["type"]: c["message"] for c in vm["status"]["conditions"] if c["status"] == "False"
        }
        assert 'VirtualDisk "root" does not exist' in why["BlockDevicesReady"]
        assert await world.pods("linux-vm") == []

        await needs(world)
        await world.settle()
        assert await world.phase("linux-vm") == "Starting"
        pod = await world.living_pod("linux-vm")
        machine = json.loads(pod["metadata"]["annotations"][names.MACHINE_ANNOTATION])
        assert machine["ip"] == "10.66.10.14"
        assert machine["disks"][0]["path"] == "/shared/disks/root.qcow2"
        assert machine["disks"][0]["boot_order"] == 1
        assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "1"

        await world.boot("linux-vm", "n1")
        status = (await world.get(VM, "linux-vm"))["status"]
        assert (status["phase"], status["nodeName"]) == ("Running", "n1")
        assert status["ipAddress"] == "10.66.10.14"
        assert status["stats"]["lastStartTime"]
        assert set(status["stats"]["launchTimeDuration"]) == {
            "waitingForDependencies",
            "virtualMachineStarting",
        }
        ready = [{"type": "drover.dev/AgentReady", "status": "True"}]
        await world.pod_status(pod, "n1", {"conditions": ready})
        await world.settle()
        status = (await world.get(VM, "linux-vm"))["status"]
        assert "guestOSAgentStarting" in status["stats"]["launchTimeDuration"]
        assert {c["type"]: c["status"] for c in status["conditions"]}["AgentReady"] == "True"
        lease = await world.get(VML, "linux-vm")
        assert lease["spec"]["nodeIncarnation"] == "life-n1"
        assert lease["spec"]["disks"] == ["root"]
        assert lease["metadata"]["finalizers"] == [names.HELD_FINALIZER]
        held = (await world.get(VDISK, "root"))["status"]["heldBy"]
        assert (held["name"], held["uid"]) == (
            "linux-vm",
            (await world.get(VM, "linux-vm"))["metadata"]["uid"],
        )

    tell(story)


@pytest.mark.parametrize(
    ("policy", "reason", "again"),
    [
        ("AlwaysOn", "GuestShutdown", True),
        ("AlwaysOn", "GuestReset", True),
        ("AlwaysOnUnlessStoppedManually", "GuestReset", True),
        ("AlwaysOnUnlessStoppedManually", "GuestShutdown", False),
        ("AlwaysOnUnlessStoppedManually", "PodDeleted", True),
        ("Manual", "GuestReset", True),
        ("Manual", "GuestShutdown", False),
        ("Manual", "Crashed", False),
    ],
)
def test_runpolicy_decides_after_an_end(policy: str, reason: str, again: bool) -> None:
    async def story(world: World) -> None:
        await running(world, policy)
        first = await world.living_pod("linux-vm")
        await world.release("linux-vm", "n1", reason)
        await world.settle()
        if again:
            second = await world.boot("linux-vm", "n2")
            assert second["metadata"]["uid"] != first["metadata"]["uid"]
            assert await world.phase("linux-vm") == "Running"
        else:
            await world.settle(400)
            assert await world.phase("linux-vm") == "Stopped"
            assert len(await world.pods("linux-vm")) == 1
            assert "heldBy" not in (await world.get(VDISK, "root"))["status"]

    tell(story)


def test_crashes_back_off_and_a_long_life_forgives() -> None:
    async def story(world: World) -> None:
        await running(world, "AlwaysOn")
        for wait_s in (10, 20, 40):
            await world.release("linux-vm", "n1", "Crashed", "Failed")
            await world.settle(wait_s - 2)
            assert await world.phase("linux-vm") == "Pending"
            await world.settle(4)
            await world.boot("linux-vm", "n1")
        await world.settle(601)
        await world.release("linux-vm", "n1", "Crashed", "Failed")
        await world.settle(12)
        await world.boot("linux-vm", "n1")

    tell(story)


def test_stop_start_and_restart_by_operations() -> None:
    async def story(world: World) -> None:
        await running(world)
        pod = await world.living_pod("linux-vm")
        await world.ask("linux-vm", "stop", "op1;2026-01-01T00:01:00Z")
        await world.settle()
        assert await world.phase("linux-vm") == "Stopping"
        wish = (await world.get(POD, pod["metadata"]["name"]))["metadata"]["annotations"]
        assert wish[names.STOP_ANNOTATION] == "graceful"
        await world.ask("linux-vm", "stop", "op2;2026-01-01T00:01:05Z;force")
        await world.settle()
        wish = (await world.get(POD, pod["metadata"]["name"]))["metadata"]["annotations"]
        assert wish[names.STOP_ANNOTATION] == "force"
        await world.release("linux-vm", "n1", "StoppedForced", "Failed")
        await world.settle(100)
        vm = await world.get(VM, "linux-vm")
        assert vm["status"]["phase"] == "Stopped"
        assert vm["status"]["stoppedManually"] is True

        await world.ask("linux-vm", "start", "op3;2026-01-01T00:05:00Z")
        await world.settle()
        first = await world.boot("linux-vm", "n1")
        await world.ask("linux-vm", "restart", "op4;2026-01-01T00:06:00Z")
        await world.settle()
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle()
        second = await world.boot("linux-vm", "n1")
        assert first["metadata"]["uid"] != second["metadata"]["uid"]

    tell(story)


def test_a_start_that_comes_while_stopping_is_not_lost() -> None:
    async def story(world: World) -> None:
        await running(world, "Manual")
        await world.ask("linux-vm", "stop", "op1;2026-01-01T00:01:00Z")
        await world.settle()
        await world.ask("linux-vm", "start", "op2;2026-01-01T00:01:05Z")
        await world.settle()
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle()
        await world.boot("linux-vm", "n1")
        assert await world.phase("linux-vm") == "Running"

    tell(story)


def test_a_restart_before_the_start_takes_a_new_pod() -> None:
    async def story(world: World) -> None:
        await needs(world)
        await world.create(VM, "linux-vm", SPEC)
        await world.settle()
        first = await world.living_pod("linux-vm")
        await world.ask("linux-vm", "restart", "op1;2026-01-01T00:01:00Z")
        await world.settle()
        second = await world.living_pod("linux-vm")
        assert first["metadata"]["uid"] != second["metadata"]["uid"]
        await world.boot("linux-vm", "n1")

    tell(story)


def test_deletion_waits_for_the_release_and_leaves_nothing() -> None:
    async def story(world: World) -> None:
        await running(world)
        await world.delete(VM, "linux-vm")
        await world.settle(30)
        assert await world.phase("linux-vm") == "Terminating"
        assert vmls.holder(await world.get(VML, "linux-vm"))
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle()
        assert await world.find(VM, "linux-vm") is None
        assert await world.find(VML, "linux-vm") is None
        assert "heldBy" not in (await world.get(VDISK, "root"))["status"]

    tell(story)


def test_a_second_vm_waits_for_the_disk() -> None:
    async def story(world: World) -> None:
        await running(world)
        await world.ready_address("other", "10.66.10.15")
        await world.create(VM, "other", SPEC)
        await world.settle(30)
        other = await world.get(VM, "other")
        why = {c["type"]: c["message"] for c in other["status"]["conditions"]}
        assert (
            why["BlockDevicesReady"] == 'VirtualDisk "root" is in use by VirtualMachine "linux-vm"'
        )
        assert await world.pods("other") == []
        await world.ask("linux-vm", "stop", "op1;2026-01-01T00:01:00Z")
        await world.settle()
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle()
        await world.boot("other", "n2")
        assert await world.phase("other") == "Running"

    tell(story)


def test_a_missing_lease_of_a_running_vm_is_rebuilt_from_the_nodes() -> None:
    """Safety rule 1: absent is not released."""

    async def story(world: World) -> None:
        await running(world)
        pod = await world.living_pod("linux-vm")
        epoch = vmls.epoch(await world.get(VML, "linux-vm"))
        await world.lose_lease("linux-vm")
        machines = [{"vm": "default/linux-vm", "pod": pod["metadata"]["uid"]}]
        for _ in range(3):  # one node alone proves nothing
            await world.settle(2)
            await world.renew("n1", machines)
        assert await world.find(VML, "linux-vm") is None
        assert await world.phase("linux-vm") == "Running"
        assert len(await world.pods("linux-vm")) == 1
        for _ in range(3):
            await world.settle(2)
            await world.renew("n2", [])
            await world.renew("n1", machines)
        await world.settle(2)
        lease = await world.get(VML, "linux-vm")
        assert vmls.holder(lease) == pod["metadata"]["uid"]
        assert vmls.epoch(lease) > epoch
        assert vmls.has_held_mark(lease)
        assert len(await world.pods("linux-vm")) == 1

    tell(story)


def test_a_missing_lease_of_a_dead_vm_is_rebuilt_as_released() -> None:
    async def story(world: World) -> None:
        await running(world, "AlwaysOn")
        await world.lose_lease("linux-vm")
        await world.pod_status(await world.living_pod("linux-vm"), "n1", {"phase": "Failed"})
        for _ in range(8):
            await world.settle(2)
            await world.renew("n1", [])
            await world.renew("n2", [])
        await world.settle(15)
        await world.boot("linux-vm", "n2")

    tell(story)


@pytest.mark.parametrize("seed", range(4))
def test_a_stopped_vm_whose_lease_went_first_is_deleted_without_a_new_lease(seed: int) -> None:
    """The end of a namespace deletes both at once, and takes no new objects; in whatever order the last nodes tell."""

    async def story(world: World) -> None:
        await running(world)
        await world.ask("linux-vm", "stop", "op;2026-01-01T00:01:00Z")
        await world.settle()
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle()
        await world.lose_lease("linux-vm")
        began = world.api.store.revision
        await world.delete(VM, "linux-vm")
        for _ in range(4):
            await world.settle(2)
            await world.renew("n1", [])
            await world.renew("n2", [])
        await world.settle(5)
        assert await world.find(VM, "linux-vm") is None
        assert [c for c in world.api.store.since(began) if c.kind == VML] == []

    tell(story, seed)


def test_a_node_that_has_not_looked_yet_has_not_spoken() -> None:
    """An agent that has just started renews its Lease before it knows what runs: safety rule 1."""

    async def story(world: World) -> None:
        await running(world, "AlwaysOn")
        await world.lose_lease("linux-vm")
        for _ in range(6):
            await world.settle(2)
            await world.renew("n1", None)
            await world.renew("n2", [])
        assert await world.find(VML, "linux-vm") is None
        assert len(await world.pods("linux-vm")) == 1

    tell(story)


def test_a_pod_that_fails_before_its_start_is_replaced_after_a_back_off() -> None:
    async def story(world: World) -> None:
        await needs(world)
        await world.create(VM, "linux-vm", SPEC)
        await world.settle()
        pod = await world.living_pod("linux-vm")
        await world.set_status(POD, pod["metadata"]["name"], {"phase": "Failed"})
        await world.settle(5)
        assert await world.phase("linux-vm") == "Pending"
        await world.settle(10)
        await world.boot("linux-vm", "n1")

    tell(story)


def test_a_pod_deleted_by_hand_before_its_start_is_replaced() -> None:
    async def story(world: World) -> None:
        await needs(world)
        await world.create(VM, "linux-vm", SPEC)
        await world.settle()
        await world.delete(POD, (await world.living_pod("linux-vm"))["metadata"]["name"])
        await world.settle()
        await world.boot("linux-vm", "n1")

    tell(story)


def test_a_force_deleted_pod_starts_nothing_until_the_release() -> None:
    async def story(world: World) -> None:
        await running(world, "AlwaysOn")
        pod = await world.living_pod("linux-vm")
        await world.admin.delete(POD, pod["metadata"]["name"], NS, grace_s=0)
        await world.settle(60)
        assert await world.pods("linux-vm") == []
        assert await world.phase("linux-vm") == "Stopping"
        await world.release("linux-vm", "n1", "PodDeleted")
        await world.settle()
        await world.boot("linux-vm", "n2")

    tell(story)


def test_policy_changes() -> None:
    async def story(world: World) -> None:
        await running(world, "AlwaysOn")
        await world.patch(VM, "linux-vm", {"spec": {"runPolicy": "AlwaysOff"}})
        await world.settle()
        assert await world.phase("linux-vm") == "Stopping"
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle()
        assert await world.phase("linux-vm") == "Stopped"
        await world.patch(VM, "linux-vm", {"spec": {"runPolicy": "Manual"}})
        await world.settle(5)
        assert await world.phase("linux-vm") == "Stopped"
        await world.patch(VM, "linux-vm", {"spec": {"runPolicy": "AlwaysOn"}})
        await world.settle()
        await world.boot("linux-vm", "n1")

    tell(story)


def test_user_data_reaches_the_node_as_a_secret() -> None:
    async def story(world: World) -> None:
        await needs(world)
        data = {"type": "UserData", "userData": "#!/bin/sh\necho hello"}
        await world.create(VM, "linux-vm", {**SPEC, "provisioning": data})
        await world.settle()
        pod = await world.living_pod("linux-vm")
        assert pod["spec"]["volumes"][0]["secret"]["secretName"] == "d8v-ci-linux-vm"
        assert (await world.get(SECRET, "d8v-ci-linux-vm"))["data"]["userData"]

        reference = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "mine"}}
        await world.ready_disk("second")
        await world.ready_address("other", "10.66.10.15")
        refs = [{"kind": "VirtualDisk", "name": "second"}]
        await world.create(
            VM, "other", {**SPEC, "blockDeviceRefs": refs, "provisioning": reference}
        )
        await world.settle()
        vm = await world.get(VM, "other")
        why = {c["type"]: c["message"] for c in vm["status"]["conditions"]}
        assert why["ProvisioningReady"] == 'Secret "mine" does not exist'
        await world.admin.create(
            SECRET, {"metadata": {"name": "mine", "namespace": NS}, "data": {"userData": "eA=="}}
        )
        await world.settle(10)
        assert (await world.living_pod("other"))["spec"]["volumes"][0]["secret"][
            "secretName"
        ] == "mine"

    tell(story)


def test_changes_that_need_a_restart_are_shown_and_applied() -> None:
    async def story(world: World) -> None:
        await running(world)
        await world.patch(
            VM, "linux-vm", {"spec": {"memory": {"size": "2Gi"}, "runPolicy": "AlwaysOn"}}
        )
        await world.settle()
        status = (await world.get(VM, "linux-vm"))["status"]
        assert status["restartAwaitingChanges"] == [
            {
                "operation": "replace",
                "path": "memory.size",
                "currentValue": "1Gi",
                "desiredValue": "2Gi",
            }
        ]
        await world.patch(
            VM, "linux-vm", {"spec": {"disruptions": {"restartApprovalMode": "Automatic"}}}
        )
        await world.settle()
        await world.release("linux-vm", "n1", "Stopped")
        await world.settle()
        await world.boot("linux-vm", "n1")
        assert "restartAwaitingChanges" not in (await world.get(VM, "linux-vm"))["status"]

    tell(story)


def test_a_change_before_the_start_takes_a_new_pod() -> None:
    """Its disks must be those that are claimed; and who asked for too much memory can ask for less."""

    async def story(world: World) -> None:
        await needs(world)
        await world.ready_disk("second")
        await world.create(VM, "linux-vm", {**SPEC, "memory": {"size": "900Gi"}})
        await world.settle()
        first = await world.living_pod("linux-vm")
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "message": "0/3 nodes are available: 3 Insufficient memory. no new claims to "
            "deallocate,. preemption: not eligible due to preemptionPolicy=Never.",
        }
        await world.set_status(POD, first["metadata"]["name"], {"conditions": [condition]})
        await world.settle()
        vm = await world.get(VM, "linux-vm")
        assert vm["status"]["phase"] == "Pending"
        running_condition = next(c for c in vm["status"]["conditions"] if c["type"] == "Running")
        assert running_condition["message"] == (
            "Could not schedule the virtual machine: Unschedulable: "
            "0/3 nodes are available: 3 Insufficient memory."
        )
        refs = [{"kind": "VirtualDisk", "name": "second"}]
        await world.patch(
            VM, "linux-vm", {"spec": {"memory": {"size": "1Gi"}, "blockDeviceRefs": refs}}
        )
        await world.settle()
        second = await world.boot("linux-vm", "n1")
        assert first["metadata"]["uid"] != second["metadata"]["uid"]
        assert (await world.get(VML, "linux-vm"))["spec"]["disks"] == ["second"]
        assert "heldBy" not in (await world.get(VDISK, "root"))["status"]
        assert len(await world.pods("linux-vm")) == 1

    tell(story)


def test_a_refused_pod_is_told_and_asked_for_again() -> None:
    async def story(world: World) -> None:
        await needs(world)
        await world.create(VM, "linux-vm", {**SPEC, "priorityClassName": "rude"})
        await world.settle()
        vm = await world.get(VM, "linux-vm")
        why = next(c for c in vm["status"]["conditions"] if c["type"] == "Running")
        assert (vm["status"]["phase"], why["reason"]) == ("Pending", "PodNotStarted")
        assert why["message"].startswith("Could not create the Pod:")
        await world.patch(VM, "linux-vm", {"spec": {"priorityClassName": None}})
        await world.settle(11)
        await world.boot("linux-vm", "n1")

    tell(story)


def test_a_lease_of_a_former_vm_of_this_name_is_not_touched_while_held() -> None:
    async def story(world: World) -> None:
        await needs(world)
        owner = {"apiVersion": "v", "kind": "VirtualMachine", "name": "linux-vm", "uid": "former"}
        meta = {
            "name": "linux-vm", "namespace": NS, "ownerReferences": [owner], "finalizers": [names.HELD_FINALIZER],
        }  # fmt: skip
        spec = {
            "holder": "p",
            "node": "n1",
            "nodeIncarnation": "life-n1",
            "epoch": 7,
            "disks": ["root"],
        }
        lease = await world.manager.client.create(VML, {"metadata": meta, "spec": spec})
        await world.create(VM, "linux-vm", SPEC)
        await world.settle(60)
        assert await world.pods("linux-vm") == []
        gone = {
            **lease,
            "metadata": {**lease["metadata"], "finalizers": []},
            "spec": {**spec, "holder": "", "epoch": 8},
        }
        await world.node("n1").replace(VML, gone)
        await world.settle(6)
        await world.boot("linux-vm", "n1")

    tell(story)

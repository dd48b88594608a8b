"""Every reason and Event of the papers that the stories of moving touch is really said, by whom and when it should.

The stories are played once; what VMs and operations said meanwhile is collected. A reason that nobody says any more
fails here, and so does one that is new and not in the tables. ``NEVER`` has those that drover has no cause for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.controllers.moving import evict, move, prepare, running, say, wire
from tests.controllers.world import NS, World, play

from drover.api import names
from drover.api.evacuation import Mark, mark_patch
from drover.api.firmware import RUNNING_PREFIX
from drover.api.kinds.vm import VmEvent, VmReason
from drover.api.kinds.vmop import VmopEvent, VmopReason
from drover.api.names import LastReason
from drover.api.scheme import (
    EVENT,
    LEASE,
    MODULECONFIG,
    NODE,
    NODEFENCE,
    POD,
    VM,
    VMCLASS,
    VMOP,
    Kind,
)
from drover.api.status import Forbidden
from drover.api.wire import Object
from drover.controllers.vm import stats

Said = dict[
    tuple[str, str], set[str]
]  # (type of the condition, or "Event", and reason) -> statuses


def words(enum: Any) -> set[str]:
    """All values of an enum or a class of constants."""
    members = getattr(enum, "__members__", None)
    if members is not None:
        return {str(member) for member in members.values()}
    return {value for name, value in vars(enum).items() if name.isupper()}


def listen(world: World, said: Said) -> None:
    def conditions(old: Object | None, new: Object | None) -> None:
        for one in ((new or {}).get("status") or {}).get("conditions") or ():
            said.setdefault((one["type"], one["reason"]), set()).add(one["status"])

    def event(old: Object | None, new: Object | None) -> None:
        if new is not None:
            said.setdefault(("Event", new["reason"]), set()).add(new["type"])

    world.manager.informer(VM).add_handler(conditions)
    world.manager.informer(VMOP).add_handler(conditions)
    world.manager.informer(EVENT).add_handler(event)


async def operate(world: World, vm: str, kind: str, **spec: Any) -> None:
    name = f"{kind.lower()}-{vm}"
    await world.create(VMOP, name, {"type": kind, "virtualMachineName": vm, **spec})
    await world.settle(1.1)


async def arrive(world: World, vm: str, source: str, target: str) -> None:
    """From listening to the end of a move."""
    await say(world, await move(world, vm), source, {"source": {"phase": "Copying"}})
    vmm = await move(world, vm)
    pod = await world.get(POD, vmm["status"]["targetPod"]["name"])
    await world.hand_over(vm, pod, target, source)
    await say(world, vmm, source, {"source": {"phase": "HandedOver", "handOverEpoch": 2}})
    await say(world, vmm, target, {"target": {"phase": "Running"}})
    await world.pod_status(pod, target, {"phase": "Running"})
    await world.settle(2)


async def moves(world: World) -> None:
    await running(world, "n1", "n1")
    await evict(world, "vm0")
    await evict(world, "vm1")
    await world.settle(4)
    await prepare(world, "vm0", "n2")
    await arrive(world, "vm0", "n1", "n2")
    await operate(world, "vm1", "Stop")  # supersedes the move
    await world.settle(2)


async def powers(world: World) -> None:
    await running(world, "n1")
    await operate(world, "vm0", "Stop")
    await world.release("vm0", "n1", LastReason.STOPPED)
    await world.settle(3)
    await operate(world, "vm0", "Start")
    await world.boot("vm0", "n1")
    await operate(world, "vm0", "Restart")
    await world.release("vm0", "n1", LastReason.STOPPED)
    await world.settle(3)
    await world.boot("vm0", "n1")
    await world.patch(VM, "vm0", {"spec": {"memory": {"size": "2Gi"}}})
    await world.settle(2)


async def refusals(world: World) -> None:
    await running(world, "n1", "n1", "n2", "n2")
    await operate(world, "ghost", "Evict")
    await world.patch(VM, "vm0", {"spec": {"liveMigrationPolicy": "AlwaysSafe"}})
    await operate(world, "vm0", "Evict", force=True)
    await world.patch(VM, "vm1", {"spec": {"runPolicy": "AlwaysOff"}})
    await operate(world, "vm1", "Start")
    await world.release("vm1", "n1", LastReason.STOPPED)
    await world.patch(VM, "vm1", {"spec": {"runPolicy": "Manual"}})
    await world.settle(2)
    await operate(world, "vm1", "Evict")
    await operate(world, "vm2", "Evict")
    await operate(world, "vm2", "Migrate")
    await world.start_move("vm3", await world.living_pod("vm3"), "n2")
    await world.settle(2)
    await operate(world, "vm3", "Evict")


async def failures(world: World) -> None:
    await world.create(MODULECONFIG, "virtualization", {"settings": {"liveMigration": LIMITS}})
    await running(world, "n1", "n1", "n1", "n1", "n1", "n1")
    for vm, node in (("vm0", "n2"), ("vm1", "n3")):
        await evict(world, vm)
        await prepare(world, vm, node)  # the second one waits for its sync slot
    counters = {"phase": "Copying", "iteration": 2, "stalledSeconds": 20, "ramTotalBytes": 9}
    await say(world, await move(world, "vm0"), "n1", {"source": counters})
    failed = {"source": {"phase": "Failed", "reason": "TooLong", "message": ""}}
    await say(world, await move(world, "vm0"), "n1", failed)
    await say(world, await move(world, "vm1"), "n1", {"source": {"phase": "Failed"}})
    await evict(world, "vm2")
    pod = await world.get(POD, (await move(world, "vm2"))["status"]["targetPod"]["name"])
    unfit = {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available: x."}
    await world.set_status(POD, pod["metadata"]["name"], {"conditions": [unfit]})
    await evict(world, "vm3")
    await evict(world, "vm5")
    vmm = await move(world, "vm5")
    await world.bind(await world.get(POD, vmm["status"]["targetPod"]["name"]), "n4")
    await world.settle()
    lacks = {"phase": "Failed", "reason": names.DISK_ERROR, "message": "Could not open '/x'"}
    await say(world, vmm, "n4", {"target": lacks})
    await world.settle(302)  # one finds no node, the other one's target is never ready
    await evict(world, "vm4")
    await world.delete(VMOP, "e-vm4")
    await world.settle(2)


async def quota(world: World) -> None:
    await running(world, "n1")
    create = world.manager.client.create

    async def within(kind: Kind, obj: Object) -> Object:
        if kind is POD:
            raise Forbidden("exceeded quota")
        return await create(kind, obj)

    world.manager.client.create = within  # type: ignore[method-assign]
    await evict(world, "vm0")


async def moved_by_name(world: World) -> None:
    await running(world, "n1")
    await operate(world, "vm0", "Migrate", migrate={"nodeSelector": {"a": "b"}})
    await prepare(world, "vm0", "n2", "migrate-vm0")
    await say(
        world, await move(world, "vm0", "migrate-vm0"), "n1", {"source": {"phase": "Copying"}}
    )
    await world.settle(2)


async def troubles(world: World) -> None:
    disk = [{"kind": "VirtualDisk", "name": "later"}]
    user_data = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "none"}}
    spec = {
        "blockDeviceRefs": disk,
        "provisioning": user_data,
        "virtualMachineClassName": "generic",
    }
    await world.create(VM, "poor", spec)
    await world.settle()
    small = {"cpu": {"type": "Model", "model": "Nehalem"}}
    small |= {"sizingPolicies": [{"cores": {"min": 2, "max": 4}}]}
    await world.create(VMCLASS, "generic", small)
    await world.settle()


async def lives(world: World) -> None:
    await running(world, "n1", "n1", "n1")
    marked = mark_patch(Mark("2026-01-01T00:00:00Z", False))
    pod = await world.living_pod("vm0")
    await world.manager.client.patch(POD, pod["metadata"]["name"], NS, marked)
    versions = [{"name": names.COMPUTE_CONTAINER, "imageID": f"{RUNNING_PREFIX}7.2.1"}]
    agent = [{"type": stats.AGENT_READY, "status": "True"}]
    await world.pod_status(pod, "n1", {"containerStatuses": versions, "conditions": agent})
    wanted = {"settings": {"firmware": {"version": "10.0.2"}}}
    await world.create(MODULECONFIG, "virtualization", wanted)
    await world.settle(2)
    automatic = {"restartApprovalMode": "Automatic"}
    await world.patch(VM, "vm0", {"spec": {"disruptions": automatic, "memory": {"size": "2Gi"}}})
    await world.settle(2)
    await world.admin.delete(
        POD, (await world.living_pod("vm1"))["metadata"]["name"], NS, grace_s=0
    )
    await world.settle(2)
    await world.ready_disk("d-new")
    await world.ready_address("new", "10.66.10.99")
    await world.create(VM, "new", {"blockDeviceRefs": [{"kind": "VirtualDisk", "name": "d-new"}]})
    await world.settle(2)
    pod = await world.living_pod("new")
    unfit = {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available: x."}
    await world.set_status(POD, pod["metadata"]["name"], {"conditions": [unfit]})
    await world.settle(2)
    await world.bind(pod, "n2")
    await world.settle()
    await world.renew("n4", None)  # the lease is not rebuilt until every node has told what it runs
    await world.lose_lease("new")
    await world.settle(2)


async def lost_without_room(world: World) -> None:
    await running(world, "n1")
    life = {"node": "n1", "incarnation": "life-n1"}
    fence: Object = {"metadata": {"name": "n1-life"}, "spec": life}
    controllers = world.manager.client
    await controllers.create(NODEFENCE, fence)
    proof: Object = {"status": {"phase": "Released"}}
    await controllers.patch(NODEFENCE, "n1-life", "", proof, subresource="status")
    for node in ("n2", "n3", "n4"):
        none = {"allocatable": {"cpu": "0", "memory": "0", "pods": "10"}}
        await world.set_status(NODE, node, none)
        await world.patch(NODE, node, {"spec": {"taints": []}})  # nobody has said that it is ready
    await world.settle(2)
    pod = await world.living_pod("vm0")
    unfit = {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available: x."}
    await world.set_status(POD, pod["metadata"]["name"], {"conditions": [unfit]})
    await world.settle(2)


async def lost_without_lease(world: World) -> None:
    await running(world, "n1")
    pod = await world.living_pod("vm0")
    await world.admin.delete(LEASE, "n1", names.NODE_LEASE_NAMESPACE)
    await world.admin.delete(POD, pod["metadata"]["name"], NS, grace_s=0)
    await world.settle(2)


LIMITS = {"limits": {"outboundPerNode": 5, "cluster": 9}}
STORIES: list[Callable[[World], Awaitable[None]]] = [
    *(moves, powers, refusals, failures),
    *(quota, moved_by_name, troubles, lives, lost_without_room, lost_without_lease),
]
NEVER = {
    VmopReason.SIGNAL_SENT_ERROR: "a refused write is repeated",
    VmopReason.WAITING_FOR_VM_READY_TO_MIGRATE: "a running VM can always be moved",
    VmReason.NO_BOOTABLE_DEVICE: "firmware tells nobody",
    VmReason.READY_TO_MIGRATE: "the transfer begins in the same moment",
    VmReason.NON_MIGRATABLE: "a running VM can always be moved",
    VmReason.DISKS_NOT_MIGRATABLE: "all disks are shared",
    VmReason.IP_ADDRESS_NOT_ASSIGNED: "every VM has an address",
}


@pytest.fixture(scope="module")
def said() -> Said:
    """All stories, each in a world of its own."""
    found: Said = {}
    for tell in STORIES:

        async def story(world: World, tell: Any = tell) -> None:
            listen(world, found)
            await tell(world)

        play(story, wire)
    return found


@pytest.mark.parametrize("enum", [VmopReason, VmReason, VmopEvent, VmEvent])
def test_every_reason_is_said_or_has_no_cause(enum: Any, said: Said) -> None:
    silent = words(enum) - {reason for _, reason in said}
    assert silent == {str(reason) for reason in NEVER} & words(enum)


STATUSES = [
    ("Running", "Running", "True"),
    ("Running", "PodNotStarted", "False"),
    ("Running", "InternalVirtualMachineError", "False"),
    ("Running", "NodeUnknown", "False"),
    ("Migrating", "Pending", "False"),
    ("Migrating", "InProgress", "True"),
    ("Migratable", "VirtualMachineMigratable", "True"),
    ("EvictionRequired", "EvictionRequired", "True"),
    ("FirmwareUpToDate", "FirmwareOutOfDate", "False"),
    ("AwaitingRestartToApplyConfiguration", "ChangesPendingRestart", "True"),
    ("AwaitingRestartToApplyConfiguration", "NoRestartRequired", "False"),
    ("SignalSent", "SignalSentSuccess", "True"),
    ("Completed", "Completed", "True"),
    ("Completed", "Superseded", "True"),
    ("Completed", "OperationCompleted", "True"),
    *(("Completed", str(reason), "Unknown") for reason in (
        VmopReason.MIGRATION_PENDING, VmopReason.TARGET_SCHEDULING, VmopReason.TARGET_UNSCHEDULABLE,
        VmopReason.TARGET_PREPARING, VmopReason.WAITING_FOR_SYNC_SLOT, VmopReason.SYNCING,
        VmopReason.SOURCE_SUSPENDED, VmopReason.TARGET_RESUMED, VmopReason.QUOTA_EXCEEDED,
        VmopReason.START_IN_PROGRESS, VmopReason.STOP_IN_PROGRESS, VmopReason.RESTART_IN_PROGRESS,
    )),
    *(("Completed", str(reason), "False") for reason in (
        VmopReason.VM_NOT_FOUND, VmopReason.NOT_APPLICABLE_FOR_RUN_POLICY,
        VmopReason.NOT_APPLICABLE_FOR_PHASE, VmopReason.NOT_APPLICABLE_FOR_LIVE_MIGRATION_POLICY,
        VmopReason.NOT_READY_TO_BE_EXECUTED, VmopReason.OTHER_MIGRATION_IN_PROGRESS,
        VmopReason.TARGET_UNSCHEDULABLE, VmopReason.TARGET_DISK_ERROR, VmopReason.NOT_CONVERGING, VmopReason.FAILED,
        VmopReason.OPERATION_FAILED,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "reason", "status"), STATUSES)
def test_a_reason_belongs_to_a_condition_and_a_status(
    kind: str, reason: str, status: str, said: Said
) -> None:
    assert status in said[(kind, reason)]

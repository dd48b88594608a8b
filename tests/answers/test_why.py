"""What ``why`` says in each situation that our controllers bring about, one write at a time."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from tests.answers.asked import Situation, ask, check
from tests.controllers.moving import evict, move, prepare, running, say
from tests.controllers.world import NS, World

from drover.api import names
from drover.api.evacuation import Blocked, BlockedReason, Mark, blocked_patch, mark_patch
from drover.api.firmware import RUNNING_PREFIX
from drover.api.names import LastReason
from drover.api.scheme import MODULECONFIG, NODE, POD, VDISK, VM, VMCLASS, VMIP, VMOP, Kind
from drover.api.status import Forbidden
from drover.api.wire import Object

HERE = "It is on n1, which kube-scheduler chose among the nodes that fitted at its start"


async def one(world: World) -> None:
    await running(world, "n1")
    await roomy(world)


async def fresh(world: World, disk: bool = True, address: bool = True, **spec: Any) -> None:
    """A VM ``a`` that was just created, on a cluster of four nodes; what it needs is there unless said otherwise."""
    await running(world)
    if disk:
        await world.ready_disk("root")
    if address:
        await world.ready_address("a")
    await world.create(VM, "a", spec)
    await world.settle(2)


async def sized(world: World) -> None:
    await running(world)
    await world.ready_disk("root")
    await world.ready_address("a")
    small = {"cpu": {"type": "Model", "model": "Nehalem"}}
    small |= {"sizingPolicies": [{"cores": {"min": 2, "max": 4}}]}
    await world.create(VMCLASS, "small", small)
    await world.set_status(VMCLASS, "small", {"phase": "Ready"})
    await world.create(VM, "a", {"virtualMachineClassName": "small"})
    await world.settle(2)


async def unready_class(world: World) -> None:
    await fresh(world)
    await world.set_status(VMCLASS, "generic", {"phase": "Pending"})
    await world.create(VM, "b", {})
    await world.settle(2)


async def failed_disk(world: World) -> None:
    await running(world)
    await world.ready_address("a")
    await world.create(VDISK, "root", {"persistentVolumeClaim": {"size": "1Gi"}})
    failed = {
        "type": "Ready",
        "status": "False",
        "reason": "ProvisioningFailed",
        "message": "No space left",
    }
    await world.set_status(VDISK, "root", {"phase": "Failed", "conditions": [failed]})
    await world.create(VM, "a", {})
    await world.settle(2)


async def shared_disk(world: World) -> None:
    await one(world)
    await world.ready_address("a", "10.66.10.90")
    held = {"name": "vm0", "uid": (await world.get(VM, "vm0"))["metadata"]["uid"]}
    await world.set_status(VDISK, "d-vm0", {"heldBy": held})
    await world.create(VM, "a", {"blockDeviceRefs": [{"kind": "VirtualDisk", "name": "d-vm0"}]})
    await world.settle(2)


async def taken_address(world: World) -> None:
    await fresh(world, address=False)
    await world.ready_address("x", "10.66.10.91")
    await world.create(VM, "b", {"virtualMachineIPAddressName": "x"})
    await world.settle(2)


async def no_address(world: World) -> None:
    await running(world)
    await world.ready_disk("root")
    await world.create(VMIP, "a", {"type": "Auto"})
    full = {
        "type": "Bound",
        "status": "False",
        "reason": "NoFreeAddress",
        "message": "All addresses are in use",
    }
    await world.set_status(VMIP, "a", {"phase": "Pending", "conditions": [full]})
    await world.create(VM, "a", {})
    await world.settle(2)


async def unschedulable(world: World, **spec: Any) -> None:
    await fresh(world, **spec)
    await roomy(world)
    pod = await world.living_pod("a")
    await refuse(world, pod)


async def refuse(world: World, pod: Object) -> None:
    unfit = {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available."}
    await world.set_status(POD, pod["metadata"]["name"], {"conditions": [unfit]})
    await world.settle(2)


async def roomy(world: World, cpu: str = "4") -> None:
    """The nodes tell what they have."""
    for name in ("n1", "n2", "n3", "n4"):
        status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}, "conditions": READY}
        await world.set_status(NODE, name, status)
        taint = {"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}
        await world.patch(NODE, name, {"spec": {"taints": [taint]}})


READY = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]


async def too_large(world: World) -> None:
    await running(world)
    await roomy(world)
    await world.ready_disk("root")
    await world.ready_address("a")
    await world.create(VM, "a", {"cpu": {"cores": 8}})
    await world.settle(2)
    await refuse(world, await world.living_pod("a"))


async def refused_pod(world: World) -> None:
    create = world.manager.client.create

    async def within(kind: Kind, obj: Object) -> Object:
        if kind is POD:
            raise Forbidden("exceeded quota: vms")
        return await create(kind, obj)

    world.manager.client.create = within  # type: ignore[method-assign]
    await fresh(world)


async def bound(world: World, trouble: str = "", message: str = "") -> None:
    """Its Pod holds the lease, and its guest does not run."""
    await fresh(world)
    pod = await world.living_pod("a")
    await world.bind(pod, "n2")
    await world.settle()
    if trouble:
        waiting = {"state": {"waiting": {"reason": trouble, "message": message}}}
        await world.pod_status(pod, "n2", {"containerStatuses": [{"name": "x", **waiting}]})
    await world.settle(2)


async def disk_error(world: World) -> None:
    await one(world)
    paused = {"type": "Ready", "status": "False", "reason": names.DISK_ERROR}
    paused |= {"message": "The disk d-vm0 answers with I/O errors"}
    await world.pod_status(await world.living_pod("vm0"), "n1", {"conditions": [paused]})
    await world.settle(2)


async def ended(world: World, reason: str, policy: str = "AlwaysOnUnlessStoppedManually") -> None:
    await one(world)
    await world.patch(VM, "vm0", {"spec": {"runPolicy": policy}})
    await world.settle()
    await world.release("vm0", "n1", reason)
    await world.settle(2)


async def stopped(world: World) -> None:
    await one(world)
    await operate(world, "vm0", "Stop")
    await world.release("vm0", "n1", LastReason.STOPPED)
    await world.settle(3)


async def again(world: World, reason: str) -> None:
    """It ended, and runs again."""
    await ended(world, reason)
    await world.settle(12)
    await world.boot("vm0", "n2")


async def operate(world: World, vm: str, kind: str, **spec: Any) -> None:
    await world.create(
        VMOP, f"{kind.lower()}-{vm}", {"type": kind, "virtualMachineName": vm, **spec}
    )
    await world.settle(1.1)


async def after(world: World, first: Any, *then: Any) -> None:
    """One step after another."""
    await first(world)
    for step in then:
        await step(world)


def op(vm: str, kind: str, **spec: Any) -> Any:
    return functools.partial(operate, vm=vm, kind=kind, **spec)


def do(story: Any, **given: Any) -> Any:
    return functools.partial(story, **given)


def chain(*steps: Any) -> Any:
    async def story(world: World) -> None:
        await after(world, *steps)

    return story


async def lost_lease(world: World) -> None:
    await one(world)
    await world.renew("n4", None)
    await world.lose_lease("vm0")
    await world.settle(2)


async def gone_pod(world: World) -> None:
    await one(world)
    pod = await world.living_pod("vm0")
    await world.admin.delete(POD, pod["metadata"]["name"], NS, grace_s=0)
    await world.settle(2)


async def deleting(world: World) -> None:
    await one(world)
    await world.delete(VM, "vm0")
    await world.settle(1)


async def changed(world: World, **spec: Any) -> None:
    await one(world)
    await world.patch(VM, "vm0", {"spec": spec})
    await world.settle(2)


async def outdated(world: World) -> None:
    await one(world)
    versions = [{"name": names.COMPUTE_CONTAINER, "imageID": f"{RUNNING_PREFIX}7.2.1"}]
    await world.pod_status(await world.living_pod("vm0"), "n1", {"containerStatuses": versions})
    await world.create(
        MODULECONFIG, "virtualization", {"settings": {"firmware": {"version": "10.0.2"}}}
    )
    await world.settle(2)


async def asked_to_leave(world: World, why: str = "", message: str = "") -> None:
    await one(world)
    pod = await world.living_pod("vm0")
    patch = mark_patch(Mark("2026-01-01T00:00:00Z", True))
    await world.manager.client.patch(POD, pod["metadata"]["name"], NS, patch)
    if why:
        patch = blocked_patch(Blocked(why, message))
        await world.manager.client.patch(POD, pod["metadata"]["name"], NS, patch)
    await world.patch(NODE, "n1", {"spec": {"unschedulable": True}})
    await world.settle(2)


async def evicted(world: World) -> None:
    await one(world)
    await evict(world, "vm0")


async def two(world: World) -> None:
    await running(world, "n1", "n1")
    await evict(world, "vm0")
    await evict(world, "vm1")


async def copying(world: World, **said: Any) -> None:
    await evicted(world)
    await prepare(world, "vm0", "n2")
    counters = {
        "phase": "Copying",
        "ramTotalBytes": 2**30,
        "ramRemainingBytes": 2**29,
        "mbps": 800,
        **said,
    }
    await say(world, await move(world, "vm0"), "n1", {"source": counters})


async def failed(world: World, reason: str, message: str = "") -> None:
    await copying(world)
    said = {"source": {"phase": "Failed", "reason": reason, "message": message}}
    await say(world, await move(world, "vm0"), "n1", said)
    await world.settle(2)


async def homeless(world: World) -> None:
    await one(world)
    for name in ("n2", "n3", "n4"):
        await world.patch(NODE, name, {"spec": {"unschedulable": True}})
    await evict(world, "vm0")
    vmm = await move(world, "vm0")
    await refuse(world, await world.get(POD, vmm["status"]["targetPod"]["name"]))


async def quota(world: World) -> None:
    await one(world)
    create = world.manager.client.create

    async def within(kind: Kind, obj: Object) -> Object:
        if kind is POD:
            raise Forbidden("exceeded quota: vms")
        return await create(kind, obj)

    world.manager.client.create = within  # type: ignore[method-assign]
    await evict(world, "vm0")


async def preparing(world: World) -> None:
    await evicted(world)
    vmm = await move(world, "vm0")
    await world.bind(await world.get(POD, vmm["status"]["targetPod"]["name"]), "n2")
    await world.settle()


async def disk_of_target(world: World) -> None:
    await preparing(world)
    lacks = {"phase": "Failed", "reason": names.DISK_ERROR, "message": "Could not open d-vm0"}
    await say(world, await move(world, "vm0"), "n2", {"target": lacks})
    await world.settle(2)


async def arrived(world: World, name: str = "", note: str = "") -> None:
    await one(world)
    if name:
        notes = {note: "true"} if note else {}
        spec = {"type": "Evict", "virtualMachineName": "vm0"}
        await world.manager.client.create(
            VMOP, {"metadata": {"name": name, "namespace": NS, "annotations": notes}, "spec": spec}
        )
        await world.settle(1.1)
    else:
        await evict(world, "vm0")
    await prepare(world, "vm0", "n2", name)
    vmm = await move(world, "vm0", name)
    await say(world, vmm, "n1", {"source": {"phase": "Copying"}})
    pod = await world.get(POD, (await move(world, "vm0", name))["status"]["targetPod"]["name"])
    await world.hand_over("vm0", pod, "n2", "n1")
    await say(world, vmm, "n1", {"source": {"phase": "HandedOver", "handOverEpoch": 2}})
    await say(world, vmm, "n2", {"target": {"phase": "Running"}})
    await world.pod_status(pod, "n2", {"phase": "Running"})
    await world.settle(2)


DISKS = "make what is missing"
ADDRESS = "`drover k describe vmip -n default`"
START = "`drover start vm0 -n default`"
AGAIN = "`drover evict vm0 -n default` tries again"
SECRET = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "none"}}
SYNC = (
    "Evict e-vm0 is InProgress: Source and target are being synchronized: TimeElapsed:0s DataProcessed:0MiB "
    "DataRemaining:512MiB DataTotal:1024MiB Iteration:0 AutoConvergeThrottleSet:false AutoConvergeThrottle:0"
)
STUCK = (
    "Evict e-vm0 is InProgress: Migration is not converging: data remaining is not decreasing at maximum throttle: "
    "TimeElapsed:0s DataProcessed:0MiB DataRemaining:512MiB DataTotal:1024MiB Iteration:2 "
    "AutoConvergeThrottleSet:false AutoConvergeThrottle:0"
)
UNSELECTED = "; ".join(
    f"n{n}: node(s) didn't match Pod's node affinity/selector" for n in (1, 2, 3, 4)
)
FULL = "; ".join(f"n{n}: Insufficient cpu" for n in (1, 2, 3, 4))
UNFIT = "Could not schedule the virtual machine: Unschedulable: 0/4 nodes are available"

S = Situation
SITUATIONS = [
    S("runs", one, "vm0", HERE),
    S("could go", one, "vm0", "It could move to n2, n3, n4"),
    S("new", fresh, "a", "It is about to start"),
    S("class missing", do(fresh, virtualMachineClassName="no"), "a", 'VirtualMachineClass "no" does not exist',
      "vmclass"),
    S("class not Ready", unready_class, "b", 'VirtualMachineClass "generic" is not Ready', "what no node has"),
    S("size refused", sized, "a",
      'VirtualMachineClass "small" has no sizing policy for 1 cores; it has some for 2-4', "another class"),
    S("disk missing", do(fresh, disk=False), "a", 'VirtualDisk "root" does not exist', DISKS),
    S("disk failed", failed_disk, "a",
      'VirtualDisk "root" is not Ready: see its conditions; VirtualDisk "root": No space left', DISKS),
    S("disk taken", shared_disk, "a", 'VirtualDisk "d-vm0" is in use by VirtualMachine "vm0"', DISKS),
    S("claim missing", do(fresh, address=False), "a", 'VirtualMachineIPAddress "a" does not exist yet', ADDRESS),
    S("address taken", taken_address, "b", 'VirtualMachineIPAddress "x" is in use by VirtualMachine "x"', ADDRESS),
    S("no address", no_address, "a",
      'VirtualMachineIPAddress "a" has no address yet: see its conditions; All addresses are in use', ADDRESS),
    S("no Secret", do(fresh, provisioning=SECRET), "a", 'Secret "none" does not exist', "key userData"),
    S("no such node", do(unschedulable, nodeSelector={"zone": "x"}), "a", f"{UNFIT} ({UNSELECTED})", "placement rules"),
    S("no room", too_large, "a", f"{UNFIT} ({FULL})", "make room or add a node"),
    S("quota", refused_pod, "a", "Could not create the Pod: exceeded quota: vms", "raise the quota"),
    S("starts", bound, "a", "The guest is being started"),
    S("host trouble", do(bound, trouble=names.HOST_TROUBLE, message="no memory"), "a", "no memory", "mend the host n2"),
    S("user data went", do(bound, trouble=names.PROVISIONING_NOT_READY, message="Secret gone"), "a", "Secret gone",
      "key userData"),
    S("paused", disk_error, "vm0", "The disk d-vm0 answers with I/O errors", "storage"),
    S("shut down", do(ended, reason=LastReason.GUEST_SHUTDOWN), "vm0",
      "The last run ended with GuestShutdown, and runPolicy AlwaysOnUnlessStoppedManually leaves it stopped", START),
    S("crashed", do(ended, reason=LastReason.CRASHED), "vm0",
      "Waiting after 1 failures in a row until 2026-01-01T00:00:26Z", "ends the tries"),
    S("crashed, Manual", do(ended, reason=LastReason.CRASHED, policy="Manual"), "vm0",
      "The last run ended with Crashed, and runPolicy Manual leaves it stopped", START),
    S("switched off", do(ended, reason=LastReason.STOPPED, policy="AlwaysOff"), "vm0", "Its runPolicy is AlwaysOff",
      "change spec.runPolicy"),
    S("never started", do(fresh, runPolicy="Manual"), "a", "It was never started; runPolicy Manual waits for you",
      "`drover start a -n default`"),
    S("AlwaysOff", do(fresh, runPolicy="AlwaysOff"), "a", "Its runPolicy is AlwaysOff", "change spec.runPolicy"),
    S("stopped", stopped, "vm0", "It was stopped by operation stop-vm0", START),
    S("node was lost", do(again, reason=LastReason.NODE_LOST), "vm0",
      "Its former run ended with NodeLost: its node was lost"),
    S("panicked", do(again, reason=LastReason.GUEST_PANICKED), "vm0",
      "Its former run ended with GuestPanicked: the guest's kernel panicked"),
    S("Pod deleted", do(again, reason=LastReason.POD_DELETED), "vm0",
      "Its former run ended with PodDeleted: somebody deleted its Pod"),
    S("lease lost", lost_lease, "vm0",
      "The VirtualMachineLease is missing; it is rebuilt once every node has told what it runs",
      "drover fence confirm"),
    S("Pod gone", gone_pod, "vm0", "The Pod is gone; its node ends the guest and releases the VirtualMachineLease",
      "`drover fence confirm n1`"),
    S("held without Pod", gone_pod, "vm0", "It is held by node n1; its Pod is gone"),
    S("deleted", deleting, "vm0",
      "It is being deleted; finalizers that are left: virtualization.deckhouse.io/vm-cleanup"),
    S("stops", chain(one, op("vm0", "Stop")), "vm0", "Its guest is being stopped", "--force"),
    S("restarts", chain(one, op("vm0", "Restart")), "vm0", "It is being restarted by operation restart-vm0"),
    S("changed", do(changed, memory={"size": "2Gi"}), "vm0",
      "Waiting for the user to restart in order to apply the configuration changes: memory.size",
      "`drover restart vm0 -n default`"),
    S("other rules", do(changed, nodeSelector={"zone": "x"}), "vm0",
      "Its placement was changed since it came to its node"),
    S("nowhere to go", do(changed, nodeSelector={"zone": "x"}), "vm0",
      "It could move nowhere now: 0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector",
      "loosen the placement rules"),
    S("old QEMU", outdated, "vm0", "The virtual machine runs on QEMU 7.2.1, and QEMU 10.0.2 is wanted",
      "firmware list"),
    S("node lacks QEMU", outdated, "n1", "n1 does not offer QEMU 10.0.2, which is wanted; it offers nothing",
      "install"),
    S("evicted", asked_to_leave, "vm0", "It was asked to leave n1", "`drover uncordon n1`"),
    S("no way out", do(asked_to_leave, why=BlockedReason.NO_ROOM, message="0/4 nodes"), "vm0",
      "It was asked to leave n1 and cannot: 0/4 nodes", "make room"),
    S("not migratable", do(asked_to_leave, why=BlockedReason.NOT_MIGRATABLE, message="host disk"), "vm0",
      "It was asked to leave n1 and cannot: host disk", "starts elsewhere when you start it"),
    S("move failed", do(asked_to_leave, why=BlockedReason.FAILED, message="evacuation-x failed: y"), "vm0",
      "It was asked to leave n1 and cannot: evacuation-x failed: y", "describe vmop"),
    S("drain blocked", do(asked_to_leave, why=BlockedReason.NO_ROOM, message="0/4 nodes"), "n1",
      "default/vm0: It was asked to leave n1 and cannot: 0/4 nodes", "make room"),
    S("maintenance", asked_to_leave, "n1", "n1 is in maintenance", "`drover uncordon n1`"),
    S("node", one, "n1", "n1 carries 1 VM (default/vm0); reserved: cpu 25 %, memory 15 %"),
    S("drain would work", one, "n1", "A drain would find a place for each of its VMs (1)", "--dry-run"),
    S("scheduling", evicted, "vm0", "Evict e-vm0 is InProgress: Scheduling the migration target"),
    S("queued", two, "e-vm1",
      'Evict e-vm1 is Pending: Waiting for a free outbound migration slot on source node "n1"; '
      "on their way now: default/vm0", "raise the limits"),
    S("preparing", preparing, "e-vm0", "Evict e-vm0 is InProgress: Preparing the migration target"),
    S("copies", copying, "e-vm0", SYNC, "aborts it"),
    S("does not converge", do(copying, iteration=2, stalledSeconds=20), "e-vm0", STUCK, "--force"),
    S("took too long", do(failed, reason="TooLong"), "vm0",
      "Evict e-vm0 is Failed: Migration did not converge: Live migration is not completed after 800 seconds and has "
      "been aborted", "--force"),
    S("failed", do(failed, reason="Boom", message="peer went away"), "vm0",
      "Evict e-vm0 is Failed: Migration failed: Boom: peer went away", AGAIN),
    S("aborted", do(failed, reason="Aborted"), "vm0", "Evict e-vm0 is Failed: Migration aborted", AGAIN),
    S("no target", homeless, "vm0",
      'Evict e-vm0 is InProgress: Target pod "default/d8v-vm-vm0-ghtp4" is unschedulable: 0/4 nodes are available; '
      + "; ".join(f"n{n}: node(s) were unschedulable" for n in (2, 3, 4)), "`drover uncordon` a node"),
    S("drain would not work", homeless, "n1",
      "default/vm0 could not leave n1 now: 0/4 nodes are available: 1 node(s) didn't match Pod's node "
      "affinity/selector, 3 node(s) were unschedulable", "`drover stop vm0 -n default`"),
    S("quota of the target", quota, "e-vm0", "Evict e-vm0 is Pending: exceeded quota: vms", "namespace default"),
    S("disk of the target", disk_of_target, "e-vm0",
      "Evict e-vm0 is Failed: Migration failed: target disk attach error: Could not open d-vm0", "reachable"),
    S("moved", arrived, "vm0", "It is on n2 since it came from n1: a person asked for the move"),
    S("drained", do(arrived, name="evacuation-x", note=names.EVACUATION_ANNOTATION), "vm0",
      "It is on n2 since it came from n1: its former node was being drained"),
    S("new QEMU", do(arrived, name="firmware-update-x", note=names.WORKLOAD_UPDATE_ANNOTATION), "vm0",
      "It is on n2 since it came from n1: it was moved to another QEMU"),
    S("placed", do(arrived, name="nodeplacement-update-x", note=names.WORKLOAD_UPDATE_ANNOTATION), "vm0",
      "It is on n2 since it came from n1: its former node did not satisfy its placement rules any more"),
    S("balanced", do(arrived, name="rebalance-x"), "vm0",
      "It is on n2 since it came from n1: a rebalance plan moved it"),
    S("done", arrived, "e-vm0", "Evict e-vm0 is Completed: Migration completed"),
    S("no VM", chain(one, op("ghost", "Evict")), "evict-ghost",
      "Evict evict-ghost is Failed: VirtualMachine not found"),
    S("force refused", chain(do(changed, liveMigrationPolicy="AlwaysSafe"), op("vm0", "Evict", force=True)),
      "evict-vm0",
      "Evict evict-vm0 is Failed: Operation is invalid: force=true is not applicable for VM liveMigrationPolicy "
      "AlwaysSafe", "leave force out"),
    S("policy", chain(do(changed, runPolicy="AlwaysOn"), op("vm0", "Stop")), "stop-vm0",
      "Stop stop-vm0 is Failed: Operation type Stop is not applicable for VirtualMachine with runPolicy AlwaysOn",
      "spec.runPolicy"),
    S("phase", chain(one, op("vm0", "Start")), "start-vm0",
      "Start start-vm0 is Failed: Operation type Start is not applicable for VirtualMachine in phase Running",
      "drover why"),
    S("one at a time", chain(evicted, op("vm0", "Migrate", migrate={"nodeSelector": {"a": "b"}})), "migrate-vm0",
      "Migrate migrate-vm0 is Failed: VMOP cannot be executed now. Previously created operation should finish first; "
      "e-vm0 goes on", "ask again"),
    S("superseded", chain(evicted, op("vm0", "Stop")), "e-vm0",
      "Evict e-vm0 is Superseded: Superseded by stop-vm0 with type Stop"),
    S("stop goes on", chain(one, op("vm0", "Stop")), "stop-vm0",
      "Stop stop-vm0 is InProgress: Waiting for the operation to complete", "--force"),
    S("start goes on", chain(stopped, op("vm0", "Start")), "start-vm0",
      "Start start-vm0 is InProgress: Waiting for the operation to complete", "`drover why vm0 -n default`"),
    S("restart goes on", chain(one, op("vm0", "Restart")), "restart-vm0",
      "Restart restart-vm0 is InProgress: Waiting for the operation to complete"),
]  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS, ids=[one.title for one in SITUATIONS])
def test_a_situation_and_its_sentence(situation: Situation) -> None:
    found = ask(situation)
    check(situation, found)
    json.dumps([answer.as_json() for answer in found])

"""The effects of the vm controller: one method per act of ``decide``. Answers of own writes go into the caches."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from typing import Any

from drover.api import machine as machines
from drover.api import names, vmpod
from drover.api.kinds import disk as vdisks
from drover.api.kinds import image as images
from drover.api.kinds import ip as ips
from drover.api.kinds import pod as pods
from drover.api.kinds.pod import PodPhase
from drover.api.kinds.vm import DeviceKind
from drover.api.machine import GuestNetwork
from drover.api.meta import name_of, namespace_of, uid_of, without_finalizer
from drover.api.scheme import POD, VDISK, VM, VML
from drover.api.status import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
)
from drover.api.wire import Object
from drover.base.checks import require
from drover.controllers.holding import may_run
from drover.controllers.vm import intents, lease, userdata
from drover.controllers.vm.gather import Caches
from drover.controllers.vm.view import Device, Refusal, VmView
from drover.runtime.manager import Manager

MOST_SERIAL = 20  # what virtio-blk shows to the guest
REFUSED_S = 10.0
_PREFIX = {DeviceKind.DISK: "vd", DeviceKind.IMAGE: "vi", DeviceKind.CLUSTER_IMAGE: "cvi"}


@dataclass(frozen=True)
class Settings:
    """What the installation tells the vm controller. The directories are the same on every node."""

    network: GuestNetwork
    disks_dir: str
    images_dir: str


class Actor:
    """Carries acts out. ``carry_out`` gives False when the acts after it must wait."""

    def __init__(self, manager: Manager, caches: Caches, settings: Settings) -> None:
        self._client = manager.client
        self._ids = manager.ids
        self._log = manager.log.bind(controller="vm")
        self._caches = caches
        self._settings = settings
        self._rebuilder = lease.Rebuilder(
            manager.client, lambda life: bool(caches.fences.by_index("dead", life))
        )
        self._clock = manager.clock
        self.refusals: dict[str, Refusal] = {}  # by uid of the VM

    def lease_found(self, key: str) -> None:
        self._rebuilder.forget(key)

    async def carry_out(self, view: VmView, act: intents.Act) -> bool:
        match act:
            case intents.CreateLease():
                made = lease.new_lease(view.vm, lease.released_spec(0))
                self._caches.leases.observe(await self._client.create(VML, made))
            case intents.RebuildLease(above_epoch, reason):
                return await self._rebuild(view, above_epoch, reason)
            case intents.ClaimDisks(disks, epoch):
                return await self._claim(view, disks, epoch)
            case intents.FreeDisks(disks):
                await self._free(view, disks)
            case intents.CreatePod():
                return await self._create_pod(view)
            case intents.Acquire(pod, released, disks):
                return await self._acquire(view, pod, released, disks)
            case intents.Break(held):
                await self._break(view, held)
            case intents.StopPod(pod, how):
                await self._stop(pod, how)
            case intents.UpdatePod(pod, patch):
                await self._patch_pod(pod, patch)
            case intents.DeletePod(pod, lost):
                await self._delete_pod(pod, lost)
            case intents.DeleteLease(released):
                await self._delete_lease(released)
            case intents.DropFinalizer():
                await self._let_go(view.vm)
            case _:
                require(False, f"no such act: {act}")
        return True

    async def _rebuild(self, view: VmView, above_epoch: int, reason: str) -> bool:
        if view.deleting and not (running := await self._rebuilder.who_runs(view.vm)):
            # A lease that only says "released" is not needed, and a namespace that ends would refuse it for ever.
            return False if running is None else await self._forget_lease(view.vm)
        held = tuple(name_of(disk) for disk in view.held_disks)
        made = await self._rebuilder.step(view.vm, above_epoch, reason, held)
        if made is not None:
            self._log.mark("vml.rebuilt", vm=name_of(view.vm), holder=made["spec"]["holder"])
            self._caches.leases.observe(made)
        return made is not None

    async def _forget_lease(self, vm: Object) -> bool:
        """Every node has told that nothing runs: the absence of the lease is as good as our own doing."""
        patch = {"status": {"power": {"lease": None}}}
        answer = await self._client.patch(
            VM, name_of(vm), namespace_of(vm), patch, subresource="status", version=vm
        )
        self._caches.vms.observe(answer)
        return True

    async def _claim(self, view: VmView, disks: tuple[str, ...], epoch: int) -> bool:
        """One disk after the other, in name order. The epoch makes each start a write, so that whoever frees the
        disk on an older view of it fails."""
        wanted = {"name": name_of(view.vm), "uid": view.uid, "epoch": epoch}
        for name in disks:
            disk = self._caches.disks.get(f"{namespace_of(view.vm)}/{name}")
            if disk is None or not vdisks.ready(disk):
                return False
            present = vdisks.status(disk).get("heldBy")
            if present == wanted:
                continue
            if present and present["uid"] != view.uid:
                return False
            await self._patch_disk(disk, {"heldBy": wanted})
        return True

    async def _free(self, view: VmView, disks: tuple[str, ...]) -> None:
        for disk in view.held_disks:
            if name_of(disk) in disks:
                await self._patch_disk(disk, {"heldBy": None})

    async def _patch_disk(self, disk: Object, status: Object) -> None:
        answer = await self._client.patch(
            VDISK,
            name_of(disk),
            namespace_of(disk),
            {"status": status},
            subresource="status",
            version=disk,
        )
        self._caches.disks.observe(answer)

    async def _create_pod(self, view: VmView) -> bool:
        require(view.vmclass is not None and view.claim is not None, "a start without its needs")
        assert view.vmclass is not None
        assert view.claim is not None
        try:
            secret = await userdata.secret_of(self._client, view.vm)
        except Forbidden as error:
            return self._refused(view, error)
        machine = machines.machine_of(
            view.vm,
            view.vmclass,
            ips.address(view.claim),
            self._disks(view),
            self._settings.network,
            secret,
        )
        name = vmpod.pod_name(name_of(view.vm), self._ids.suffix())
        wanted = vmpod.build_pod(name, view.vm, view.vmclass, machine, view.wanted_firmware)
        try:
            pod = await self._client.create(POD, wanted)
        except (Forbidden, Invalid, BadRequest) as error:
            return self._refused(view, error)
        self.refusals.pop(view.uid, None)
        self._log.mark("vm.pod-created", vm=name_of(view.vm), pod=name)
        self._caches.pods.observe(pod)
        return True

    def _refused(self, view: VmView, error: ApiError) -> bool:
        """A quota, a PriorityClass, a bad selector: the user has to know, and may mend it."""
        until_s = self._clock.monotonic() + REFUSED_S
        self.refusals[view.uid] = Refusal(error.message, until_s)
        return False

    def _disks(self, view: VmView) -> list[dict[str, Any]]:
        ordered = any(device.ref.boot_order for device in view.devices)
        return [
            machines.disk(
                serial(device),
                self._path(device),
                read_only=device.ref.kind is not DeviceKind.DISK,
                boot_order=device.ref.boot_order if ordered else int(index == 0),
            )
            for index, device in enumerate(view.devices)
        ]

    def _path(self, device: Device) -> str:
        require(device.obj is not None, "a start without its devices")
        assert device.obj is not None
        if device.ref.kind is DeviceKind.DISK:
            return posixpath.join(self._settings.disks_dir, vdisks.path(device.obj))
        return posixpath.join(self._settings.images_dir, images.path(device.obj))

    async def _acquire(
        self, view: VmView, pod: Object, released: Object, disks: tuple[str, ...]
    ) -> bool:
        acquired = await lease.acquire(self._client, released, pod, disks)
        if acquired is None:
            return False
        self._log.mark(
            "vml.acquired", vm=name_of(view.vm), pod=name_of(pod), epoch=acquired["spec"]["epoch"]
        )
        self._caches.leases.observe(acquired)
        return True

    async def _break(self, view: VmView, held: Object) -> None:
        broken = await lease.break_held(self._client, held)
        self._log.mark("vml.broken", vm=name_of(view.vm), epoch=broken["spec"]["epoch"])
        self._caches.leases.observe(broken)

    async def _stop(self, pod: Object, how: str) -> None:
        self._log.mark("vm.stop-asked", pod=name_of(pod), how=how)
        await self._patch_pod(pod, {"metadata": {"annotations": {names.STOP_ANNOTATION: how}}})

    async def _patch_pod(self, pod: Object, patch: Object) -> None:
        try:
            answer = await self._client.patch(
                POD, name_of(pod), namespace_of(pod), patch, version=pod
            )
        except NotFound:
            return  # the agent ends the guest of a Pod that is gone
        self._caches.pods.observe(answer)

    async def _delete_pod(self, pod: Object, lost: bool) -> None:
        """As it was seen: another leader may have started the VM in it meanwhile, and then it is Running. Of one that
        says so already the lease is read afresh, since the cache of that may be older."""
        if (
            not lost
            and pods.phase(pod) is PodPhase.RUNNING
            and await may_run(self._client, self._caches.leases, pod)
        ):
            return
        meta = pod["metadata"]
        try:
            await self._client.delete(
                POD,
                meta["name"],
                meta["namespace"],
                uid=meta["uid"],
                resource_version=meta["resourceVersion"],
            )
        except (NotFound, Conflict):
            return  # otherwise it has changed, which wakes us, or is another one
        except ApiError as error:
            if not lost:
                raise
            # Its guest is dead and shall start elsewhere, whatever a webhook of others says of the object.
            self._log.warn("the Pod of a lost VM stays", pod=meta["name"], why=str(error))

    async def _delete_lease(self, released: Object) -> None:
        try:
            await lease.delete_released(self._client, released)
        except NotFound:
            return

    async def _let_go(self, vm: Object) -> None:
        self.refusals.pop(uid_of(vm), None)
        finalizers = without_finalizer(vm, names.VM_FINALIZER)
        patch = {"metadata": {"finalizers": finalizers}}
        await self._client.patch(VM, name_of(vm), namespace_of(vm), patch, version=vm)


def serial(device: Device) -> str:
    """The name by which the guest finds the disk (/dev/disk/by-id/virtio-...): readable while it is short."""
    prefix, name = _PREFIX[device.ref.kind], device.ref.name
    plain = f"{prefix}-{name}"
    if len(plain) <= MOST_SERIAL:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{prefix}-{digest}"[:MOST_SERIAL]

"""Wiring of the disks controller, and its one long act: making a disk while its progress is shown."""

from __future__ import annotations

from contextlib import suppress

from drover.api import conditions as cond
from drover.api import names
from drover.api.kinds import disk as vdisks
from drover.api.kinds import vml as vmls
from drover.api.kinds.disk import DiskCondition, DiskPhase, DiskReason
from drover.api.meta import generation_of, is_deleting, namespace_of, uid_of
from drover.api.scheme import CVIMAGE, VDISK, VIMAGE, VM, VML, Kind, key_of
from drover.api.status import ApiError, NotFound, Unanswered
from drover.api.wire import Object
from drover.base import quantity
from drover.base.checks import require
from drover.controllers.disks import decide
from drover.controllers.disks.decide import DiskView
from drover.controllers.jobs import Unwanted, follow
from drover.controllers.storage import BadImage, Storage, StorageError
from drover.controllers.writes import Writer
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

WORKERS = 3  # copies at a time
RETRY_S = 15.0


class Disks:
    """One pass over one disk."""

    def __init__(self, manager: Manager, storage: Storage) -> None:
        self._client = manager.client
        self._clock = manager.clock
        self._log = manager.log.bind(controller="disks")
        self._storage = storage
        self.disks = manager.informer(VDISK)
        self.images = manager.informer(VIMAGE)
        self.cluster_images = manager.informer(CVIMAGE)
        self.vms = manager.informer(VM)
        self.leases = manager.informer(VML)
        self.disks.add_index("source", _source_keys)
        self._writer = Writer(manager.client, manager.clock, self.disks)
        self._not_before: dict[str, float] = {}  # uid -> monotonic time of the next try

    async def reconcile(self, key: str) -> Outcome:
        disk = self.disks.get(key)
        if disk is None:
            return Done()
        view = DiskView(disk, self._image(disk), await self._orphaned(disk))
        step = decide.decide(view)
        match step:
            case decide.AddFinalizer():
                await self._writer.add_finalizer(disk, names.VDISK_FINALIZER)
            case decide.Free():
                await self._writer.status(disk, {"heldBy": None}, [])
            case decide.Wait(reason, message):
                await self._wait(disk, reason, message)
            case decide.Provision(image, size_bytes):
                return await self._provision(disk, image, size_bytes)
            case decide.KeepHeld(vm):
                await self._keep_held(disk, vm)
            case decide.Remove():
                await self._remove(disk)
            case decide.Show():
                await self._writer.status(disk, *self._usage(disk))
            case _:
                require(False, f"no such step: {step}")
        return Done()

    def _image(self, disk: Object) -> Object | None:
        keys = _source_keys(disk)
        if not keys:
            return None
        kind, _, key = keys[0].partition("/")
        return (self.cluster_images if kind == "ClusterVirtualImage" else self.images).get(key)

    async def _orphaned(self, disk: Object) -> bool:
        """The VM that holds the disk is gone, and so is its hold on it. Read afresh: caches may lag."""
        held = vdisks.held_by(disk)
        if held is None:
            return False
        name, uid = held
        namespace = namespace_of(disk)
        cached = self.vms.get(f"{namespace}/{name}")
        if cached is not None and uid_of(cached) == uid:
            return False
        vm, lease = await self._find(VM, name, namespace), await self._find(VML, name, namespace)
        if vm is not None and uid_of(vm) == uid:
            return False
        owners = (lease["metadata"].get("ownerReferences") or []) if lease is not None else []
        foreign = all(owner["uid"] != uid for owner in owners) and bool(owners)
        return lease is None or foreign or vmls.released(lease)

    async def _find(self, kind: Kind, name: str, namespace: str) -> Object | None:
        try:
            return await self._client.get(kind, name, namespace)
        except NotFound:
            return None

    def _usage(self, disk: Object) -> tuple[Object, list[Object]]:
        held = vdisks.held_by(disk)
        generation = generation_of(disk)
        if held is None:
            condition = cond.condition(
                DiskCondition.IN_USE, False, DiskReason.NOT_IN_USE, "", generation
            )
            return {"attachedToVirtualMachines": None, "observedGeneration": generation}, [
                condition
            ]
        lease = self.leases.get(f"{namespace_of(disk)}/{held[0]}")
        mounted = lease is not None and not vmls.released(lease)
        condition = cond.condition(DiskCondition.IN_USE, True, DiskReason.ATTACHED, "", generation)
        users = [{"name": held[0], "mounted": mounted}]
        return {"attachedToVirtualMachines": users, "observedGeneration": generation}, [condition]

    async def _wait(self, disk: Object, reason: str, message: str) -> None:
        generation = generation_of(disk)
        source = cond.condition(DiskCondition.DATASOURCE_READY, False, reason, message, generation)
        ready = cond.condition(
            DiskCondition.READY, False, DiskReason.PROVISIONING, message, generation
        )
        await self._writer.status(disk, {"phase": str(DiskPhase.PENDING)}, [source, ready])

    async def _provision(self, disk: Object, image: str, size_bytes: int | None) -> Outcome:
        """Blank disks are made at once; a copy shows its progress and ends early when the disk is deleted."""
        uid, key = uid_of(disk), key_of(disk)
        percent = [0]
        wait_s = self._not_before.get(uid, 0.0) - self._clock.monotonic()
        if wait_s > 0:  # our own report of the failure wakes us too
            return After(wait_s)
        try:
            if not image:
                require(size_bytes is not None, "a blank disk without a size")
                capacity = int(size_bytes or 0)
                path = await self._storage.create_disk(uid, capacity)
            else:
                disk = await self._begin(disk)
                work = self._storage.copy_disk(
                    uid, image, size_bytes, lambda p: percent.__setitem__(0, p)
                )
                path, capacity = await follow(
                    self._clock, work, lambda: self._look(key, uid, percent[0])
                )
        except Unwanted:
            return Done()
        except BadImage as error:
            return await self._failed(key, uid, DiskPhase.FAILED, str(error))
        except StorageError as error:
            self._not_before[uid] = self._clock.monotonic() + RETRY_S
            return await self._failed(key, uid, DiskPhase.PENDING, str(error))
        self._not_before.pop(uid, None)
        fresh = self._same(key, uid)
        if fresh is None:
            return Done()
        generation = generation_of(fresh)
        fields = {
            "phase": str(DiskPhase.READY),
            "progress": "100%",
            "capacity": quantity.bytes_text(capacity),
            "target": {"path": path},
            "observedGeneration": generation,
        }
        conditions = [
            cond.condition(
                DiskCondition.DATASOURCE_READY, True, DiskReason.DATASOURCE_READY, "", generation
            ),
            cond.condition(DiskCondition.READY, True, DiskReason.READY, "", generation),
        ]
        await self._writer.status(fresh, fields, conditions)
        self._log.info("disk made", disk=key, bytes=capacity)
        return Done()

    async def _begin(self, disk: Object) -> Object:
        generation = generation_of(disk)
        source = cond.condition(
            DiskCondition.DATASOURCE_READY, True, DiskReason.DATASOURCE_READY, "", generation
        )
        ready = cond.condition(DiskCondition.READY, False, DiskReason.PROVISIONING, "", generation)
        fields = {"phase": str(DiskPhase.PROVISIONING), "progress": "0%"}
        return await self._writer.status(disk, fields, [source, ready])

    def _same(self, key: str, uid: str) -> Object | None:
        """The disk as it is now, unless it went or goes."""
        disk = self.disks.get(key)
        return disk if disk is not None and uid_of(disk) == uid and not is_deleting(disk) else None

    async def _look(self, key: str, uid: str, percent: int) -> bool:
        disk = self._same(key, uid)
        if disk is None:
            return False
        with suppress(ApiError, Unanswered):  # the copy goes on; the next look tells
            await self._writer.status(disk, {"progress": f"{percent}%"}, [])
        return True

    async def _failed(self, key: str, uid: str, phase: DiskPhase, message: str) -> Outcome:
        disk = self._same(key, uid)
        if disk is None:
            return Done()
        reason = DiskReason.PROVISIONING_FAILED
        ready = cond.condition(DiskCondition.READY, False, reason, message, generation_of(disk))
        await self._writer.status(disk, {"phase": str(phase), "progress": None}, [ready])
        return Done() if phase is DiskPhase.FAILED else After(RETRY_S)

    async def _keep_held(self, disk: Object, vm: str) -> None:
        message = (
            f'The VirtualMachine "{vm}" uses this disk; it is removed when the VM has let go of it'
        )
        generation = generation_of(disk)
        held = cond.condition(DiskCondition.IN_USE, True, DiskReason.ATTACHED, message, generation)
        await self._writer.status(disk, {}, [held])

    async def _remove(self, disk: Object) -> None:
        """The phase is written first: a VM that claims the disk at this very moment fails, or we do."""
        disk = await self._writer.status(disk, {"phase": str(DiskPhase.TERMINATING)}, [])
        await self._storage.remove_disk(uid_of(disk))
        self._not_before.pop(uid_of(disk), None)
        await self._writer.drop_finalizer(disk, names.VDISK_FINALIZER)


def _source_keys(disk: Object) -> list[str]:
    """``kind/key`` of the image the disk is made from."""
    reference = (vdisks.data_source(disk) or {}).get("objectRef") or {}
    if not reference:
        return []
    kind, name = reference["kind"], reference["name"]
    cluster_wide = kind == "ClusterVirtualImage"
    return [f"{kind}/{name}" if cluster_wide else f"{kind}/{namespace_of(disk)}/{name}"]


def wire(manager: Manager, storage: Storage) -> None:
    """Register the disks controller."""
    made = Disks(manager, storage)
    controller = Controller("disks", made.reconcile, workers=WORKERS)
    controller.watch(made.disks, lambda disk: [key_of(disk)])
    controller.watch(made.images, lambda image: _made_from(made, VIMAGE, image))
    controller.watch(made.cluster_images, lambda image: _made_from(made, CVIMAGE, image))
    controller.watch(
        made.leases, lambda lease: [f"{namespace_of(lease)}/{name}" for name in vmls.disks(lease)]
    )
    controller.watch(made.vms, lambda vm: _disks_of(made, vm))
    manager.add(controller)


def _disks_of(made: Disks, vm: Object) -> list[str]:
    refs = (vm.get("spec") or {}).get("blockDeviceRefs") or []
    namespace = namespace_of(vm)
    return [f"{namespace}/{ref['name']}" for ref in refs if ref["kind"] == "VirtualDisk"]


def _made_from(made: Disks, kind: Kind, image: Object) -> list[str]:
    source = f"{kind.kind}/{key_of(image)}"
    return [key_of(disk) for disk in made.disks.by_index("source", source)]

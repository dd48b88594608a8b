"""Wiring of the images controllers: the same pass over VirtualImages and over ClusterVirtualImages."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from drover.api import conditions as cond
from drover.api import names
from drover.api.kinds import disk as vdisks
from drover.api.kinds import image as images
from drover.api.kinds.image import ImageCondition, ImagePhase, ImageReason
from drover.api.meta import generation_of, is_deleting, namespace_of, uid_of
from drover.api.scheme import CVIMAGE, VDISK, VIMAGE, VM, Kind, key_of
from drover.api.status import ApiError, Unanswered
from drover.api.wire import Object
from drover.base import quantity
from drover.base.checks import require
from drover.controllers.images import decide
from drover.controllers.images.decide import RETRY, ImageView
from drover.controllers.images.fetch import Fetcher, FetchError, Source
from drover.controllers.jobs import Unwanted, follow
from drover.controllers.storage import BadImage, ImageInfo, Storage, StorageError
from drover.controllers.writes import Writer
from drover.runtime.controller import After, Controller, Done, Outcome
from drover.runtime.manager import Manager

WORKERS = 2  # fetches at a time
FETCH_SHARE = 80  # percent of the progress that the fetch makes


class Images:
    """One pass over one image of one of the two kinds."""

    def __init__(self, manager: Manager, kind: Kind, storage: Storage, fetcher: Fetcher) -> None:
        self._clock = manager.clock
        self._log = manager.log.bind(controller="images")
        self._storage = storage
        self._fetcher = fetcher
        self._kind = kind
        self.images = manager.informer(kind)
        self.disks = manager.informer(VDISK)
        self.vms = manager.informer(VM)
        self._index = f"image-{kind.kind}"
        self.disks.add_index(self._index, self.keys_of_disk)
        self.vms.add_index(self._index, self.keys_of_vm)
        self._writer = Writer(manager.client, manager.clock, self.images)
        self._failures: dict[str, tuple[int, float]] = {}  # uid -> failures, time of the next try

    def keys_of_vm(self, vm: Object) -> list[str]:
        refs = (vm.get("spec") or {}).get("blockDeviceRefs") or []
        return [
            self._key(namespace_of(vm), ref["name"])
            for ref in refs
            if ref["kind"] == self._kind.kind
        ]

    def keys_of_disk(self, disk: Object) -> list[str]:
        reference = (vdisks.data_source(disk) or {}).get("objectRef") or {}
        named = reference.get("kind") == self._kind.kind
        return [self._key(namespace_of(disk), reference["name"])] if named else []

    def _key(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}" if self._kind.namespaced else name

    async def reconcile(self, key: str) -> Outcome:
        image = self.images.get(key)
        if image is None:
            return Done()
        view = ImageView(image, not self._kind.namespaced, self._users(key))
        match decide.decide(view):
            case decide.AddFinalizer():
                await self._writer.add_finalizer(image, names.VIMAGE_FINALIZER)
            case decide.Refuse(message):
                await self._fail(image, message, ImagePhase.FAILED)
            case decide.Provision(url, checksums):
                trusted = not self._kind.namespaced
                return await self._provision(image, Source(url, dict(checksums), trusted))
            case decide.Show(waiting):
                await self._show(image, view.users, waiting)
            case decide.Remove():
                await self._storage.remove_image(uid_of(image))
                self._failures.pop(uid_of(image), None)
                await self._writer.drop_finalizer(image, names.VIMAGE_FINALIZER)
            case step:
                require(False, f"no such step: {step}")
        return Done()

    def _users(self, key: str) -> tuple[str, ...]:
        """A disk counts while it is being made; afterwards it has its own content."""
        making = [d for d in self.disks.by_index(self._index, key) if not vdisks.ready(d)]
        machines = [f"VirtualMachine {key_of(vm)}" for vm in self.vms.by_index(self._index, key)]
        return (
            *machines,
            *(f"VirtualDisk {key_of(disk)}" for disk in making if not is_deleting(disk)),
        )

    async def _provision(self, image: Object, source: Source) -> Outcome:
        uid, key = uid_of(image), key_of(image)
        failures, next_s = self._failures.get(uid, (0, 0.0))
        wait_s = next_s - self._clock.monotonic()
        if wait_s > 0:
            return After(wait_s)
        if images.phase(image) is not ImagePhase.PROVISIONING:
            await self._begin(image)
        percent = [0]
        scratch = self._storage.scratch(uid)
        try:
            work = self._take_in(uid, source, scratch, percent)
            path, info = await follow(self._clock, work, lambda: self._look(key, uid, percent[0]))
        except Unwanted:
            return Done()
        except (FetchError, StorageError) as error:
            again = (
                error.again if isinstance(error, FetchError) else not isinstance(error, BadImage)
            )
            delay_s = RETRY.delay_s(failures + 1)
            self._failures[uid] = (failures + 1, self._clock.monotonic() + delay_s)
            fresh = self._same(key, uid)
            if fresh is not None:
                phase = ImagePhase.PROVISIONING if again else ImagePhase.FAILED
                await self._fail(fresh, str(error), phase)
            return After(delay_s) if again else Done()
        finally:
            self._storage.discard(uid)
        self._failures.pop(uid, None)
        await self._ready(key, uid, path, info)
        return Done()

    async def _take_in(
        self, uid: str, source: Source, scratch: Path, percent: list[int]
    ) -> tuple[str, ImageInfo]:
        def fetched(done: int, total: int) -> None:
            percent[0] = FETCH_SHARE * done // total if total else 0

        def taken(part: int) -> None:
            percent[0] = FETCH_SHARE + (100 - FETCH_SHARE) * part // 100

        await self._fetcher.fetch(source, scratch, fetched)
        return await self._storage.import_image(uid, scratch, taken)

    async def _begin(self, image: Object) -> None:
        generation = generation_of(image)
        ready = cond.condition(
            ImageCondition.READY, False, ImageReason.PROVISIONING, "", generation
        )
        fields = {"phase": str(ImagePhase.PROVISIONING), "progress": "0%"}
        await self._writer.status(image, fields, [ready])

    def _same(self, key: str, uid: str) -> Object | None:
        """The image as it is now, unless it went or goes."""
        image = self.images.get(key)
        return (
            image if image is not None and uid_of(image) == uid and not is_deleting(image) else None
        )

    async def _look(self, key: str, uid: str, percent: int) -> bool:
        image = self._same(key, uid)
        if image is None:
            return False
        with suppress(ApiError, Unanswered):  # the work goes on; the next look tells
            await self._writer.status(image, {"progress": f"{percent}%"}, [])
        return True

    async def _fail(self, image: Object, message: str, phase: ImagePhase) -> None:
        generation = generation_of(image)
        reason = ImageReason.PROVISIONING_FAILED
        ready = cond.condition(ImageCondition.READY, False, reason, message, generation)
        source = cond.condition(ImageCondition.DATASOURCE_READY, False, reason, message, generation)
        fields = {"phase": str(phase), "progress": None, "observedGeneration": generation}
        await self._writer.status(image, fields, [source, ready])

    async def _ready(self, key: str, uid: str, path: str, info: ImageInfo) -> None:
        image = self._same(key, uid)
        if image is None:
            return
        generation = generation_of(image)
        size = {
            "stored": quantity.bytes_text(info.stored_bytes),
            "storedBytes": str(info.stored_bytes),
            "unpacked": quantity.bytes_text(info.virtual_bytes),
            "unpackedBytes": str(info.virtual_bytes),
        }
        fields = {
            "phase": str(ImagePhase.READY),
            "progress": "100%",
            "format": info.format,
            "cdrom": info.cdrom,
            "size": size,
            "target": {"path": path},
            "observedGeneration": generation,
        }
        conditions = [
            cond.condition(
                ImageCondition.DATASOURCE_READY, True, ImageReason.DATASOURCE_READY, "", generation
            ),
            cond.condition(ImageCondition.READY, True, ImageReason.READY, "", generation),
        ]
        await self._writer.status(image, fields, conditions)
        self._log.info("image taken in", image=key, bytes=info.virtual_bytes)

    async def _show(self, image: Object, users: tuple[str, ...], waiting: bool) -> None:
        """An image that is being deleted keeps serving while it is in use, so its phase stays Ready."""
        generation = generation_of(image)
        reason = ImageReason.IN_USE if users else ImageReason.NOT_IN_USE
        message = decide.users_message(users)
        if waiting:
            message += "; it is removed after them"
        in_use = cond.condition(ImageCondition.IN_USE, bool(users), reason, message, generation)
        await self._writer.status(image, {}, [in_use])


def wire(manager: Manager, storage: Storage, fetcher: Fetcher) -> None:
    """Register the controllers of both kinds."""
    for kind in (VIMAGE, CVIMAGE):
        made = Images(manager, kind, storage, fetcher)
        controller = Controller(f"images-{kind.plural}", made.reconcile, workers=WORKERS)
        controller.watch(made.images, lambda image: [key_of(image)])
        controller.watch(made.disks, made.keys_of_disk)
        controller.watch(made.vms, made.keys_of_vm)
        manager.add(controller)

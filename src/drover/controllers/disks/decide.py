"""What to do about one disk. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api import names
from drover.api.kinds import disk as vdisks
from drover.api.kinds import image as images
from drover.api.kinds.disk import DiskPhase, DiskReason
from drover.api.meta import has_finalizer, is_deleting, name_of
from drover.api.wire import Object


@dataclass(frozen=True)
class DiskView:
    """``image`` is the object ``source`` names, if it exists; ``orphaned``: the VM in heldBy is proved gone."""

    disk: Object
    image: Object | None = None
    orphaned: bool = False


@dataclass(frozen=True)
class Step:
    pass


@dataclass(frozen=True)
class AddFinalizer(Step):
    pass


@dataclass(frozen=True)
class Free(Step):
    """Take the name of a VM that is gone out of heldBy."""


@dataclass(frozen=True)
class Wait(Step):
    """The source cannot be used yet."""

    reason: str
    message: str


@dataclass(frozen=True)
class Provision(Step):
    """Make the file; ``image`` empty: blank."""

    image: str
    size_bytes: int | None


@dataclass(frozen=True)
class Show(Step):
    """Nothing to do but to tell who uses it."""


@dataclass(frozen=True)
class KeepHeld(Step):
    """Somebody deletes it while a VM holds it."""

    vm: str


@dataclass(frozen=True)
class Remove(Step):
    pass


def decide(view: DiskView) -> Step:
    disk = view.disk
    held = vdisks.held_by(disk)
    if held is not None and view.orphaned:
        return Free()
    if is_deleting(disk):
        if not has_finalizer(disk, names.VDISK_FINALIZER):
            return Show()
        return KeepHeld(held[0]) if held is not None else Remove()
    if not has_finalizer(disk, names.VDISK_FINALIZER):
        return AddFinalizer()
    if vdisks.phase(disk) in (DiskPhase.READY, DiskPhase.FAILED):
        return Show()
    return _make(view)


def _make(view: DiskView) -> Step:
    size = vdisks.wanted_bytes(view.disk)
    source = vdisks.data_source(view.disk)
    if source is None:
        return Provision("", size)
    reference = source.get("objectRef") or {}
    kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
    cluster = kind == "ClusterVirtualImage"
    if view.image is None:
        reason = DiskReason.CLUSTER_IMAGE_NOT_FOUND if cluster else DiskReason.IMAGE_NOT_FOUND
        return Wait(reason, f'{kind} "{name}" does not exist')
    if is_deleting(view.image):
        reason = DiskReason.CLUSTER_IMAGE_NOT_READY if cluster else DiskReason.IMAGE_NOT_READY
        return Wait(reason, f'{kind} "{name}" is being deleted')
    if not images.ready(view.image):
        reason = DiskReason.CLUSTER_IMAGE_NOT_READY if cluster else DiskReason.IMAGE_NOT_READY
        phase = images.phase(view.image) or "Pending"
        return Wait(
            reason, f'{kind} "{name_of(view.image)}" is {phase}: {images.why_not_ready(view.image)}'
        )
    return Provision(images.path(view.image), size)

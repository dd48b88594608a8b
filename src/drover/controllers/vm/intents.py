"""The acts that ``decide`` may ask for, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.wire import Object
from drover.controllers.vm.power import Note, Power


@dataclass(frozen=True)
class Act:
    """One thing to do."""


@dataclass(frozen=True)
class CreateLease(Act):
    """A released lease at epoch 0, of a VM whose lease was never acquired."""


@dataclass(frozen=True)
class RebuildLease(Act):
    """The lease is missing though it was acquired once: ask every node (safety rule 1)."""

    above_epoch: int
    last_reason: str


@dataclass(frozen=True)
class ClaimDisks(Act):
    """Hold the disks for a start at this epoch; the rest of the acts waits until all are held."""

    disks: tuple[str, ...]
    epoch: int


@dataclass(frozen=True)
class FreeDisks(Act):
    disks: tuple[str, ...]


@dataclass(frozen=True)
class CreatePod(Act):
    pass


@dataclass(frozen=True)
class Acquire(Act):
    pod: Object
    lease: Object
    disks: tuple[str, ...]


@dataclass(frozen=True)
class Break(Act):
    """Take the lease from a life of a node that is proved dead."""

    lease: Object


@dataclass(frozen=True)
class StopPod(Act):
    """Ask the agent to end the guest of this Pod."""

    pod: Object
    how: str


@dataclass(frozen=True)
class UpdatePod(Act):
    """Labels and annotations of the VM apply to its living Pod at once."""

    pod: Object
    patch: Object


@dataclass(frozen=True)
class DeletePod(Act):
    """A Pod that never held the lease is not needed any more, or ``lost``: the life of its node is proved over."""

    pod: Object
    lost: bool = False


@dataclass(frozen=True)
class DeleteLease(Act):
    lease: Object


@dataclass(frozen=True)
class DropFinalizer(Act):
    pass


@dataclass(frozen=True)
class Decision:
    """``power`` is the memory to write first; ``again_s`` asks for another look."""

    power: Power
    acts: tuple[Act, ...] = ()
    notes: tuple[Note, ...] = ()
    again_s: float | None = None

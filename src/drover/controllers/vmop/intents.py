"""What the vmop controller can do, as values. Carried out by ``act``."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.kinds.vm import LiveMigrationPolicy
from drover.api.kinds.vmop import VmopPhase, VmopReason


@dataclass(frozen=True)
class Intent:
    """One act of the controller."""


@dataclass(frozen=True)
class Accept(Intent):
    """First sight: finalizer and label."""


@dataclass(frozen=True)
class SetStatus(Intent):
    phase: VmopPhase
    reason: VmopReason
    message: str
    percent: int = 0
    done: bool = False  # the condition Completed
    signalled: bool = False


@dataclass(frozen=True)
class SendSignal(Intent):
    """Write the request annotation on the VM."""


@dataclass(frozen=True)
class WithdrawSignal(Intent):
    """Take back a request that the VM has not taken in: a newer operation asks for something else."""


@dataclass(frozen=True)
class CreateMigration(Intent):
    policy: LiveMigrationPolicy  # the one that was applied
    auto_converge: bool


@dataclass(frozen=True)
class DeleteMigration(Intent):
    """Abort: the vmm goes when its outcome stands."""


@dataclass(frozen=True)
class DropFinalizer(Intent):
    pass

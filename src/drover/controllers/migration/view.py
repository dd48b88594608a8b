"""What a decision about one migration needs, gathered from informers. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.names import VmmPhase
from drover.controllers.migration.slots import Wait


@dataclass(frozen=True)
class TargetPod:
    """The target Pod as it is now."""

    uid: str
    node: str = ""
    unschedulable: str = ""  # the scheduler's message
    ended: bool = False
    deleting: bool = False


@dataclass(frozen=True)
class CopyLimits:
    """What the settings say of one transfer."""

    bandwidth_bytes_per_s: int = 640 * 2**20
    completion_s_per_gib: int = 800
    progress_s: int = 150


@dataclass(frozen=True)
class MigrationView:
    phase: str
    deleting: bool
    source_uid: str
    source_node: str
    has_finalizer: bool = True
    vm_phase: str = ""  # empty: the VM is gone
    lease_holder: str | None = None  # None: the lease is absent; "": released
    target_uid: str = ""  # from status.targetPod
    target_node: str = ""
    target: TargetPod | None = None
    source_said: str = ""
    source_reason: str = ""
    source_message: str = ""
    handed_over: bool = False
    target_said: str = ""
    target_lacks_disk: bool = False
    target_reason: str = ""
    wait: Wait | None = None  # the slot that is not free for it
    limits: CopyLimits = CopyLimits()  # those that the copy was let begin with
    memory_bytes: int = 0
    reason: str = ""
    message: str = ""
    in_phase_s: float = 0.0  # with this reason, seen by this controller

    @property
    def final(self) -> bool:
        return self.phase in VmmPhase.FINAL

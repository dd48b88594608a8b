"""What a decision about one migration needs, gathered from informers. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.names import VmmPhase


@dataclass(frozen=True)
class TargetPod:
    """The target Pod as it is now."""

    uid: str
    node: str = ""
    unschedulable: str = ""  # the scheduler's message
    ended: bool = False
    deleting: bool = False


@dataclass(frozen=True)
class Slots:
    """How many other migrations run that this one would compete with, and the limits."""

    cluster: int = 0
    outbound: int = 0  # from the same source node
    inbound: int = 0  # copying to the same target node
    cluster_most: int = 2
    outbound_most: int = 1
    inbound_most: int = 1


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
    target_reason: str = ""
    slots: Slots = Slots()
    reason: str = ""
    message: str = ""
    in_phase_s: float = 0.0  # with this reason, seen by this controller

    @property
    def final(self) -> bool:
        return self.phase in VmmPhase.FINAL

"""What the agent sees of one copy before it decides: frozen values, gathered by ``agent.keeper``.

Lease states are relative to this node *incarnation*: a lease that names an earlier incarnation of this node, whose
processes are proved dead, is ``MINE_BEFORE``: it may be released, never run on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from drover.agent.ports import NO_MIGRATION, MigrationInfo, RunState


class LeaseState(enum.Enum):
    MINE = "mine"
    MINE_BEFORE = "mine-before"
    OTHER = "other"
    RELEASED = "released"
    ABSENT = "absent"  # not the same as released (safety rule 1)


@dataclass(frozen=True)
class LeaseView:
    state: LeaseState
    holder: str = ""
    epoch: int = 0


@dataclass(frozen=True)
class PodView:
    """``stop`` is the vm controller's wish: "", "graceful" or "force"."""

    name: str
    deleting: bool = False
    final: bool = False
    running: bool = False  # it says that its guest runs
    stop: str = ""
    migration: str = ""  # name of the vmm, on target Pods


@dataclass(frozen=True)
class MachineView:
    """``shutdown`` is the guest's own end as an event told it: QEMU's reason, or empty."""

    state: RunState
    migration: MigrationInfo = NO_MIGRATION
    shutdown: str = ""
    silent_s: float = 0.0  # how long its monitor has said nothing


@dataclass(frozen=True)
class Marks:
    """What the journal remembers of this copy across crashes."""

    started: bool = False  # a QEMU process may have been made
    listening: bool = False  # its QEMU waits for an incoming guest
    resuming: bool = False  # `cont` may have been sent to an incoming copy (safety rule 4)
    ended: str = ""  # LastReason of its end, written before the kill
    copying: str = ""  # uid of the vmm for which `migrate` may have been sent


class HandOverState(enum.Enum):
    """What this agent knows of its own hand-over of this migration. Lost with the agent, which is safe: every
    further step is a compare-and-swap."""

    NONE = "none"
    UNSENT = "unsent"  # provably never left this host
    UNKNOWN = "unknown"  # sent, no answer: it may still land
    DONE = "done"  # acknowledged once


class Role(enum.Enum):
    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True)
class MoveView:
    """The migration this copy takes part in (a vmm), seen from its side."""

    uid: str
    role: Role
    phase: str
    aborting: bool  # somebody deleted the vmm
    final: bool
    source_copy: str
    target_copy: str
    source_phase: str = ""
    target_phase: str = ""
    guest_ended: bool = False  # the target found that the guest had ended when it was copied
    overdue: str = ""  # why the copy takes too long, or empty
    stalled_s: float = 0.0  # since what remains was less than ever before
    let_for_s: float = 0.0  # how long the copy has been let begin without having begun
    allow_ms: int = 0  # a longer pause that the copy may need to end; 0: none
    handover: HandOverState = HandOverState.NONE


@dataclass(frozen=True)
class CopyView:
    """Everything a decision needs."""

    copy: str
    vm: str
    lease: LeaseView
    pod: PodView | None = None
    machine: MachineView | None = None
    marks: Marks = Marks()
    move: MoveView | None = None
    node_fresh: bool = True  # the node's own Lease was acknowledged just now (safety rule 19)
    stop_left_s: float | None = None  # None: the power button was not pressed yet
    press_s: float = 0.0  # when it may be pressed again; 0: now
    hears: bool = True  # somebody listens for an incoming copy
    disk_try_s: float = 0.0  # when a guest that stands still for a disk may try again; 0: now
    refused_s: float = 0.0  # how long QEMU has refused to let the guest go on
    ask_s: float = 0.0  # when a guest that stands still may ask for the lease; 0: now
    mine_for_s: float = 0.0  # how long an incoming copy has held the lease without being complete

    @property
    def must_stop(self) -> bool:
        """Nobody wants this copy to run on."""
        return self.pod is None or self.pod.deleting or bool(self.pod.stop)

    @property
    def is_source(self) -> bool:
        return self.move is not None and self.move.role is Role.SOURCE

    @property
    def is_target(self) -> bool:
        """Of a migration whose guest has not been let go on here yet."""
        by_pod = self.pod is not None and bool(self.pod.migration)
        by_move = self.move is not None and self.move.role is Role.TARGET
        return (by_pod or by_move) and not self.marks.resuming

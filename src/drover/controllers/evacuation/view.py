"""What a decision about one VM's evacuation needs. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.evacuation import Blocked, Mark
from drover.api.kinds.vmop import FINISHED, VmopPhase


@dataclass(frozen=True)
class Operation:
    """An operation of the evacuation controller on this VM."""

    name: str
    uid: str
    phase: VmopPhase | None
    deleting: bool
    protected: bool  # carries our finalizer
    born_s: float
    ended_s: float  # when it failed or was done; 0: it is not finished
    message: str = ""
    unschedulable: str = ""  # the scheduler's words, while its target finds no node

    @property
    def finished(self) -> bool:
        return self.phase in FINISHED


@dataclass(frozen=True)
class Room:
    """Where the VM could go now. ``refusals`` are in kube-scheduler's words."""

    nodes: tuple[str, ...]
    refusals: str = ""
    early: bool = False  # may be otherwise in a moment: an eviction of others is on its way
    pin: str = ""  # the node it has to go to, as one of a group
    lift: tuple[int, ...] = ()  # numbers of its required affinity terms that bind it to that group


@dataclass(frozen=True)
class EvacuationView:
    now_s: float
    running: bool = False  # the VM's phase; Migrating is not it
    not_running_why: str = ""
    copying: bool = False  # its memory is on the way, or it has arrived
    migratable: bool = True
    not_migratable_why: str = ""
    node: str = ""
    cordoned: bool = False  # that node, now
    mark: Mark | None = None  # on the Pod that holds the VM's lease
    marked_s: float = 0.0
    blocked: Blocked | None = None
    operations: tuple[Operation, ...] = ()  # ours, oldest first
    other: str = ""  # an unfinished operation that is not ours
    room: Room | None = None  # None: not asked for

    @property
    def unfinished(self) -> Operation | None:
        return next((op for op in self.operations if not op.finished), None)

    def failures(self) -> list[Operation]:
        """Those in a row that failed since the mark, the newest last."""
        found: list[Operation] = []
        for op in self.operations:
            if op.finished and op.born_s >= self.marked_s:
                found = [*found, op] if op.phase is VmopPhase.FAILED else []
        return found

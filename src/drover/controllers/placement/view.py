"""What a decision about one VM's place needs. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """An operation of ours for the present wish that failed."""

    uid: str
    name: str
    ended_s: float
    message: str


@dataclass(frozen=True)
class PlacementView:
    now_s: float
    running: bool = False  # the VM's phase; Migrating is not it
    busy: bool = False  # an operation on it, or an eviction
    migratable: bool = True
    not_migratable_why: str = ""
    wished: str = ""  # digest of what is asked for now
    made_from: str = ""  # digest of what its Pod was made from; empty: not known
    steady_s: float = 0.0  # how long the wish has stood, and the VM has not moved
    unsatisfied: str = ""  # why its node does not take it any more, in kube-scheduler's words
    room: tuple[str, ...] = ()  # nodes that do
    no_room: str = ""  # why there are none
    failures: tuple[Failure, ...] = ()  # in a row, oldest first

    @property
    def changed(self) -> bool:
        return bool(self.made_from and self.wished) and self.made_from != self.wished

"""What a decision about the rollout needs. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass

from drover.api.kinds.vmop import FINISHED, VmopPhase


@dataclass(frozen=True)
class Rollout:
    """``status.firmware``: which rollout this is. ``token``: the annotation that sets the same version again."""

    version: str
    token: str
    number: int


@dataclass(frozen=True)
class Attempt:
    """An operation of this rollout."""

    vm: str
    name: str
    uid: str
    phase: VmopPhase | None
    ended_s: float = 0.0
    message: str = ""

    @property
    def finished(self) -> bool:
        return self.phase in FINISHED


@dataclass(frozen=True)
class OutdatedVm:
    """A running VM on another version. ``obstacle``: why it cannot be moved now; empty: it can."""

    key: str
    node: str
    version: str
    busy: bool = False  # another operation, or a move: it wakes us when it ends
    obstacle: str = ""


@dataclass(frozen=True)
class FirmwareView:
    now_s: float
    wanted: str = ""
    token: str = ""
    enabled: bool = True
    most: int = 2  # operations at once
    rollout: Rollout | None = None
    current: int = 0  # VMs that run on the wanted version
    outdated: tuple[OutdatedVm, ...] = ()
    attempts: tuple[Attempt, ...] = ()  # of this rollout, oldest end first, unfinished ones last

    @property
    def begun(self) -> bool:
        """The rollout that is noted is the one that is asked for."""
        return self.rollout is not None and (
            (self.rollout.version, self.rollout.token) == (self.wanted, self.token)
        )

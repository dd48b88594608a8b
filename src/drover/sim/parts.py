"""The small parts of a world: second implementations of the agent's ports, and its dice.

The journal belongs to the node's disk: it survives the agent and the node. Puts are synced at once,
as the real one promises; what a crash could tear is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from drover.agent.ports import Disk, ImageLocked, MachineSpec
from drover.base.ids import SeededIds
from drover.sim.ledger import ImageLocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")


@dataclass
class SimNetwork:
    """Remembers who is attached."""

    attached: dict[str, str] = field(default_factory=dict)  # copy -> address

    async def attach(self, copy: str, spec: MachineSpec) -> None:
        self.attached[copy] = spec.ip

    async def detach(self, copy: str) -> None:
        self.attached.pop(copy, None)


@dataclass
class SimSeeds:
    """Seeds without content."""

    async def write(self, copy: str, spec: MachineSpec, user_data: bytes) -> Disk:
        return Disk("seed", f"/seeds/{copy}", "raw", read_only=True)

    async def remove(self, copy: str) -> None:
        return None


@dataclass
class MemoryJournal:
    """One node's marks."""

    marks: dict[str, dict[str, str]] = field(default_factory=dict)

    def put(self, copy: str, mark: str, value: str = "") -> None:
        self.marks.setdefault(copy, {})[mark] = value

    def get(self, copy: str, mark: str) -> str | None:
        return self.marks.get(copy, {}).get(mark)

    def drop(self, copy: str, mark: str) -> None:
        self.marks.get(copy, {}).pop(mark, None)

    def forget(self, copy: str) -> None:
        self.marks.pop(copy, None)

    def copies(self) -> list[str]:
        return sorted(self.marks)


@dataclass
class WatchedLocks(ImageLocks):
    """Locks that remember each refusal: the second guard must never have to hold."""

    refusals: list[str] = field(default_factory=list)

    def take(self, copy: str, disks: Iterable[Disk]) -> None:
        try:
            super().take(copy, disks)
        except ImageLocked as locked:
            self.refusals.append(f"{copy}: {locked}")
            raise


class Dice:
    """Seeded chance in a story's words."""

    def __init__(self, seed: str) -> None:
        self._ids = SeededIds(seed)

    def happens(self, chance: float) -> bool:
        return self._ids.uniform() < chance

    def between(self, least: float, most: float) -> float:
        return least + (most - least) * self._ids.uniform()

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._ids.uniform() * len(choices))]

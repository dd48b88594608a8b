"""The small second implementations of the agent's ports: network, seeds, journal.

The journal belongs to the node's disk: it survives the agent and the node. Puts are synced at once, as the real one
promises; what a crash could tear is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from drover.agent.ports import Disk, MachineSpec


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

    def forget(self, copy: str) -> None:
        self.marks.pop(copy, None)

    def copies(self) -> list[str]:
        return sorted(self.marks)

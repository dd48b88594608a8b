"""What the move of a VM costs, learned from earlier ones: how much memory, how fast it is written to, how fast copies
go. Pure; nothing is promised by it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.scheme import key_of
from drover.api.wire import Object

GUESSED_BYTES_PER_S = 100 * 2**20  # of a link that no copy has gone over yet


@dataclass(frozen=True)
class Load:
    """What one VM's move has to carry."""

    vm: str
    bytes: float
    dirty_bytes_per_s: float = 0.0


def load_of(vm: Object, moves: Iterable[Object]) -> Load:
    """``moves`` are the VM's migrations; what the newest one told is taken, as far as it told anything."""
    told = [said for move in moves if (said := vmms.source_report(move)).get("ramTotalBytes")]
    if not told:
        return Load(key_of(vm), float(vms.memory_bytes(vm)))
    last = told[-1]
    size, dirty = float(last["ramTotalBytes"]), float(last.get("dirtyBytesPerSecond", 0))
    return Load(key_of(vm), size, dirty)


def link_bytes_per_s(moves: Iterable[Object]) -> float:
    """The median speed of the copies so far."""
    rates = sorted(
        float(said["mbps"]) * 1e6 / 8
        for move in moves
        if (said := vmms.source_report(move)).get("mbps")
    )
    return rates[len(rates) // 2] if rates else GUESSED_BYTES_PER_S

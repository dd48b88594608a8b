"""What the move of a VM costs, learned from earlier ones: how much memory, how fast it is written to, how fast copies
go. Pure; nothing is promised by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.scheme import key_of
from drover.api.wire import Object

AROUND_S = 1.5  # of each move, besides its copy
LEAST_SHARE = 0.1  # of the link that is left for progress, however fast the guest writes
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


def seconds(load: Load, link: float) -> float:
    """Of one move over an otherwise free link."""
    return AROUND_S + load.bytes / max(link - load.dirty_bytes_per_s, link * LEAST_SHARE)


def estimate_s(loads: Sequence[Load], link: float, at_once: int) -> float:
    """Moves in a row, ``at_once`` of them side by side; their copies share the link."""
    slots = [0.0] * max(1, at_once)
    for load in sorted(loads, key=lambda load: -load.bytes):
        slots.sort()
        slots[0] += seconds(load, link)
    copies_s = sum(seconds(load, link) - AROUND_S for load in loads)
    return max(max(slots), copies_s + AROUND_S) if loads else 0.0

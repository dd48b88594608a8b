"""What the move of a VM costs, learned from earlier ones: how much memory is copied, how fast it is written to, how
fast copies go, and what a move takes besides. Pure; nothing is promised by it.

A copy carries only pages that the guest has touched, and those again that it writes meanwhile: of ``T`` bytes that
went over a link of ``r`` bytes per second, ``T * (1 - d / r)`` were there to be copied where the guest writes ``d``
bytes per second. That much is what its next copy begins with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from drover.api.kinds import vm as vms
from drover.api.kinds import vmm as vmms
from drover.api.names import VmmPhase
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339

AROUND_S = 1.5  # of each move, besides its copy, where no other has told
LEAST_SHARE = 0.1  # of the link that is left for progress, however fast the guest writes
GUESSED_BYTES_PER_S = 100 * 2**20  # of a link that no copy has gone over yet


@dataclass(frozen=True, slots=True)
class Load:
    """What one VM's move has to carry."""

    vm: str
    bytes: float
    dirty_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What all moves have in common. ``share``: of a VM's memory, that is copied once."""

    link_bytes_per_s: float = GUESSED_BYTES_PER_S
    share: float = 1.0
    around_s: float = AROUND_S


def learned(moves: Iterable[Object]) -> Costs:
    """From the migrations of all VMs."""
    whole = [move for move in moves if _copied(move)]
    if not whole:
        return Costs()
    rates = [_rate(move) for move in whole]
    shares = [_copied(move) / _total(move) for move in whole]
    arounds = [around for move in whole if (around := _around_s(move)) is not None]
    return Costs(median(rates), median(shares), _middle(arounds) if arounds else AROUND_S)


def load_of(vm: Object, moves: Iterable[Object], costs: Costs) -> Load:
    """``moves`` are the VM's migrations, oldest first: the newest that succeeded tells how much is copied, the newest
    that told anything how fast the guest writes."""
    told = [move for move in moves if _total(move)]
    whole = [move for move in told if _copied(move)]
    dirty = _dirty(told[-1]) if told else 0.0
    if whole:
        return Load(key_of(vm), _copied(whole[-1]), dirty)
    size = _total(told[-1]) if told else float(vms.memory_bytes(vm))
    return Load(key_of(vm), size * costs.share, dirty)


def seconds(load: Load, costs: Costs) -> float:
    """Of one move over an otherwise free link."""
    link = costs.link_bytes_per_s
    return costs.around_s + load.bytes / max(link - load.dirty_bytes_per_s, link * LEAST_SHARE)


def estimate_s(loads: Sequence[Load], costs: Costs, at_once: int) -> float:
    """Moves in a row, ``at_once`` of them side by side; their copies share the link."""
    slots = [0.0] * max(1, at_once)
    for load in sorted(loads, key=lambda load: -load.bytes):
        slots.sort()
        slots[0] += seconds(load, costs)
    copies_s = sum(seconds(load, costs) - costs.around_s for load in loads)
    return max(max(slots), copies_s + costs.around_s) if loads else 0.0


def _total(move: Object) -> float:
    return float(vmms.source_report(move).get("ramTotalBytes", 0))


def _dirty(move: Object) -> float:
    return float(vmms.source_report(move).get("dirtyBytesPerSecond", 0))


def _rate(move: Object) -> float:
    return float(vmms.source_report(move).get("mbps", 0)) * 1e6 / 8


def _copied(move: Object) -> float:
    """What there was to copy, each page once; 0 for a migration that does not tell."""
    total, rate = _total(move), _rate(move)
    if vmms.phase(move) != VmmPhase.SUCCEEDED or not total or not rate:
        return 0.0
    sent = float(vmms.source_report(move).get("ramTransferredBytes", total))
    return min(sent * max(1 - _dirty(move) / rate, LEAST_SHARE), total)


def _around_s(move: Object) -> float | None:
    """Of a migration's life all that was no copy. None: it does not tell."""
    ended = vmms.status(move).get("endTimestamp")
    if not ended:
        return None
    lived_s = parse_rfc3339(str(ended)) - parse_rfc3339(move["metadata"]["creationTimestamp"])
    sent = float(vmms.source_report(move).get("ramTransferredBytes", 0))
    return max(lived_s - sent / _rate(move), 0.0)


def _middle(values: Sequence[float]) -> float:
    """The mean of the middle half: times are told in whole seconds, and some moves had to wait for their turn."""
    ordered, quarter = sorted(values), len(values) // 4
    return fmean(ordered[quarter : len(ordered) - quarter])

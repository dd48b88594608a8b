"""Who may go on, and what the others wait for: ``slots(moves, settings, vm_nodes, now) -> {key: Wait}``. Pure.

A slot is not an object: a move holds it because of the phase it is in, so it is freed by whatever ends the move and
cannot be leaked by a crash of anybody.

    admission   one of the cluster's and one of the source's outbound slots, from Scheduling to the end
    transfer    one of the target's inbound and one of the source's sync slots, both or neither, from Ready to the end

In order: by who asked (``Origin``), then by age. Who cannot go does not keep others from going: a move that waits for
its node lets moves of other nodes pass. Limits to that:
- a move that has waited for its transfer for ``PATIENCE_S`` keeps the one slot that is free for it, so that others who
  need only that one cannot keep it away for ever; it waits for transfers that go on already, and these end;
- a move that has waited for ``AGED_S`` goes before all that came later, whoever asked: else somebody who keeps asking
  (anybody may) would keep every drain waiting for ever;
- a move whose source or target is silent (not Ready, Unknown) keeps no slot: it sends nothing, and may do so for as
  long as that node is neither fenced nor repaired. One that has not begun to send waits for its source;
- a move that no node has room for keeps no slot, since it might keep it for minutes. When a node takes it after all its
  source may prepare one target more than its limit; memory is never sent beyond the limits. As many moves as the
  cluster has slots may be in that state. Nor does one keep a slot whose target Pod a quota refuses.

A move that was let go, and whose phase does not say so yet because the write is under way, holds its slots already
(``queue``): several workers take them at once.

It does not promise that a migration which was admitted by a former leader a moment ago is known: limits are kept by one
living leader, and two would only exceed them for a while.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from drover.controllers.settings import Settings

PATIENCE_S = 60.0
AGED_S = 600.0


class Wait(enum.Enum):
    """What a move waits for: one of the limits, or its source."""

    SOURCE = "source"
    CLUSTER = "cluster"
    OUTBOUND = "outbound"
    INBOUND = "inbound"
    SYNC = "sync"


class Slot(enum.Enum):
    """What a move takes by its next step."""

    ADMISSION = "admission"
    TRANSFER = "transfer"


@dataclass(frozen=True)
class Move:
    """One migration that is not over."""

    key: str
    rank: int  # who asked; 0 is served first
    created_s: float  # wall time
    source: str
    target: str = ""  # the node; empty until there is one
    admitted: bool = False  # its target Pod was made
    homeless: bool = False  # no node has room for that Pod
    refused: bool = False  # the API refused that Pod, by a quota; it is tried again
    prepared: bool = False  # its target waits for the memory
    transferring: bool = False
    waiting_since_s: float | None = None  # for its transfer
    source_away: bool = False  # the node is silent
    target_away: bool = False

    @property
    def stuck(self) -> bool:
        """It sends nothing, and cannot be ended: its source may be alive and hand over yet."""
        return self.source_away or self.target_away

    def order(self, now_s: float) -> tuple[int, float, str]:
        aged = now_s - self.created_s > AGED_S
        return 0 if aged else self.rank, self.created_s, self.key


def slots(
    moves: Iterable[Move], settings: Settings, vm_nodes: int, now_s: float
) -> dict[str, Wait]:
    """The moves that must wait, and for what. All others may go on."""
    ordered = sorted(moves, key=lambda move: move.order(now_s))
    return {**_admission(ordered, settings, vm_nodes), **_transfer(ordered, settings, now_s)}


def _admission(ordered: list[Move], settings: Settings, vm_nodes: int) -> dict[str, Wait]:
    settled = [move for move in ordered if move.admitted and not move.homeless and not move.stuck]
    homeless = sum(move.admitted and move.homeless for move in ordered)
    most = settings.cluster_most(vm_nodes)
    taken, outbound = len(settled), Counter(move.source for move in settled)
    waits = {}
    for move in ordered:
        if move.admitted:
            continue
        if move.source_away:
            waits[move.key] = Wait.SOURCE
        elif outbound[move.source] >= settings.outbound_per_node:
            waits[move.key] = Wait.OUTBOUND
        elif taken >= most or homeless >= most:
            waits[move.key] = Wait.CLUSTER
        elif not move.refused:
            taken += 1
            outbound[move.source] += 1
    return waits


def _transfer(ordered: list[Move], settings: Settings, now_s: float) -> dict[str, Wait]:
    sending = [move for move in ordered if move.transferring and not move.stuck]
    sync = Counter(move.source for move in sending)
    inbound = Counter(move.target for move in sending)
    waits = {}
    for move in ordered:
        if not move.prepared or move.transferring:
            continue
        if move.source_away:
            waits[move.key] = Wait.SOURCE
            continue
        if inbound[move.target] >= settings.inbound_per_node:
            waits[move.key] = Wait.INBOUND
        elif sync[move.source] >= settings.sync_per_node:
            waits[move.key] = Wait.SYNC
        patient = move.waiting_since_s is not None and now_s - move.waiting_since_s < PATIENCE_S
        if move.key not in waits or (move.waiting_since_s is not None and not patient):
            inbound[move.target] += 1
            sync[move.source] += 1
    return waits

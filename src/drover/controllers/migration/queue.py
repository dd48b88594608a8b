"""The slots of all migrations, from the caches: who waits for what now, and waking those who wait.

Computed anew only after something that counts has changed: a migration took or freed a slot or came, a node came,
went, fell silent or spoke again, the settings changed. Whoever may go by that is woken; a counter of a copy in progress
wakes nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from drover.api import scheme
from drover.api.kinds import node as nodes_
from drover.api.kinds import vmm as vmms
from drover.api.meta import is_deleting
from drover.api.names import VmmPhase
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339
from drover.controllers.current import CurrentSettings
from drover.controllers.migration.slots import Move, Wait, slots
from drover.runtime.manager import Manager

# vmm.status.reason of a migration whose target Pod no node takes (decide.Reason.UNSCHEDULABLE).
_HOMELESS = "TargetUnschedulable"
_REFUSED = "QuotaExceeded"  # and of one whose target Pod a quota refuses
_TRANSFER = (VmmPhase.READY, VmmPhase.COPYING)


class SlotQueue:
    """One per migration controller."""

    def __init__(self, manager: Manager, settings: CurrentSettings) -> None:
        self._clock = manager.clock
        self._settings = settings
        self._migrations = manager.informer(scheme.VMM)
        self._nodes = manager.informer(scheme.NODE)
        self._migrations.add_index("open", lambda vmm: [] if vmms.final(vmm) else ["yes"])
        self._waits: dict[str, Wait] | None = None

    def wait(self, key: str) -> Wait | None:
        """The limit that a migration waits for; None: it may go on."""
        if self._waits is None:
            self._waits = self._all()
        return self._waits.get(key)

    def _all(self) -> dict[str, Wait]:
        claims = [_claim(vmm) for vmm in self._migrations.by_index("open", "yes")]
        moves = [self._seen(claim) for claim in claims if claim is not None]
        nodes = sum(nodes_.for_vms(node) for node in self._nodes.all())
        return slots(moves, self._settings.now(), nodes, self._clock.wall())

    def _seen(self, move: Move) -> Move:
        return replace(
            move, source_away=self._away(move.source), target_away=self._away(move.target)
        )

    def _away(self, name: str) -> bool:
        node = self._nodes.get(name) if name else None
        return bool(name) and (node is None or nodes_.away(node))

    def follow(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` for those who wait whenever they may go, or wait for something else."""

        def changed() -> None:
            if self._waits is None:
                return  # nobody has asked yet
            before, self._waits = self._waits, self._all()
            for key, waited_for in before.items():
                if self._waits.get(key) is not waited_for:
                    wake(key)

        def migration(old: Object | None, new: Object | None) -> None:
            if _claim(old) != _claim(new):
                changed()

        def node(old: Object | None, new: Object | None) -> None:
            if _counts(old) != _counts(new):
                changed()

        self._migrations.add_handler(migration)
        self._nodes.add_handler(node)
        self._settings.informer.add_handler(lambda old, new: changed())


def move_of(vmm: Object) -> Move:
    """A migration that is not over, as far as slots go."""
    said, phase = vmms.status(vmm), vmms.phase(vmm)
    since = said.get("waitingSince")
    listening = vmms.target_report(vmm).get("phase") == vmms.TargetPhase.LISTENING
    return Move(
        key=scheme.key_of(vmm),
        rank=vmms.origin(vmm).rank,
        created_s=parse_rfc3339(vmm["metadata"]["creationTimestamp"]),
        source=vmms.source_node(vmm),
        target=vmms.target_node(vmm),
        admitted=phase != VmmPhase.PENDING,
        homeless=phase == VmmPhase.SCHEDULING and said.get("reason") == _HOMELESS,
        refused=phase == VmmPhase.PENDING and said.get("reason") == _REFUSED,
        prepared=phase == VmmPhase.PREPARING and listening and not is_deleting(vmm),
        transferring=phase in _TRANSFER,
        waiting_since_s=parse_rfc3339(str(since)) if since else None,
    )


def _claim(vmm: Object | None) -> Move | None:
    """None: it holds no slot and wants none."""
    if vmm is None or vmms.final(vmm):
        return None
    withdrawn = is_deleting(vmm) and vmms.phase(vmm) == VmmPhase.PENDING
    return None if withdrawn else move_of(vmm)


def _counts(node: Object | None) -> tuple[bool, bool]:
    """What of a Node the slots depend on."""
    return (False, True) if node is None else (nodes_.for_vms(node), nodes_.away(node))

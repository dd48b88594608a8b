"""The slots of all migrations, from the caches: who waits for what now, and waking those who wait.

Computed anew only after something that counts has changed: a migration took or freed a slot or came, a node came,
went, fell silent or spoke again, the settings changed. Whoever may go by that is woken; a counter of a copy in progress
wakes nobody.

Several workers decide by this, and what one has decided is not in the cache before its write is answered. So a worker
says first what it takes (``taking``), and the others see that as taken. That word is only of this process and this
moment: the write demands the very version that was decided on, so as soon as the cache shows another one, the
migration's phase tells all.

    decide --taking--> write --answered------------> in the cache: the phase holds the slot
                         |---refused---------------> free again
                         '---conflict, no answer---> it may have landed: taken until the cache changes, or the next try

It does not promise that a write which the server answered with an error of its own (5xx) did not land all the same:
that slot counts as free until the watch tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from drover.api import scheme
from drover.api.kinds import node as nodes_
from drover.api.kinds import vmm as vmms
from drover.api.meta import is_deleting, name_of
from drover.api.names import VmmPhase
from drover.api.status import Conflict, Unanswered
from drover.api.wire import Object
from drover.base.clock import parse_rfc3339
from drover.controllers.current import CurrentSettings
from drover.controllers.migration.slots import Move, Slot, Wait, slots
from drover.runtime.manager import Manager

# vmm.status.reason of a migration whose target Pod no node takes (decide.Reason.UNSCHEDULABLE).
_HOMELESS = "TargetUnschedulable"
_REFUSED = "QuotaExceeded"  # and of one whose target Pod a quota refuses
_TRANSFER = (VmmPhase.READY, VmmPhase.COPYING)


class SlotQueue:
    """One per migration controller. ``wake`` is called with those who wait whenever they may go, or wait for something
    else."""

    def __init__(self, manager: Manager, settings: CurrentSettings) -> None:
        self.wake: Callable[[str], None] = lambda key: None
        self._clock = manager.clock
        self._settings = settings
        self._migrations = manager.informer(scheme.VMM)
        self._nodes = manager.informer(scheme.NODE)
        self._vm_nodes: set[str] = set()
        self._moves: dict[str, Move] = {}  # that hold slots or want some
        self._taking: dict[str, Slot] = {}
        self._waits: dict[str, Wait] | None = None  # None: nobody has asked yet
        self._migrations.add_handler(self._migration)
        self._nodes.add_handler(self._node)
        settings.informer.add_handler(lambda old, new: self._changed())

    def wait(self, key: str) -> Wait | None:
        """The limit that a migration waits for; None: it may go on."""
        if self._waits is None:
            self._waits = self._all()
        return self._waits.get(key)

    @contextmanager
    def taking(self, key: str, slot: Slot | None) -> Iterator[None]:
        """While the write is under way by which it takes this slot (None: none); to be entered before anything is
        awaited after ``wait``, which then says of this migration that it may go on."""
        self._take(key, slot)
        try:
            yield
        except (Conflict, Unanswered):
            raise
        except BaseException:
            self._take(key, None)
            raise
        self._take(key, None)

    def _take(self, key: str, slot: Slot | None) -> None:
        if slot is not None:
            self._taking[key] = slot
        elif self._taking.pop(key, None) is None:
            return
        self._note(key, self._migrations.get(key))

    def _all(self) -> dict[str, Wait]:
        nodes = len(self._vm_nodes)
        return slots(self._moves.values(), self._settings.now(), nodes, self._clock.wall())

    def _seen(self, move: Move) -> Move:
        taking = self._taking.get(move.key)
        return replace(
            move,
            admitted=move.admitted or taking is Slot.ADMISSION,
            transferring=move.transferring or taking is Slot.TRANSFER,
            source_away=self._away(move.source),
            target_away=self._away(move.target),
        )

    def _away(self, name: str) -> bool:
        node = self._nodes.get(name) if name else None
        return bool(name) and (node is None or nodes_.away(node))

    def _changed(self) -> None:
        if self._waits is None:
            return
        before, self._waits = self._waits, self._all()
        for key, waited_for in before.items():
            if self._waits.get(key) is not waited_for:
                self.wake(key)

    def _note(self, key: str, vmm: Object | None) -> None:
        claim = _claim(vmm)
        move = None if claim is None else self._seen(claim)
        if move == self._moves.get(key):
            return
        if move is None:
            del self._moves[key]
        else:
            self._moves[key] = move
        self._changed()

    def _migration(self, old: Object | None, new: Object | None) -> None:
        vmm = new or old
        assert vmm is not None
        key = scheme.key_of(vmm)
        self._taking.pop(key, None)
        self._note(key, new)

    def _node(self, old: Object | None, new: Object | None) -> None:
        node = new or old
        assert node is not None
        name, fits = name_of(node), new is not None and nodes_.for_vms(new)
        changed = fits != (name in self._vm_nodes)
        (self._vm_nodes.add if fits else self._vm_nodes.discard)(name)
        for key, move in self._moves.items():
            if name in (move.source, move.target):
                self._moves[key] = self._seen(move)
                changed = changed or self._moves[key] != move
        if changed:
            self._changed()


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

"""The highest epoch of each VM's lease that this node knows of, on its disk (safety rule 10).

Epochs only rise. A lease below the highest one known is of a past that came back: etcd was restored from a backup. Who
may run is not known then, and such a lease is worth as much as none: nothing is started by it, and nothing that runs
ends by it. It ends when the restore is declared, which puts every lease above all that was ever seen.

A VM is told by its uid, so that a namesake begins anew. Not promised after the loss of that disk: then the node is a
new machine, and no lease that names its former life starts anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from drover.agent.ports import Journal
from drover.api.kinds.vml import RESTORE_LEAP
from drover.api.scheme import key_of
from drover.api.wire import Object

NODE_KEY = "node"
_MARK, _RAISED_MARK = "epochs", "epochs-raised"
MOST = 4096  # VMs; the one that was not heard of for longest is forgotten first


class Epochs:
    """Of one node. Raises HostError when the disk takes nothing: then nothing may be concluded from the lease."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[str, int] = json.loads(journal.get(NODE_KEY, _MARK) or "{}")
        # Those that were raised by a restore which is not settled yet.
        self._raised: set[str] = set(json.loads(journal.get(NODE_KEY, _RAISED_MARK) or "[]"))
        self.on_leap: list[Callable[[], None]] = []  # a restore was settled
        self._held: dict[str, int] = {}  # copy -> the epoch at which it held the lease last

    def mark(self, lease: Object) -> str:
        """What a mark that names this lease says, see ``note_mark``."""
        return f"{int(lease['spec'].get('epoch', 0))} {_vm(lease)}"

    def note_mark(self, mark: str) -> None:
        """Whoever wrote ``mark`` may have ended before it could note the lease itself."""
        epoch, _, vm = mark.partition(" ")
        if vm and epoch.isdecimal():
            self._note(vm, int(epoch))

    def stale(self, lease: Object) -> bool:
        return int(lease["spec"].get("epoch", 0)) < self._known.get(_vm(lease), 0)

    def note(self, lease: Object) -> None:
        """What was seen. On disk when this returns."""
        self._note(_vm(lease), int(lease["spec"].get("epoch", 0)))

    def _note(self, vm: str, epoch: int) -> None:
        before = self._known.get(vm, 0)
        if epoch <= before:
            return
        if before and epoch - before >= RESTORE_LEAP // 2:
            for tell in self.on_leap:
                tell()
        known = {one: at for one, at in self._known.items() if one != vm} | {vm: epoch}
        for one in list(known)[:-MOST]:  # the newest are last
            del known[one]
        # A crash in between may raise it once too often, and never too seldom.
        self._keep_raised(self._raised & known.keys() - {vm})
        self._keep(known)

    def rewound(self) -> None:
        """The API has forgotten what it knew: no lease of before says who may run, until it is settled anew. Once for
        each settlement, however often this is found and however many backups were tried: raised further, they would
        stand above what the settlement gives, for ever."""
        raised = {vm: epoch + RESTORE_LEAP // 2 for vm, epoch in self._known.items()}
        self._keep(raised | {vm: self._known[vm] for vm in self._raised & self._known.keys()})
        self._keep_raised(set(self._known))

    def _keep(self, known: dict[str, int]) -> None:
        """On disk first: what the disk did not take is not known, at the next look neither."""
        self._journal.put(NODE_KEY, _MARK, json.dumps(known))
        self._known = known

    def _keep_raised(self, raised: set[str]) -> None:
        if raised != self._raised:
            self._journal.put(NODE_KEY, _RAISED_MARK, json.dumps(sorted(raised)))
            self._raised = raised

    def holds(self, copy: str, epoch: int) -> None:
        """The lease names this copy."""
        self._held[copy] = epoch

    def held(self, copy: str) -> int:
        """Among copies that are left of one VM the highest was the last to run. 0: this agent has not seen it."""
        return self._held.get(copy, 0)

    def forget(self, copy: str) -> None:
        self._held.pop(copy, None)


def _vm(lease: Object) -> str:
    owners = lease["metadata"].get("ownerReferences") or []
    return str(owners[0]["uid"]) if owners else key_of(lease)

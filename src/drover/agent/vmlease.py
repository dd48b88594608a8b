"""The VM lease as an agent sees and writes it: who may run this VM.

Every write is a PUT that carries uid and resourceVersion of the version read (safety rule 2), so a late writer is
refused. The outcome of a write is one of four, and callers must tell them apart: ``ACKED`` it happened, ``REFUSED``
somebody else wrote first (or we may not): read again, ``UNSENT`` it provably never left this host, ``UNKNOWN`` it may
still land, and only another acknowledged compare-and-swap settles the matter.

Not promised: that the cached lease is current. Whoever starts or resumes a guest reads it fresh.
"""

from __future__ import annotations

import copy as copying
import enum
from dataclasses import dataclass

from drover.agent.epochs import Epochs
from drover.agent.view import LeaseState, LeaseView
from drover.api import names, scheme, status
from drover.api.wire import Object
from drover.runtime.client import Client
from drover.runtime.informer import Informer


class Cas(enum.Enum):
    ACKED = "acked"
    REFUSED = "refused"
    UNSENT = "unsent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Party:
    """A copy that may hold a lease."""

    copy: str
    node: str
    incarnation: str


class VmLeases:
    """Reads and compare-and-swaps of VirtualMachineLeases by the agent of one node incarnation."""

    def __init__(
        self, client: Client, informer: Informer, node: str, incarnation: str, epochs: Epochs
    ) -> None:
        self._client = client
        self._informer = informer
        self._node = node
        self._incarnation = incarnation
        self.epochs = epochs

    def party(self, copy: str) -> Party:
        return Party(copy, self._node, self._incarnation)

    def cached(self, vm: str) -> Object | None:
        return self._informer.get(vm)

    async def fresh(self, vm: str) -> Object | None:
        """Read from the API; None when absent. Raises ApiError kinds and Unanswered."""
        namespace, name = scheme.split_key(vm)
        try:
            lease = await self._client.get(scheme.VML, name, namespace)
        except status.NotFound:
            return None
        self._informer.observe(lease)
        return lease

    def view(self, lease: Object | None, copy: str, note: bool = True) -> LeaseView:
        """The lease from the standpoint of one copy on this node incarnation. One of the past is none. Raises
        HostError when its epoch cannot be kept. ``note`` False: the caller keeps it before anything follows from it."""
        if lease is None or self.epochs.stale(lease):
            return LeaseView(LeaseState.ABSENT)
        if note:
            self.epochs.note(lease)
        spec = lease["spec"]
        holder, epoch = spec.get("holder", ""), int(spec.get("epoch", 0))
        if not holder:
            state = LeaseState.RELEASED
        elif holder != copy or spec.get("node") != self._node:
            state = LeaseState.OTHER
        elif spec.get("nodeIncarnation") == self._incarnation:
            state = LeaseState.MINE
            self.epochs.holds(copy, epoch)
        else:
            state = LeaseState.MINE_BEFORE
        return LeaseView(state, holder, epoch)

    async def give(self, lease: Object, to: Party) -> Cas:
        """Hand over, hand back, or take back: the lease names ``to`` at the next epoch."""
        spec = {"holder": to.copy, "node": to.node, "nodeIncarnation": to.incarnation}
        return await self._write(lease, spec, held=True)

    async def release(self, lease: Object, reason: str) -> Cas:
        """Nobody runs this VM; ``reason`` is what the restart decision reads (safety rule 17)."""
        spec = {"holder": "", "node": "", "nodeIncarnation": "", "disks": [], "lastReason": reason}
        return await self._write(lease, spec, held=False)

    async def _write(self, lease: Object, spec: Object, held: bool) -> Cas:
        wanted = copying.deepcopy(lease)
        wanted["spec"].update(spec)
        wanted["spec"]["epoch"] = int(lease["spec"].get("epoch", 0)) + 1
        finalizers = [
            f for f in wanted["metadata"].get("finalizers", []) if f != names.HELD_FINALIZER
        ]
        wanted["metadata"]["finalizers"] = (
            [*finalizers, names.HELD_FINALIZER] if held else finalizers
        )
        try:
            answer = await self._client.replace(scheme.VML, wanted)
        except status.Unanswered as lost:
            return Cas.UNKNOWN if lost.sent else Cas.UNSENT
        except status.ServerError:
            return Cas.UNKNOWN
        except status.ApiError:
            return Cas.REFUSED
        self.epochs.note(answer)
        self._informer.observe(answer)
        return Cas.ACKED

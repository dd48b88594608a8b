"""Listens to all nodes after a restore, settles every VM lease and roster, and then lets the controllers begin.

Whoever restores a backup declares it (`drover restore`, in the controllers' configuration): an id, the nodes that there
were, and those that are off for sure. Until this is done no other controller runs: nothing is started, broken, fenced
or released. A ConfigMap remembers that it was done, so that the next start of the controllers does not do it again, and
says meanwhile for whom it waits.

A node has reported when it has renewed its Lease twice since the VM's lease was seen as it is now: the first renewal
may have been on its way before. A node that says nothing holds everything up: it may run anything. It is off when the
declaration says so, or later ``drover fence confirm``; a node that renews all the same is heard, whatever was said.

A VM that runs and that the backup does not know has no owner any more, and its disk may be given to another: it gets a
lease that nobody holds, so that its node ends it. Its disk's file stays.

Copies whose Pods the backup does not know are ended by their nodes, with grace where the VM is known. By what the
backup says their disks and addresses may be another VM's, so the controllers begin when they have ended.

It rests on: whoever declares knows the names of nodes that joined after the backup was made. One that is in neither
and cannot be reached is not waited for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from drover.api import names
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.kinds import vml as vmls
from drover.api.meta import name_of, uid_of, version_of, with_finalizer, without_finalizer
from drover.api.scheme import CONFIGMAP, LEASE, NODE, NODEROSTER, POD, VM, VML, key_of, split_key
from drover.api.status import AlreadyExists, ApiError, Conflict, NotFound, Unanswered
from drover.api.wire import Object
from drover.base.clock import Clock
from drover.base.log import Log
from drover.controllers.restoring.decide import LeaseView, Runner, settled
from drover.controllers.vm.lease import new_lease
from drover.runtime.client import Client

LOOK_S = 0.5
_TELL_S = 10.0
NOTE = "drover-restore"  # ConfigMap of drover-system
DONE, WAITS = "Done", "Waiting"


@dataclass(frozen=True)
class Restored:
    """The declaration. ``nodes``: all that there were at the restore; ``off``: of them those that are off for sure."""

    id: str
    nodes: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


@dataclass
class _Hearing:
    """How often each node has renewed since we listen, and how often it had when a VM's lease was seen as it is."""

    renewal: dict[str, str] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    since: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)

    def hear(self, lease: Object) -> None:
        name, renewal = name_of(lease), nodes.renewal(lease)
        if name in self.renewal and renewal != self.renewal[name]:
            looked = nodes.machines(lease) is not None  # else its agent does not know yet what runs
            self.count[name] = self.count.get(name, 0) + 1 if looked else 0
        self.renewal[name] = renewal

    def reported(self, vm: str, version: int, node: str) -> bool:
        if vm not in self.since or self.since[vm][0] != version:
            self.since[vm] = (version, dict(self.count))
        return self.count.get(node, 0) - self.since[vm][1].get(node, 0) >= nodes.RENEWALS_NEEDED


class Restorer:
    """``run`` returns when every lease is settled."""

    def __init__(self, client: Client, clock: Clock, log: Log, restored: Restored) -> None:
        self._client = client
        self._clock = clock
        self._log = log.bind(controller="restoring")
        self._restored = restored
        self._hearing = _Hearing()
        self._settled: dict[str, None] = {}
        self._told_s: float | None = None

    async def run(self) -> None:
        while not await self._tried():
            await self._clock.sleep(LOOK_S)

    async def _tried(self) -> bool:
        try:
            return await self._look()
        except (ApiError, Unanswered) as error:
            self._log.warn("the restored cluster cannot be settled yet", why=str(error))
            return False

    async def _look(self) -> bool:
        """One look at everything; True when all is done."""
        if await self._done():
            return True
        found = await self._client.list(LEASE, namespace=names.NODE_LEASE_NAMESPACE)
        leases = {name_of(one): one for one in found[0] if nodes.incarnation(one)}
        for lease in leases.values():
            self._hearing.hear(lease)
        needed = await self._needed(leases)
        vmls_, _ = await self._client.list(VML)
        vms, _ = await self._client.list(VM)
        present = {key_of(one): one for one in vmls_}
        owners = {key_of(vm): vm for vm in vms}
        # All nodes, also when the backup knows no VM: what is not heard cannot be fenced safely either.
        waits = dict.fromkeys(n for n in needed if not self._hearing.reported("", 0, n))
        known = {*present, *owners, *self._reported(leases)}
        for vm in sorted(known - self._settled.keys()):
            silent = self._silent(vm, present.get(vm), needed)
            if silent:
                waits.update(dict.fromkeys(silent))
            elif not await self._settle(vm, present.get(vm), owners.get(vm), leases):
                waits[f"whoever runs {vm}"] = None
        waits = waits or dict.fromkeys(await self._unknown(leases))
        if waits:
            await self._tell(WAITS, sorted(waits))
            return False
        await self._raise_rosters()
        await self._tell(DONE, [])
        self._log.mark("restore.done", id=self._restored.id, vms=len(self._settled))
        return True

    def _silent(self, vm: str, lease: Object | None, needed: list[str]) -> list[str]:
        """Who has not reported since this VM's lease was seen as it is."""
        version = version_of(lease) if lease is not None else 0
        return [node for node in needed if not self._hearing.reported(vm, version, node)]

    async def _needed(self, leases: dict[str, Object]) -> list[str]:
        """All that may run something: it was there, is there, joined once, or may vouch."""
        known, _ = await self._client.list(NODE)
        rosters, _ = await self._client.list(NODEROSTER)
        found = {name_of(node) for node in known if nodes.is_vm_node(node)}
        found |= {*self._restored.nodes, *leases}
        for roster in rosters:
            found |= {*nodefence.roster(roster).names}
        return sorted(name for name in found if not self._off(name, leases.get(name)))

    def _off(self, node: str, lease: Object | None) -> bool:
        if self._hearing.count.get(node, 0):
            return False  # it lives
        return node in self._restored.off or (lease is not None and nodes.confirmed_off(lease))

    def _heard(self, leases: dict[str, Object]) -> dict[str, Object]:
        return {n: one for n, one in leases.items() if self._hearing.count.get(n, 0)}

    def _reported(self, leases: dict[str, Object]) -> set[str]:
        heard = self._heard(leases).values()
        return {copy.vm for one in heard for copy in nodes.copies(one) or []}

    async def _unknown(self, leases: dict[str, Object]) -> list[str]:
        """The copies that nodes report and whose Pods are not there."""
        found, _ = await self._client.list(POD)
        known = {uid_of(pod) for pod in found}
        return [
            f"the end of {copy.vm} on {node}, whose Pod is not in the backup"
            for node, one in self._heard(leases).items()
            for copy in nodes.copies(one) or []
            if copy.pod not in known
        ]

    async def _settle(
        self, vm: str, lease: Object | None, owner: Object | None, leases: dict[str, Object]
    ) -> bool:
        """False: not yet, for it is not certain who runs the VM, or its lease has changed: listen anew."""
        heard = self._heard(leases)
        runners = tuple(
            Runner(node, nodes.incarnation(one), copy.pod, copy.epoch)
            for node, one in heard.items()
            for copy in nodes.copies(one) or []
            if copy.vm == vm
        )
        lives = frozenset((node, nodes.incarnation(one)) for node, one in heard.items())
        known = owner is not None or lease is not None
        spec = settled(LeaseView(lease, runners if known else (), lives))
        if spec is None:
            return False
        try:
            await self._write(vm, lease, owner, spec)
        except (Conflict, AlreadyExists):
            return False
        except NotFound:
            if lease is not None:
                return False  # it was removed meanwhile
        self._settled[vm] = None
        return True

    async def _write(
        self, vm: str, lease: Object | None, owner: Object | None, spec: dict[str, Any]
    ) -> None:
        namespace, name = split_key(vm)
        if lease is None and owner is not None:
            await self._client.create(VML, new_lease(owner, spec))
        elif lease is None:  # nobody's: what runs of it ends
            nobodys = {"name": name, "namespace": namespace}
            await self._client.create(VML, {"metadata": nobodys, "spec": spec})
        else:
            held = with_finalizer if spec["holder"] else without_finalizer
            meta = {**lease["metadata"], "finalizers": held(lease, names.HELD_FINALIZER)}
            await self._client.replace(VML, {**lease, "metadata": meta, "spec": spec})
        self._log.mark("restore.settled", vm=vm, holder=spec["holder"], on=spec["node"])

    async def _raise_rosters(self) -> None:
        """Above every generation that a node may have gone by before the restore: none is taken for another."""
        rosters, _ = await self._client.list(NODEROSTER)
        for roster in rosters:
            spec = roster["spec"]
            raised = {**spec, "generation": int(spec["generation"]) + vmls.RESTORE_LEAP}
            await self._client.replace(
                NODEROSTER, {**roster, "spec": {**raised, "previous": spec["members"]}}
            )

    # --- what is remembered ---

    async def _done(self) -> bool:
        try:
            note = await self._client.get(CONFIGMAP, NOTE, names.SYSTEM_NAMESPACE)
        except NotFound:
            return False
        said = note.get("data") or {}
        return (said.get("id"), said.get("state")) == (self._restored.id, DONE)

    async def _tell(self, state: str, waits: list[str]) -> None:
        now_s = self._clock.monotonic()
        if state == WAITS:
            if self._told_s is not None and now_s - self._told_s < _TELL_S:
                return
            self._log.warn("after a restore nothing is decided yet", waits=", ".join(waits))
        self._told_s = now_s
        data = {"id": self._restored.id, "state": state, "waits": ", ".join(waits)[:4000]}
        note = {
            "metadata": {"name": NOTE, "namespace": names.SYSTEM_NAMESPACE},
            "data": data,
        }
        try:
            await self._client.create(CONFIGMAP, note)
        except AlreadyExists:
            await self._client.patch(CONFIGMAP, NOTE, names.SYSTEM_NAMESPACE, {"data": data})

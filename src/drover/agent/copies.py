"""Which copies this node must care for: a keeper for each living QEMU, each VM Pod bound here, each lease naming us.

Leases are reconciled, not Pods (safety rule 14): a lease that names this node gets a keeper even when its Pod object
is gone, so that it is released or its process stopped. Keepers end by themselves when nothing is left of their copy.
"""

from __future__ import annotations

from drover.agent.context import AgentContext
from drover.agent.keeper import Keeper
from drover.agent.nodelease import Report
from drover.agent.ports import Machine
from drover.agent.publisher import Subject
from drover.api import scheme
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.wire import Object
from drover.base.tasks import TaskScope
from drover.runtime.informer import Informer

NODE_KEY = "node"  # the journal keeps facts of the node itself under this key


class Copies:
    """Starts keepers and wakes those whom a change concerns."""

    def __init__(self, context: AgentContext, leases: Informer, scope: TaskScope) -> None:
        self._context = context
        self._leases = leases
        self._scope = scope
        self._keepers: dict[str, Keeper] = {}
        self._ready = False
        self._subscribe()

    def get(self, copy: str) -> Keeper | None:
        return self._keepers.get(copy)

    def _subscribe(self) -> None:
        context = self._context
        context.pods.add_index("uid", lambda pod: [pods.uid(pod)])
        context.migrations.add_index("source", lambda vmm: [vmms.source_pod_uid(vmm)])
        context.migrations.add_index("target", lambda vmm: [vmms.target_pod_uid(vmm)])
        context.pods.add_handler(self._pod_handler)
        context.migrations.add_handler(self._migration_changed)
        self._leases.add_handler(self._lease_changed)

    async def start(self) -> None:
        """Adopt what lives, then look at everything once. Call when the informers are synced."""
        for machine in await self._context.hypervisor.adopt():
            self._keep(machine.copy, machine.spec.vm, machine)
        self._ready = True
        for pod in self._context.pods.all():
            self._pod_changed(pod)
        for lease in self._leases.all():
            self._lease_changed(None, lease)
        for copy in self._context.journal.copies():
            if copy != NODE_KEY:
                self._leftover(copy)

    def _leftover(self, copy: str) -> None:
        """A copy that the journal remembers and nobody else does."""
        if copy not in self._keepers and not self._context.pods.by_index("uid", copy):
            vm = self._context.journal.get(copy, "vm")
            self._keep(copy, vm or "/", None)

    def _keep(self, copy: str, vm: str, machine: Machine | None = None) -> None:
        if copy in self._keepers:
            self._keepers[copy].wake()
            return
        keeper = Keeper(self._context, copy, vm, machine)
        self._keepers[copy] = keeper
        self._scope.spawn(self._kept(keeper), f"copy-{copy[:8]}")

    async def _kept(self, keeper: Keeper) -> None:
        try:
            await keeper.run()
        finally:
            self._keepers.pop(keeper.copy, None)
            self._context.leases.epochs.forget(keeper.copy)
        self._again(keeper)

    def _again(self, keeper: Keeper) -> None:
        """A change between the last look and the end must not be lost."""
        self._pod_changed(keeper.pod)
        lease = self._context.leases.cached(keeper.vm)
        if lease is not None and lease["spec"].get("holder") == keeper.copy:
            self._lease_changed(None, lease)

    def _pod_handler(self, old: Object | None, new: Object | None) -> None:
        self._pod_changed(new or old)
        if (
            self._ready  # before that its QEMU may live and not be adopted yet; the journal remembers it
            and new is None
            and old is not None
            and pods.is_vm(old)
            and pods.uid(old) not in self._keepers
        ):
            copy = pods.uid(old)
            self._scope.spawn(self._context.hypervisor.forget(copy), f"forget-{copy[:8]}")

    def _pod_changed(self, pod: Object | None) -> None:
        if pod is None or not self._ready or not pods.is_vm(pod):
            return
        copy = pods.uid(pod)
        settled = pods.ended(pod) and not pods.deleting(pod)
        if copy in self._keepers or not settled:
            self._keep(copy, pods.vm_key(pod))

    def _migration_changed(self, old: Object | None, new: Object | None) -> None:
        vmm = new or old
        if vmm is None:
            return
        if new is None:
            meta = vmm["metadata"]
            for part in ("source", "target"):
                subject = Subject(scheme.VMM, meta["namespace"], meta["name"], part)
                self._context.publisher.forget(subject)
        for copy in (vmms.source_pod_uid(vmm), vmms.target_pod_uid(vmm)):
            if copy in self._keepers:
                self._keepers[copy].wake()

    def _lease_changed(self, old: Object | None, new: Object | None) -> None:
        lease = new or old
        if lease is None or not self._ready:
            return
        vm = scheme.key_of(lease)
        for keeper in list(self._keepers.values()):
            if keeper.vm == vm:
                keeper.wake()
        holder, node = lease["spec"].get("holder", ""), lease["spec"].get("node", "")
        if (
            new is not None
            and holder
            and node == self._context.node
            and holder not in self._keepers
            and not self._context.leases.epochs.stale(lease)
        ):
            self._keep(holder, vm)

    def machines(self) -> list[Report]:
        """The report for the node's Lease: what may run here. An incoming copy that was never let go on is no VM."""
        held = self._context.leases.epochs.held
        return [
            {"vm": k.vm, "pod": k.copy, "epoch": held(k.copy)}
            for k in self._keepers.values()
            if k.machine is not None and not k.incoming
        ]

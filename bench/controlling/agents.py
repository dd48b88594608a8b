"""All agents in one process: each node renews its Lease, keeps its Node's status, and takes its part in migrations.

They say what real agents say, by the same pure functions (``agent.report``) and as the same identities: an
administrator who impersonates the node, so that the policies are asked. What they do not have is a guest: a copy takes
``COPY_S``. Nor do they follow the API by watches of their own, five a node; all see through one.
"""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
import time
from collections.abc import Iterable

from bench.controlling.words import NodesTransport, SimulatedNode, counters, status
from drover.agent import report
from drover.agent.ports import Listener
from drover.api import names, scheme
from drover.api.kinds import pod as pods
from drover.api.kinds import vmm as vmms
from drover.api.names import VmmPhase
from drover.api.status import ApiError, Conflict, Unanswered
from drover.api.wire import Object
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.manager import Manager

COPY_S = 1.0
RENEW_S = 2.0  # as an agent's configuration has it
STATUS_S = 60.0


class Agents:
    """Of all nodes. ``late`` counts renewals that took longer than a period."""

    def __init__(
        self, manager: Manager, server: str, tls: ssl.SSLContext | None, renew_s: float
    ) -> None:
        self._server = server
        self._tls = tls
        self._renew_s = renew_s
        self._scope = TaskScope("agents")
        self.nodes: dict[str, SimulatedNode] = {}
        self.pods = manager.informer(scheme.POD, labels=names.VM_NAME_LABEL)
        self.moves = manager.informer(scheme.VMM)
        self.leases = manager.informer(scheme.VML)
        self.pods.add_index("node", lambda pod: [pods.node_name(pod)])
        self.pods.add_index("uid", lambda pod: [pods.uid(pod)])
        self.moves.add_handler(self._saw_move)
        self.leases.add_handler(self._saw_lease)
        self._begun: set[tuple[str, str]] = set()
        self.renewed = self.late = 0
        self.errors: dict[str, int] = {}

    def join(self, lives: Iterable[tuple[str, str]], spread: bool = True) -> None:
        """Nodes that are there already, or are to be registered."""
        made = [
            SimulatedNode(name, life, NodesTransport(self._server, self._tls, name))
            for name, life in lives
        ]
        for number, node in enumerate(made):
            self.nodes[node.name] = node
            after_s = number / len(made)
            self._scope.guard(self._renew(node, self._renew_s * after_s * spread), node.name)
            self._scope.guard(self._tell(node, STATUS_S * after_s * spread), node.name)

    async def aclose(self) -> None:
        await self._scope.aclose()
        for node in self.nodes.values():
            await node.transport.aclose()

    # --- the node ---

    async def register(self, name: str, life: str) -> None:
        node = SimulatedNode(name, life, NodesTransport(self._server, self._tls, name))
        labels = {
            names.HOSTNAME_LABEL: name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            names.SCHEDULABLE_LABEL: "true",
            names.NODE_GROUP_LABEL: "worker",
        }
        taints = [{"key": names.VM_NODE_TAINT, "effect": "NoSchedule"}]
        meta = {"name": name, "labels": labels}
        await node.client.create(
            scheme.NODE, {"metadata": meta, "spec": {"taints": taints}, "status": status(name)}
        )
        where = {"name": name, "namespace": names.NODE_LEASE_NAMESPACE}
        await node.client.create(scheme.LEASE, self._renewal(node, {"metadata": where}))
        await node.transport.aclose()

    async def _renew(self, node: SimulatedNode, after_s: float) -> None:
        await asyncio.sleep(after_s)
        lease: Object | None = None
        while True:
            began_s = time.monotonic()
            try:
                if lease is None:
                    lease = await node.client.get(
                        scheme.LEASE, node.name, names.NODE_LEASE_NAMESPACE
                    )
                lease = await node.client.replace(scheme.LEASE, self._renewal(node, lease))
                self.renewed += 1
            except (ApiError, Unanswered) as error:
                self._failed("renewal", error)
                lease = None
            took_s = time.monotonic() - began_s
            self.late += took_s > self._renew_s
            await asyncio.sleep(max(0.0, self._renew_s - took_s))

    def _renewal(self, node: SimulatedNode, lease: Object) -> Object:
        running = [
            {"vm": pods.vm_key(pod), "pod": pods.uid(pod), "epoch": 1}
            for pod in self.pods.by_index("node", node.name)
            if pods.phase(pod) is pods.PodPhase.RUNNING
        ]
        return node.renewal(lease, running)

    async def _tell(self, node: SimulatedNode, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            try:
                patch = {"status": status(node.name)}
                await node.client.patch(scheme.NODE, node.name, "", patch, subresource="status")
            except (ApiError, Unanswered) as error:
                self._failed("node status", error)
            await asyncio.sleep(STATUS_S)

    def _failed(self, what: str, error: Exception) -> None:
        key = f"{what}: {type(error).__name__}"
        self.errors[key] = self.errors.get(key, 0) + 1

    # --- its VMs ---

    def _once(self, uid: str, step: str) -> bool:
        """The first to ask."""
        new = (uid, step) not in self._begun
        self._begun.add((uid, step))
        return new

    def _saw_lease(self, _old: Object | None, lease: Object | None) -> None:
        """A guest starts when the lease names its Pod."""
        holder = lease["spec"].get("holder", "") if lease is not None else ""
        for pod in self.pods.by_index("uid", holder) if holder else []:
            new = pods.phase(pod) is pods.PodPhase.PENDING and not pods.migration_name(pod)
            if new and pods.node_name(pod) in self.nodes and self._once(holder, "start"):
                self._scope.spawn(self._safely(self._runs(pod)), "start")

    async def _runs(self, pod: Object) -> None:
        machine = json.loads(pods.machine_json(pod))
        told = report.pod_running(pod, str(machine["ip"]), time.time(), None, "7.2.22")
        await self._patch_pod(pods.node_name(pod), pod, told)

    async def _patch_pod(self, node: str, pod: Object, patch: Object) -> None:
        meta = pod["metadata"]
        await self.nodes[node].client.patch(
            scheme.POD, meta["name"], meta["namespace"], patch, subresource="status"
        )

    def _saw_move(self, _old: Object | None, vmm: Object | None) -> None:
        if vmm is None or vmms.source_node(vmm) not in self.nodes:
            return
        uid, phase = vmm["metadata"]["uid"], vmms.phase(vmm)
        if phase == VmmPhase.PREPARING and self._once(uid, "listen"):
            self._scope.spawn(self._safely(self._listen(vmm)), "listen")
        if phase == VmmPhase.COPYING and self._once(uid, "copy"):
            self._scope.spawn(self._safely(self._copy(vmm)), "copy")

    async def _safely(self, work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except (ApiError, Unanswered, KeyError) as error:
            self._failed("migration", error)

    async def _say(self, node: str, vmm: Object, part: str, said: Object) -> None:
        meta = vmm["metadata"]
        await self.nodes[node].client.patch(
            scheme.VMM,
            meta["name"],
            meta["namespace"],
            {"status": {part: said}},
            subresource="status",
        )

    async def _listen(self, vmm: Object) -> None:
        node = vmms.target_node(vmm)
        said = report.listening(Listener("10.67.200.1", 49152, ""), self.nodes[node].life)
        await self._say(node, vmm, "target", said)

    async def _copy(self, vmm: Object) -> None:
        """Counters, the copy, the hand-over, and the ends of both sides."""
        source, target = self.nodes[vmms.source_node(vmm)], self.nodes[vmms.target_node(vmm)]
        meta, pod_name = vmm["metadata"], vmms.target_pod_name(vmm)
        namespace, vm = meta["namespace"], vmms.vm_name(vmm)
        for share in (0.1, 0.9):
            await self._say(source.name, vmm, "source", counters(source, share))
            await asyncio.sleep(COPY_S / 2)
        client = source.client
        await client.get(scheme.VMM, meta["name"], namespace)
        pod = await client.get(scheme.POD, pod_name, namespace)
        await client.get(scheme.LEASE, target.name, names.NODE_LEASE_NAMESPACE)
        epoch = await self._hand_over(client, vm, namespace, pod, target)
        await self._runs(pod)
        await self._say(
            target.name, vmm, "target", {"phase": "Running", "incarnation": target.life}
        )
        for phase in ("HandedOver", "Done"):
            done = {**counters(source, 1.0), "phase": phase, "handOverEpoch": epoch}
            await self._say(source.name, vmm, "source", done)
        name = vmm["spec"]["sourcePod"]["name"]
        old = self.pods.get(f"{namespace}/{name}")
        if old is not None:
            ended = report.pod_ended(old, "Migrated", f"it runs on {target.name}", time.time())
            await self._patch_pod(source.name, old, ended)

    async def _hand_over(
        self, client: Client, vm: str, namespace: str, pod: Object, target: SimulatedNode
    ) -> int:
        """The new epoch. One conflict is read anew: the controllers may have written metadata."""
        for last in (False, True):
            lease = copy.deepcopy(await client.get(scheme.VML, vm, namespace))
            spec = lease["spec"]
            spec |= {
                "holder": pods.uid(pod),
                "node": target.name,
                "nodeIncarnation": target.life,
                "epoch": spec["epoch"] + 1,
            }
            try:
                await client.replace(scheme.VML, lease)
            except Conflict:
                if last:
                    raise
                continue
            return int(spec["epoch"])
        raise AssertionError("unreachable")

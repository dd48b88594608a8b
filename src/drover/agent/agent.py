"""One agent, assembled from its ports: the same in the lab, on a host and in the simulation.

Order of start: the node's Lease is renewed first (evidence of life, and this incarnation's commitment), informers fill
their caches, living QEMU processes are adopted, leases of former incarnations are released, then Pods are served.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from drover.agent.context import AgentContext, Limits
from drover.agent.copies import NODE_KEY, Copies
from drover.agent.epochs import Epochs
from drover.agent.life import LifeEnded
from drover.agent.node import NodeFacts, NodeKeeper
from drover.agent.nodelease import Identity, NodeLease
from drover.agent.peers import NoPeers
from drover.agent.ports import Hypervisor, Journal, Network, Seeds
from drover.agent.publisher import Publisher
from drover.agent.rounds import Peers
from drover.agent.sight import Sight
from drover.agent.strangers import Strangers
from drover.agent.survival import Survival
from drover.agent.vmlease import VmLeases
from drover.agent.watchdog import NoWatchdog, Watchdog
from drover.api import names, scheme
from drover.base.clock import Clock
from drover.base.ids import Ids
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.informer import Informer
from drover.runtime.manager import Manager


@dataclass(frozen=True)
class Ports:
    """Everything an agent touches."""

    client: Client
    swift: Client
    hypervisor: Hypervisor
    network: Network
    seeds: Seeds
    journal: Journal
    clock: Clock
    ids: Ids
    log: Log
    watchdog: Watchdog | None = None  # None: a node that is never fenced
    peers: Peers = field(default_factory=NoPeers)


def incarnation_of(journal: Journal, ids: Ids, boot_id: str) -> str:
    """This node's incarnation: kept while the node stays booted, so that an agent's restart changes nothing; a new one
    when the former is over."""
    present = journal.get(NODE_KEY, "incarnation") or ""
    if journal.get(NODE_KEY, "boot") != boot_id or journal.get(NODE_KEY, "ended") == present:
        same_boot = journal.get(NODE_KEY, "boot") == boot_id
        journal.put(NODE_KEY, "former", present if same_boot else "")
        journal.put(NODE_KEY, "incarnation", ids.uid())
        journal.put(NODE_KEY, "boot", boot_id)
    return journal.get(NODE_KEY, "incarnation") or ""


class Agent:
    """The agent of one node incarnation."""

    def __init__(
        self,
        ports: Ports,
        facts: NodeFacts,
        boot_id: str,
        heartbeat_s: float,
        lease_duration_s: int,
        limits: Limits,
    ) -> None:
        incarnation = incarnation_of(ports.journal, ports.ids, boot_id)
        self.log = ports.log.bind(node=facts.name)
        self.clock = ports.clock
        manager = Manager(
            ports.client, ports.clock, ports.ids, self.log, f"drover-agent/{facts.name}"
        )
        mine = f"spec.nodeName={facts.name}"
        leases = manager.informer(scheme.VML)
        self.manager = manager
        self.node_lease = NodeLease(
            ports.client,
            ports.clock,
            ports.ids,
            self.log,
            Identity(facts.name, incarnation, boot_id, facts.info.get("machine", facts.name)),
            heartbeat_s,
            lease_duration_s,
        )
        epochs, publisher = self._memory(ports)
        self.context = AgentContext(
            node=facts.name,
            client=ports.client,
            swift=ports.swift,
            pods=manager.informer(scheme.POD, fields=mine),
            migrations=manager.informer(scheme.VMM),
            leases=VmLeases(ports.swift, leases, facts.name, incarnation, epochs),
            node_lease=self.node_lease,
            hypervisor=ports.hypervisor,
            network=ports.network,
            seeds=ports.seeds,
            journal=ports.journal,
            publisher=publisher,
            recorder=manager.recorder,
            clock=ports.clock,
            ids=ports.ids,
            log=self.log,
            limits=limits,
            may_launch=lambda: self.survival is None or self.survival.may_launch,
        )
        manager.add(Strangers(ports.client, self.context.pods).controller())
        node_informer = manager.informer(scheme.NODE, fields=f"metadata.name={facts.name}")
        self.node_keeper = NodeKeeper(
            ports.client, node_informer, self.node_lease, facts, ports.clock, self.log
        )
        self.survival = self._survival(ports, manager, facts, node_informer)
        self._watchdog = ports.watchdog or NoWatchdog(ports.hypervisor, ports.clock)
        self._journal = ports.journal
        self._scope = TaskScope(f"agent-{facts.name}")
        self.copies = Copies(self.context, leases, self._scope)
        self._informers = [self.context.pods, self.context.migrations, leases, node_informer]

    def _memory(self, ports: Ports) -> tuple[Epochs, Publisher]:
        """What must not outlast a restore of etcd as if nothing had been."""
        epochs, publisher = Epochs(ports.journal), Publisher(ports.client, ports.clock, self.log)
        self.node_lease.on_rewound += [epochs.rewound, publisher.rewound]
        epochs.on_leap.append(publisher.rewound)
        return epochs, publisher

    def _survival(
        self, ports: Ports, manager: Manager, facts: NodeFacts, node_informer: Informer
    ) -> Survival | None:
        group = facts.labels.get(names.NODE_GROUP_LABEL, "")
        if ports.watchdog is None or not group:
            return None
        sight = Sight(
            group,
            facts.name,
            manager.informer(scheme.NODEGROUP),
            node_informer,
            manager.informer(scheme.NODEFENCE),
            manager.informer(scheme.NODEROSTER),
            manager.informer(scheme.MODULECONFIG),
            ports.swift,
        )
        lease = self.node_lease
        survival = Survival(
            sight, lease, ports.watchdog, ports.peers, ports.journal, ports.clock, self.log
        )
        self.node_keeper.armed = lambda: survival.armed
        self.node_keeper.trouble = lambda: survival.trouble
        lease.on_acked.append(lambda _sent_s, _said: self.node_keeper.look())
        return survival

    async def run(self) -> None:
        """Until cancelled, or until a part that must not end has ended (raises what broke it). ``LifeEnded`` when this
        life of the node is over: its QEMUs are gone then, and the next agent begins a new one."""
        life = self.node_lease.incarnation
        try:
            former = self._journal.get(NODE_KEY, "former")
            if former:
                await self._watchdog.bury(former)
                self._journal.drop(
                    NODE_KEY, "former"
                )  # or each restart of ours would bury it again
            if life in await self._watchdog.ended():
                raise LifeEnded("it was ended while no agent looked")
            await self._live()
        except LifeEnded as over:
            self.log.mark("life.ended", incarnation=life, why=str(over))
            self._journal.put(NODE_KEY, "ended", life)
            await self._watchdog.bury(life)
            raise

    async def _live(self) -> None:
        scope = self._scope
        async with scope:
            scope.guard(self.node_lease.run(), "node-lease")
            scope.guard(self.manager.run(), "manager")
            scope.guard(self.context.publisher.run(), "publisher")
            if self.survival is not None:
                scope.guard(self.survival.run(), "survival")
            work = scope.spawn(self._serve(scope), "serve")
            error = await scope.wait_broken()
            work.cancel()
            raise error

    async def _serve(self, scope: TaskScope) -> None:
        for informer in self._informers:
            await informer.wait_synced()
        scope.guard(self.node_keeper.run(), "node")
        await self.copies.start()
        self.node_lease.machines = self.copies.machines
        self.log.mark("agent.serving", incarnation=self.node_lease.incarnation)

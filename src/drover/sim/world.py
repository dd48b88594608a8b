"""A datacentre in one process: API model, scheduler, controllers and agents on virtual time.

``World`` assembles the same controllers and agents that the lab runs, each in a simulated process of
its own that can be frozen, killed and started anew. What the hardware does (QEMUs, links, disks) is
``sim.hypervisor``'s ``Site``: it outlives agents. Everything that differs between two runs comes
from the seed. The trace is the log, one line an entry, in virtual time; it is what two processes
with the same seed must agree on.

It does not promise the timing of the real thing, only its orders of events.
"""

# Long module: everything of a world is put together here.

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from drover.agent.agent import Agent, Ports
from drover.agent.context import Limits
from drover.agent.life import LifeEnded
from drover.agent.node import NodeFacts
from drover.api import firmware, manifest_files, names, scheme
from drover.api.machine import MACHINE_TYPE, GuestNetwork
from drover.base.ids import SeededIds
from drover.base.log import BUG, Log
from drover.base.tasks import TaskScope
from drover.controllers.addresses.controller import wire as wire_addresses
from drover.controllers.addresses.decide import Range
from drover.controllers.classes.controller import wire as wire_classes
from drover.controllers.disks.controller import wire as wire_disks
from drover.controllers.fencing.controller import wire as wire_fencing
from drover.controllers.firmware.controller import wire as wire_firmware
from drover.controllers.gc.controller import wire as wire_gc
from drover.controllers.migration.controller import wire as wire_migration
from drover.controllers.moduleconfig.controller import wire as wire_moduleconfig
from drover.controllers.pictures import ClusterPicture
from drover.controllers.placement.controller import wire as wire_placement
from drover.controllers.rebalance.controller import AtOnce
from drover.controllers.rebalance.controller import wire as wire_rebalance
from drover.controllers.restoring.restorer import Restored, Restorer
from drover.controllers.vm.act import Settings
from drover.controllers.vm.controller import wire as wire_vm
from drover.controllers.vmop.controller import wire as wire_vmop
from drover.runtime.client import Client
from drover.runtime.manager import Manager
from drover.sim.api import ApiModel
from drover.sim.clock import NodeClock, SimClock
from drover.sim.evictions import EvictionDoor
from drover.sim.hypervisor import ModelHypervisor, Site
from drover.sim.lifecycle import Lifecycle
from drover.sim.loop import VirtualLoop
from drover.sim.net import SimNet
from drover.sim.parts import Dice, MemoryJournal, SimNetwork, SimSeeds, WatchedLocks
from drover.sim.scheduler import USER as SCHEDULER
from drover.sim.scheduler import Scheduler
from drover.sim.storage import MemoryStorage
from drover.sim.times import fencing_by
from drover.sim.watchdog import Answer, Guard, SimPeers, SimWatchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from drover.api.wire import Object

CONTROLLERS = "controllers"  # the link of the controllers' process; nodes' links have their names
HEARTBEAT_S = 2.0
LEASE_DURATION_S = 6
SWIFT_S = 3.0
READY_LIMIT_S = 60.0
POLL_S = 0.05
REBORN_S = 0.2
OFF = "off"
GROUP = "worker"  # the NodeGroup of all nodes, where it is fenced
MOST_TRACE = 200_000  # lines kept


@dataclass
class SimNode:
    """One host: what lasts (journal, network) and the present life of its agent."""

    name: str
    address: str
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    network: SimNetwork = field(default_factory=SimNetwork)
    boots: int = 0
    lives: int = 0
    process: str = ""  # of the living agent; empty: none
    agent: Agent | None = None
    guard: Guard | None = None  # its first process, while it is on
    clock: NodeClock = field(default_factory=lambda: NodeClock(SimClock()))

    def asked(self) -> tuple[str, Answer] | None:
        """Who answers its peers."""
        survival = self.agent.survival if self.agent is not None else None
        return (self.process, survival.asked) if survival is not None else None


@dataclass(frozen=True)
class Shape:
    """How large a world is, and its agents' time limits."""

    nodes: int = 3
    cpu: str = "8"
    memory: str = "16Gi"
    limits: Limits = field(default_factory=Limits)
    drains: bool = False  # evictions are reviewed, and evacuations made of them
    fenced: str = ""  # by which times, see ``times``, or OFF to begin with; empty: no NodeGroup
    firmware: tuple[str, ...] = ()  # versions that every node offers; empty: it does not tell
    addresses: tuple[str, str] = ("10.66.10.10", "10.66.10.250")  # first and last of the VMs
    rate_error: float = 0.0  # each clock runs at a rate of its own, within this of true time
    rebalances: bool = False  # the rebalancer is there; a ModuleConfig switches it on


class World:
    """Use inside ``sim.loop.run``; ``async with`` starts and ends it."""

    def __init__(self, seed: int | str, shape: Shape | None = None) -> None:
        self.seed = seed
        self.shape = shape or Shape()
        self.loop = _virtual_loop()
        self.clock = SimClock()
        self.trace: deque[str] = deque(maxlen=MOST_TRACE)
        self.marks: dict[str, int] = {}
        self.on_mark: list[Callable[[str, dict[str, Any]], None]] = []
        self.log = Log(self.clock, self._took)
        self.api = ApiModel(self.clock, SeededIds(f"api-{seed}"))
        self.net = SimNet(self.clock, SeededIds(f"net-{seed}"))
        self.scope = TaskScope("world")
        self.locks = WatchedLocks()
        self.site = Site(self.clock, self.scope, self.loop.process, locks=self.locks)
        self.site.firmware = self.shape.firmware or self.site.firmware
        self.storage = MemoryStorage(self.clock)
        self.nodes = {
            f"n{number}": SimNode(f"n{number}", f"10.67.10.{10 + number}")
            for number in range(1, self.shape.nodes + 1)
        }
        self.controllers_clock = NodeClock(self.clock)
        if self.shape.rate_error:
            self._set_clocks(Dice(f"clocks-{seed}"))
        self.user = Client(self.api.transport())
        self.evictions = EvictionDoor(self.loop)
        if self.shape.drains:
            self.api.eviction_review = self.evictions.review
        self.controllers = ""  # the living process; empty: none
        self.manager: Manager | None = None  # of the controllers' last life
        self.struck_s = 0.0  # when something broke last
        self.restored: Restored | None = None  # the last declaration
        self.settling = False  # after a restore, until every lease is settled
        self.broken: list[str] = []  # processes that ended by an error of ours
        self._controller_lives = 0
        self._processes = TaskScope("processes")  # never closed: killed tasks never end

    def _set_clocks(self, dice: Dice) -> None:
        """The extremes are where a sum that is too short shows."""
        for clock in (self.controllers_clock, *(node.clock for node in self.nodes.values())):
            error = dice.pick((-1.0, 0.0, 1.0)) * self.shape.rate_error
            clock.run_at(1.0 + error, dice.between(0.0, 1e6))

    def _took(self, entry: dict[str, Any]) -> None:
        fields = {k: v for k, v in entry.items() if k not in ("t", "level", "msg")}
        where = str(fields.pop("node", "-"))
        words = " ".join(f"{k}={v}" for k, v in sorted(fields.items()))
        level, message = entry["level"], entry["msg"]
        if message == BUG:  # the process lives on, and the bug is one all the same
            self.broken.append(f"{fields.get('key') or fields.get('copy')}: {fields['error']}")
        self.trace.append(
            f"{self.loop.time():11.4f} {where:4} {level:5} {message} {words}".rstrip()
        )
        if level == "mark":
            self.marks[message] = self.marks.get(message, 0) + 1
            for tell in list(self.on_mark):
                tell(message, entry)

    def note(self, what: str) -> None:
        """A line of the story itself: what users do, what breaks."""
        self.trace.append(f"{self.loop.time():11.4f} ==== {what}")

    def fault(self, what: str) -> None:
        """Something breaks now."""
        self.struck_s = self.loop.time()
        self.note(f"fault: {what}")

    async def __aenter__(self) -> World:
        await self._furnish()
        with self.loop.process("kubernetes"):
            client = Client(self.api.transport(SCHEDULER, ()))
            scheduler = Scheduler(client, self.clock, SeededIds(f"scheduler-{self.seed}"), self.log)
            lifecycle = Lifecycle(self.api, self.clock, self.log)
            self.scope.guard(scheduler.run(), "scheduler")
            self.scope.guard(lifecycle.run(), "lifecycle")
        self.start_controllers()
        for name in self.nodes:
            self.power_on(name)
        await self.until(self.all_ready, "all nodes are Ready", READY_LIMIT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill_controllers()
        for name in self.nodes:
            self.kill_agent(name)
        await self.scope.aclose()
        await self.net.aclose()

    async def _furnish(self) -> None:
        """What an installation brings along, as far as the model knows its kinds."""
        for kind, manifest in _furniture():
            if self.find(kind, manifest["metadata"]["name"], "") is None:
                await self.user.create(kind, manifest)
        if self.shape.fenced and self.find(scheme.NODEGROUP, GROUP) is None:
            spec = {} if self.shape.fenced == OFF else {"fencing": fencing_by(self.shape.fenced)}
            group = {"metadata": {"name": GROUP}, "spec": spec}
            await self.user.create(scheme.NODEGROUP, group)

    # --- processes ---

    def start_controllers(self) -> None:
        """A new life of the controllers' process."""
        self._controller_lives += 1
        self.controllers = f"{CONTROLLERS}-{self._controller_lives}"
        user = names.CONTROLLERS_USER
        door = self.net.transport(CONTROLLERS, self.api.transport(user, (user,)))
        ids = SeededIds(f"{self.controllers}-{self.seed}")
        with self.loop.process(self.controllers):
            self.manager = manager = Manager(
                Client(door), self.controllers_clock, ids, self.log, "drover-controllers"
            )
            wire_classes(manager)
            wire_disks(manager, self.storage)
            wire_addresses(manager, Range(*self.shape.addresses))
            wire_vm(manager, Settings(GuestNetwork("10.66.10.254", 24), "/disks", "/images"))
            wire_vmop(manager)
            wire_migration(manager)
            wire_gc(manager)
            wire_fencing(manager)
            wire_moduleconfig(manager)
            if self.shape.drains:
                self.evictions.wire(manager, self.controllers)
            if self.shape.firmware:
                picture = ClusterPicture(manager)
                wire_firmware(manager, picture)
                wire_placement(manager, picture)
            if self.shape.rebalances:
                wire_rebalance(manager, AtOnce())
        self._run_process(self.controllers, self._controllers(manager))

    async def _controllers(self, manager: Manager) -> None:
        """As ``controllers.main``: after a restore nothing is decided before it is settled."""
        if self.restored is not None:
            await Restorer(manager.client, self.controllers_clock, self.log, self.restored).run()
            self.settling = False
        await manager.run()

    def kill_controllers(self) -> None:
        if self.controllers:
            self.loop.kill(self.controllers)
            self.net.reset(CONTROLLERS)
            self.evictions.close()
            self.controllers = ""

    def power_on(self, name: str) -> None:
        """Boot a node: a new life of everything on it."""
        node = self.nodes[name]
        node.boots += 1
        node.guard = Guard(name, self.site, node.clock)
        self.site.gates[name] = node.guard.refusal
        self.start_agent(name)

    def power_off(self, name: str) -> None:
        """The node's agent and QEMUs are gone; its disk stays."""
        self.kill_agent(name)
        guard = self.nodes[name].guard
        if guard is not None:
            guard.off = True
        self.site.power_off(name)

    def start_agent(self, name: str) -> None:
        """A new life of the agent's process on a booted node."""
        node = self.nodes[name]
        node.lives += 1
        node.process = f"agent-{name}-{node.lives}"
        user = names.NODE_USER_PREFIX + name
        door = self.net.transport(name, self.api.transport(user, (names.NODES_GROUP,)))
        assert node.guard is not None
        hypervisor = ModelHypervisor(self.site, name, node.address)
        with self.loop.process(node.process):
            ports = Ports(
                client=Client(door),
                swift=Client(door, SWIFT_S),
                hypervisor=hypervisor,
                network=node.network,
                seeds=SimSeeds(),
                journal=node.journal,
                clock=node.clock,
                ids=SeededIds(f"{node.process}-{self.seed}"),
                log=self.log,
                watchdog=SimWatchdog(node.guard),
                peers=SimPeers(name, self.site, self._asked, self._processes),
            )
            shape = self.shape
            labels = {names.NODE_GROUP_LABEL: GROUP} if shape.fenced else {}
            offers = [firmware.Offer(version, (MACHINE_TYPE,)) for version in shape.firmware]
            notes = {names.FIRMWARE_ANNOTATION: firmware.encode(offers)} if offers else {}
            room = (shape.cpu, shape.memory, 110)
            facts = NodeFacts(name, node.address, 10250, *room, "v1.36.3", labels, notes)
            boot = f"boot-{node.boots}"
            node.agent = Agent(ports, facts, boot, HEARTBEAT_S, LEASE_DURATION_S, shape.limits)
        hypervisor.life = node.agent.node_lease.incarnation
        self._run_process(node.process, node.agent.run())

    def _asked(self, name: str) -> tuple[str, Answer] | None:
        return self.nodes[name].asked()

    def kill_agent(self, name: str) -> None:
        """SIGKILL; its QEMUs live on."""
        node = self.nodes[name]
        if node.process:
            self.loop.kill(node.process)
            self.net.reset(name)
            self.site.agent_ended(name)
            node.process, node.agent = "", None

    def _run_process(self, process: str, work: Coroutine[Any, Any, None]) -> None:
        with self.loop.process(process):
            self._processes.spawn(self._watched(process, work), process)

    async def _watched(self, process: str, work: Coroutine[Any, Any, None]) -> None:
        """A process that ends by itself is a bug of ours, whatever it raised."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except LifeEnded:
            with self.loop.process("nodeinit"):
                self.scope.spawn(self._reborn(process), "reborn")
        except BaseException as error:
            self.broken.append(f"{process}: {error!r} {' '.join(getattr(error, '__notes__', ()))}")
            self.note(f"BROKEN {self.broken[-1]}")

    async def _reborn(self, process: str) -> None:
        """An agent whose node's life is over ends; the node's first process starts the next."""
        await asyncio.sleep(REBORN_S)
        for name, node in self.nodes.items():
            if node.process == process:
                self.kill_agent(name)
                self.start_agent(name)

    # --- what can be seen and waited for ---

    def find(self, kind: scheme.Kind, name: str, namespace: str = "default") -> Object | None:
        """The object as it is in the store now; read-only."""
        return self.api.store.get(kind, namespace if kind.namespaced else "", name)

    def all_ready(self) -> bool:
        return all(self.node_ready(name) for name in self.nodes)

    def node_ready(self, name: str) -> bool:
        node = self.find(scheme.NODE, name) or {}
        conditions = (node.get("status") or {}).get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    async def until(
        self, condition: Callable[[], bool], what: str, limit_s: float, poll_s: float = POLL_S
    ) -> None:
        """Wait in virtual time; raises TimeoutError naming ``what``."""
        end_s = self.loop.time() + limit_s
        while not condition():
            if self.loop.time() >= end_s:
                raise TimeoutError(f"not within {limit_s:g} s: {what}")
            await asyncio.sleep(poll_s)


_FURNITURE = {
    "PriorityClass": scheme.PRIORITYCLASS,
    "VirtualMachineClass": scheme.VMCLASS,
}


@cache
def _furniture() -> list[tuple[scheme.Kind, Object]]:
    """Read once: hundreds of worlds live in one process."""
    found = manifest_files.load()
    return [(_FURNITURE[doc["kind"]], doc) for doc in found if doc["kind"] in _FURNITURE]


def _virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise TypeError("a World lives in sim.loop.run")
    return loop

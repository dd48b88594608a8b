"""What every part of one agent shares: its ports, its view of the API, its identity. Assembled by ``agent.main``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drover.agent.nodelease import NodeLease
from drover.agent.ports import Hypervisor, Journal, Network, Seeds
from drover.agent.publisher import Publisher
from drover.agent.vmlease import VmLeases
from drover.base.clock import Clock
from drover.base.ids import Ids
from drover.base.log import Log
from drover.runtime.client import Client
from drover.runtime.events import Recorder
from drover.runtime.informer import Informer


@dataclass(frozen=True)
class Limits:
    """Time limits of a copy, in seconds (docs/timing.md)."""

    progress_s: float = 150.0  # no progress for so long: give up
    completion_s_per_gib: float = 800.0
    # A monitor that says nothing for so long while copying is rescued: with a guest that stands still, or may; and with
    # one that runs, where a busy host is the likely reason and nobody suffers but the copy.
    silence_s: float = 3.0
    silence_running_s: float = 30.0
    switchover_s: float = (
        5.0  # the guest has stood still for so long and all is not copied: it goes on here
    )
    downtime_limit_ms: int = 10
    # How long the passes over written memory may last before the pause may be longer (seconds, milliseconds).
    downtime_steps: tuple[tuple[float, int], ...] = ((2.0, 30), (4.0, 100), (8.0, 300))
    # Of a guest that is slowed down as far as can be, since it is: it hardly runs, so a pause costs it less than more
    # of that. One long limit is not enough. QEMU looks for what was written anew as soon as the rest falls below the
    # limit, which waits for the sleeping processor, which then writes: the rest comes to stand just above *any* limit,
    # and only one that was raised since lets the copy end.
    slowed_downtime_steps: tuple[tuple[float, int], ...] = ((0.0, 500), (3.0, 1000), (6.0, 2000))
    bandwidth_bytes_per_second: int = 640 * 2**20

    def told(self, said: Mapping[str, Any]) -> Limits:
        """With those of a migration (``vmm.status.limits``), which come from the cluster's settings."""
        if not said:
            return self
        return replace(
            self,
            progress_s=float(said["progressSeconds"]),
            completion_s_per_gib=float(said["completionSecondsPerGiB"]),
            bandwidth_bytes_per_second=int(said["bandwidthBytesPerSecond"]),
        )


@dataclass(frozen=True)
class AgentContext:
    """``client`` is for ordinary calls, ``swift`` for those inside a guest's pause: its calls end soon."""

    node: str
    client: Client
    swift: Client
    pods: Informer
    migrations: Informer
    leases: VmLeases
    node_lease: NodeLease
    hypervisor: Hypervisor
    network: Network
    seeds: Seeds
    journal: Journal
    publisher: Publisher
    recorder: Recorder
    clock: Clock
    ids: Ids
    log: Log
    limits: Limits
    # Where the node's group is fenced a QEMU is started only under the watchdog's deadline.
    may_launch: Callable[[], bool] = lambda: True

"""Migrations at a given rate, and how long each took to have a target Pod, and to be Completed.

Operations are made at their times, whether earlier ones have ended or not, each of a VM on another node: the limit of
one move away from a node must not be what is measured. Times are taken by the same process that makes the operations:
from before its request to the event of its watch.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from bench.controlling.seeding import NAMESPACE, vm_name
from drover.api import scheme
from drover.api.kinds import pod as pods
from drover.api.kinds import vmop as vmops
from drover.api.kinds.vmop import VmopPhase
from drover.api.status import ApiError, Unanswered
from drover.api.wire import Object
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.manager import Manager

END_LIMIT_S = 60.0
_VMOP_NAME = "vmop-"  # a vmm is called after its operation


@dataclass
class Outcome:
    """Of one rate. Latencies in milliseconds."""

    asked_per_s: float
    began_s: float = field(default_factory=time.monotonic)
    made: int = 0
    to_pod_ms: list[float] = field(default_factory=list)
    to_end_ms: list[float] = field(default_factory=list)
    failed: int = 0
    refused: int = 0
    took_s: float = 0.0

    @property
    def done_per_s(self) -> float:
        return len(self.to_end_ms) / self.took_s if self.took_s else 0.0


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Load:
    """One per process."""

    def __init__(self, client: Client, manager: Manager, vms: int) -> None:
        self._client = client
        self._vms = vms
        self._next = 0
        self._began: dict[str, float] = {}  # operation -> when it was asked for
        self._outcome = Outcome(0.0)
        self._run = 0
        manager.informer(scheme.VMOP).add_handler(self._saw_operation)
        manager.informer(scheme.POD, labels="vm.kubevirt.internal.virtualization.deckhouse.io/name"
                         ).add_handler(self._saw_pod)  # fmt: skip

    async def play(self, per_s: float, seconds: float) -> Outcome:
        self._run += 1
        self._outcome = outcome = Outcome(per_s)
        async with TaskScope("load") as scope:
            for number in range(int(per_s * seconds)):
                await asyncio.sleep(max(0.0, outcome.began_s + number / per_s - time.monotonic()))
                scope.spawn(self._operate(f"b{self._run}-{number}"), "operation")
            limit_s = time.monotonic() + END_LIMIT_S
            while self._open(outcome):
                if time.monotonic() > limit_s:
                    break
                await asyncio.sleep(0.1)
        outcome.took_s = time.monotonic() - outcome.began_s
        return outcome

    def _open(self, outcome: Outcome) -> bool:
        ended = len(outcome.to_end_ms) + outcome.failed + outcome.refused
        return ended < outcome.made

    async def _operate(self, name: str) -> None:
        vm, self._next = vm_name(self._next % self._vms), self._next + 1
        outcome = self._outcome
        outcome.made += 1
        self._began[name] = time.monotonic()
        wish: Object = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"type": "Evict", "virtualMachineName": vm},
        }
        try:
            await self._client.create(scheme.VMOP, wish)
        except (ApiError, Unanswered):
            outcome.refused += 1

    def _since_ms(self, name: str) -> float | None:
        began_s = self._began.get(name)
        return None if began_s is None else 1000 * (time.monotonic() - began_s)

    def _saw_pod(self, old: Object | None, new: Object | None) -> None:
        if old is not None or new is None or not pods.migration_name(new):
            return
        took_ms = self._since_ms(pods.migration_name(new).removeprefix(_VMOP_NAME))
        if took_ms is not None:
            self._outcome.to_pod_ms.append(took_ms)

    def _saw_operation(self, _: Object | None, new: Object | None) -> None:
        if new is None or not vmops.finished(new):
            return
        name = new["metadata"]["name"]
        took_ms = self._since_ms(name)
        if took_ms is None:
            return
        del self._began[name]
        if vmops.phase(new) is VmopPhase.COMPLETED:
            self._outcome.to_end_ms.append(took_ms)
        else:
            self._outcome.failed += 1

"""bench/control: what our controllers cost, and how soon they act, on a cluster of many nodes and VMs.

Real etcd, API server, scheduler, controller manager and controllers; agents are simulated by one process, which says
what agents say (bench/controlling/agents.py). VMs are clones of a real one (seeding.py). Measured are

    idle        CPU time and memory of every process while nothing happens but heartbeats
    rates       migrations a second: from the operation to its target Pod, and to Completed
    controllers how long keys wait and are worked on, 99 of 100

The yardsticks are the goals. The machine is shared with the API server and the simulated agents, so the highest rate
says more of them than of the controllers: read it beside the CPU time that each took.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import ssl
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.engine import ADMIN

from bench import common
from bench.controlling import caches, counts, seeding
from bench.controlling.agents import RENEW_S, Agents
from bench.controlling.load import Load, Outcome, percentile
from bench.controlling.plane import Cost, Plane
from drover.api import scheme
from drover.api.kinds import vm as vms
from drover.base.clock import RealClock
from drover.base.ids import RealIds
from drover.base.log import Log
from drover.base.tasks import TaskScope
from drover.runtime.client import Client
from drover.runtime.manager import Manager
from drover.server.bootstrap import NODE_GROUP

LIFE = "template-life"
START_LIMIT_S = 60.0
METRICS_S = 15.0  # the page takes some seconds of CPU of ten thousand VMs
SYNC_LIMIT_S = 900.0  # of 10,000 VMs and fewer
Costs = dict[str, Cost]


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    nodes: int
    vms: int
    idle_s: float
    rates: tuple[float, ...]
    rate_s: float
    renew_s: float
    profile: str = ""
    fenced: bool = False


class Run:
    """One cluster from its start to its end."""

    def __init__(
        self, plan: Plan, plane: Plane, client: Client, tls: ssl.SSLContext | None
    ) -> None:
        self._plan = plan
        self._plane = plane
        self._client = client
        self._tls = tls
        self._manager = self._new_manager()
        self._agents = Agents(self._manager, plane.engine.server, tls, plan.renew_s)
        self._load = Load(client, self._manager, plan.vms)
        self._sync_limit_s = SYNC_LIMIT_S * max(1.0, plan.vms / 10_000)

    def _new_manager(self) -> Manager:
        clock = RealClock()
        return Manager(self._client, clock, RealIds(), Log(clock, lambda _: None), "drover-bench")

    async def play(self) -> None:
        plan, plane = self._plan, self._plane
        await self._seed()
        async with TaskScope("bench") as scope:
            scope.guard(self._manager.run(), "informers")
            try:
                await self._until_cloned()
                lives = [(seeding.node_name(n), seeding.life_of(n)) for n in range(plan.nodes)]
                self._agents.join([(seeding.NODE, LIFE), *lives])
                self._say(f"{plan.nodes} nodes and {plan.vms} VMs are there")
                plane.start_controllers(plan.profile)
                waited_s = await self._synced()
                used_s = plane.costs()["controllers"].cpu_s
                self._say(f"controllers at rest after {waited_s:.0f} s, {used_s:.1f} s of CPU")
                await self._idle()
                for rate in plan.rates:
                    await self._rate(rate)
                    await plane.quiet(60)
                file_mib, used_mib = await plane.etcd_mib()
                print(f"etcd: {used_mib:.0f} MiB in use, file {file_mib:.0f} MiB")
            finally:
                await self._agents.aclose()

    def _say(self, words: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)

    async def _seed(self) -> None:
        """One VM in the ordinary way, and its clones."""
        plan, plane, client = self._plan, self._plane, self._client
        await plane.furnish(client)
        if plan.fenced:
            fencing = {"mode": "Watchdog", "profile": "tolerant"}
            await client.patch(scheme.NODEGROUP, NODE_GROUP, "", {"spec": {"fencing": fencing}})
        vm, node, address = await self._template()
        pairs = seeding.everything(plan.vms, plan.nodes, vm, node, address, LIFE)
        plane.engine.leave_etcd()
        began = time.monotonic()
        count, size = await seeding.write(plane.engine.etcd, pairs)
        took = time.monotonic() - began
        self._say(f"{count} objects of {size / count:.0f} bytes written in {took:.0f} s")
        await plane.engine.again()

    async def _template(self) -> tuple[seeding.Template, seeding.Template, str]:
        """Of a VM and of a node, as the API has them; and the VM's address."""
        plane, client = self._plane, self._client
        async with TaskScope("template") as scope:
            manager = self._new_manager()
            agents = Agents(manager, plane.engine.server, self._tls, RENEW_S)
            scope.guard(manager.run(), "informers")
            await agents.register(seeding.NODE, LIFE)
            agents.join([(seeding.NODE, LIFE)])
            plane.start_controllers()
            try:
                await client.create(scheme.VDISK, seeding.disk())
                await client.create(scheme.VM, seeding.vm())
                await self._until_running()
                await asyncio.sleep(3.0)
            finally:
                plane.stop_controllers()
                await agents.aclose()
        vm, address = await seeding.vm_template(client)
        return vm, await seeding.node_template(client), address

    async def _until_running(self) -> None:
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            vm = await self._client.get(scheme.VM, seeding.VM, seeding.NAMESPACE)
            if vms.phase(vm) is vms.VmPhase.RUNNING:
                return
            await asyncio.sleep(0.2)
        raise SystemExit(f"the first VM does not run: {vm.get('status')}")

    async def _until_cloned(self) -> None:
        """The API server has told us of every Pod."""
        end = time.monotonic() + self._sync_limit_s
        while len(self._agents.pods.all()) < self._plan.vms + 1:
            if time.monotonic() > end:
                raise SystemExit(f"the API server knows {len(self._agents.pods.all())} Pods")
            await asyncio.sleep(0.5)

    async def _synced(self) -> float:
        """Until the controllers have looked at everything and are at rest."""
        began = time.monotonic()
        while counts.passes(await self._plane.metrics(), "vm") < self._plan.vms:
            if time.monotonic() - began > self._sync_limit_s:
                raise SystemExit("the controllers have not looked at every VM")
            await asyncio.sleep(METRICS_S)
        await self._plane.quiet(self._sync_limit_s)
        return time.monotonic() - began

    async def _idle(self) -> None:
        await asyncio.sleep(2.0)
        renewed, late = self._agents.renewed, self._agents.late
        before, began = self._plane.costs(), time.monotonic()
        own = time.process_time()
        await asyncio.sleep(self._plan.idle_s)
        took_s = time.monotonic() - began
        after = self._plane.costs()
        rate = (self._agents.renewed - renewed) / took_s
        late = self._agents.late - late
        print(f"idle, {took_s:.0f} s: {rate:.0f} renewals a second, {late} of them late")
        self._table(before, after, took_s, time.process_time() - own)

    async def _rate(self, rate: float) -> None:
        plane, plan = self._plane, self._plan
        page = await plane.page(plane.engine.server, "/metrics")
        times = counts.buckets(await plane.metrics())
        before, began, own = plane.costs(), time.monotonic(), time.process_time()
        outcome = await self._load.play(rate, plan.rate_s)
        took_s, after = time.monotonic() - began, plane.costs()
        own = time.process_time() - own
        told = counts.requests(await plane.page(plane.engine.server, "/metrics"))
        told.subtract(counts.requests(page))
        _show_rate(outcome)
        self._table(before, after, took_s, own)
        rows = counts.slowest(times, counts.buckets(await plane.metrics()), 0.99)
        words = [f"{name} {1000 * wait:.0f} + {1000 * work:.0f}" for name, wait, work in rows]
        print(f"  p99 in queue + at work, ms: {', '.join(words) or 'not told'}")
        moves = max(1, outcome.made)
        per_move = [
            f"{what} {count / moves:.1f}"
            for what, count in told.most_common()
            if count >= 0.4 * moves and "leases" not in what.split()[1].split("/")[:1]
        ]
        print(f"  requests a move: {', '.join(per_move)}")
        if self._agents.errors:
            print(f"  errors of the agents: {self._agents.errors}")

    @staticmethod
    def _table(before: Costs, after: Costs, took_s: float, own_s: float) -> None:
        for part, now in after.items():
            cores = (now.cpu_s - before[part].cpu_s) / took_s
            print(f"  {part:<20} {cores:5.2f} cores {now.memory_mib:7.0f} MiB")
        print(f"  {'simulated agents':<20} {own_s / took_s:5.2f} cores", flush=True)


def _show_rate(outcome: Outcome) -> None:
    print(
        f"{outcome.asked_per_s:g} migrations a second: {outcome.made} made, "
        f"{outcome.done_per_s:.1f} a second ended well, {outcome.failed} failed, {outcome.refused} refused"
    )
    for words, values in (("target Pod", outcome.to_pod_ms), ("Completed", outcome.to_end_ms)):
        shares = [f"{name} {percentile(values, share):.0f}" for name, share in _SHARES]
        print(f"  to {words}, ms: {', '.join(shares)} ({len(values)})")


_SHARES = (("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


async def _play(plan: Plan, plane: Plane) -> None:
    transport = await plane.admin()
    try:
        tls = plane.engine.access(*ADMIN).tls()
        await Run(plan, plane, Client(transport, 60.0), tls).play()
    finally:
        await transport.aclose()


def run(plan: Plan, code: Path) -> None:
    print(f"\nbench/control: {plan.nodes} nodes, {plan.vms} VMs, a renewal of each node every "
          f"{plan.renew_s:g} s\n{common.machine()}; load {common.load()} before", flush=True)  # fmt: skip
    directory = Path(tempfile.mkdtemp(prefix="drover-control-"))
    plane = Plane(directory, code)
    try:
        plane.start()
        asyncio.run(_play(plan, plane))
    finally:
        plane.stop()
        if not os.environ.get("DROVER_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)
    print(f"load {common.load()} after", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=500, help="default 500")
    parser.add_argument("--vms", type=int, default=10_000, help="default 10000")
    parser.add_argument("--idle", type=float, default=60.0, metavar="S", help="default 60")
    parser.add_argument("--rates", default="1,2,5,10", help="migrations a second; default 1,2,5,10")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each rate; default 20")
    parser.add_argument("--renew", type=float, default=2.0, metavar="S",
                        help="between two renewals of a node; default 2, as agents have it")  # fmt: skip
    parser.add_argument("--scale", action="store_true",
                        help="100 nodes with 2,000 VMs, then 1,000 with 20,000")  # fmt: skip
    parser.add_argument("--fenced", action="store_true", help="the nodes' group asks for fencing")
    parser.add_argument(
        "--profile", default="", metavar="FILE", help="of the controllers, by cProfile"
    )
    parser.add_argument("--code", default=str(common.CHECKOUT), metavar="DIR",
                        help="checkout that the controllers are run from; default this one")  # fmt: skip
    parser.add_argument("--caches", action="store_true",
                        help="only what the caches of so many VMs take, without a control plane")  # fmt: skip
    given = parser.parse_args()
    if given.caches:
        held_mib, each_us = caches.measure(given.vms)
        print(f"caches of {given.vms} VMs: {held_mib:.0f} MiB, {each_us:.0f} us of CPU an object")
        return
    rates = tuple(float(rate) for rate in given.rates.split(",") if rate)
    sizes = [(100, 2_000), (1_000, 20_000)] if given.scale else [(given.nodes, given.vms)]
    for nodes, vms_ in sizes:
        plan = Plan(
            nodes, vms_, given.idle, rates, given.seconds, given.renew, given.profile, given.fenced
        )
        run(plan, Path(given.code))
    sys.stdout.flush()


if __name__ == "__main__":
    main()

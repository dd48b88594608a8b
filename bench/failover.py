"""bench/failover: a node loses its power; how long until its VM is back.

From the power-off, as a client of the API sees it: Suspect, Condemned, Fenced (the proof is complete), the restart
begins (the VM lease has its new holder), and the guest answers a ping on its old address. The node is switched on again
before the next round. docs/figures.md has beside it what other systems document of their defaults; none was run here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from bench import common
from bench.evict import NAMESPACE, VM, Ours
from drover.api import names, scheme
from drover.api.fencing import Armed
from drover.api.kinds import node as nodes
from drover.api.kinds import nodefence
from drover.api.kinds import vml as vmls
from drover.api.profiles import PROFILES, Profile
from drover.api.wire import Object
from drover.base.clock import RealClock
from drover.base.tasks import TaskScope
from drover.lab import faults
from drover.lab.home import Home
from drover.lab.lab import Lab
from drover.runtime.client import Client
from drover.runtime.kubeconfig import load

GROUP = "worker"
MOMENTS = ("Suspect", "Condemned", "Fenced", "restart begins", "guest answers")
WATCH_S = 300
ROUND_LIMIT_S = 120.0
GOAL = "restart begins"


@dataclass
class Round:
    """One loss. Seconds since the power-off, by moment."""

    node: str
    since_s: float
    at_s: dict[str, float] = field(default_factory=dict)

    def note(self, moment: str) -> None:
        if moment in MOMENTS:
            self.at_s.setdefault(moment, time.monotonic() - self.since_s)


async def lose(lab: Lab, client: Client, ours: Ours) -> Round:
    """Power off the node of the VM, and watch until the guest answers again."""
    node = ours.node
    async with TaskScope("round") as scope:
        lease = await client.get(scheme.VML, VM, NAMESPACE)
        before = vmls.epoch(lease)
        made = Round(node, time.monotonic())

        def fence(obj: Object) -> None:
            if nodefence.node(obj) == node and (obj.get("status") or {}).get("phase"):
                made.note(nodefence.phase(obj))

        def holder(obj: Object) -> None:
            if vmls.holder(obj) and vmls.epoch(obj) > before and vmls.node(obj) != node:
                ours.node = vmls.node(obj)
                made.note("restart begins")

        for kind, saw in ((scheme.NODEFENCE, fence), (scheme.VML, holder)):
            _, version = await client.list(kind)
            scope.spawn(_follow(client, kind, version, saw), kind.plural)
        made.since_s = time.monotonic()
        await asyncio.to_thread(faults.power_off, lab, node)
        while "restart begins" not in made.at_s:
            if time.monotonic() - made.since_s > ROUND_LIMIT_S:
                raise SystemExit(f"the VM of {node} was not started again: {made.at_s}")
            await asyncio.sleep(0.05)
        if await asyncio.to_thread(common.answers, ours.address, ROUND_LIMIT_S):
            made.note("guest answers")
    return made


async def _follow(
    client: Client, kind: scheme.Kind, version: str, saw: Callable[[Object], None]
) -> None:
    async with client.watch(kind, version, WATCH_S) as events:
        async for event in events:
            if event["type"] in ("ADDED", "MODIFIED"):
                saw(event["object"])


async def whole(client: Client, count: int, profile: Profile) -> None:
    """Until all nodes are armed by the profile and the roster has settled."""
    wanted = Armed.of(profile.timing(), "deadline")
    end = time.monotonic() + ROUND_LIMIT_S
    while time.monotonic() < end:
        await asyncio.sleep(0.3)
        leases, _ = await client.list(scheme.LEASE, namespace=names.NODE_LEASE_NAMESPACE)
        armed = [e for e in map(nodes.evidence, leases) if e is not None and e.armed == wanted]
        lost, _ = await client.list(scheme.NODEFENCE)
        under_way = [f for f in lost if not nodefence.proves_dead(f)]
        rosters, _ = await client.list(scheme.NODEROSTER)
        settled = [
            roster
            for roster in map(nodefence.roster, rosters)
            if len(roster.members) == count and not roster.previous
        ]
        if len(armed) == count and settled and not under_way:
            return
    raise SystemExit("the nodes are not armed, or their roster does not settle")


@contextlib.asynccontextmanager
async def opened(home: Home) -> AsyncIterator[Client]:
    transport = await load(home.kubeconfig).transport(RealClock())
    try:
        yield Client(transport)
    finally:
        await transport.aclose()


async def measure(home: Home, rounds: list[Round], runs: int, profile: Profile) -> None:
    """Fill ``rounds``; what is there when it is interrupted counts."""
    lab = Lab(home)
    async with opened(home) as client:
        fencing: Object = {"mode": "Watchdog", "profile": profile.name, "watchdog": None}
        await client.patch(scheme.NODEGROUP, GROUP, "", {"spec": {"fencing": fencing}})
        ours = Ours(client)
        await ours.boot()
        if not common.answers(ours.address, ROUND_LIMIT_S):
            raise SystemExit(f"{VM} does not answer")
        settings = home.settings()
        assert settings is not None
        for number in range(1, runs + 1):
            await whole(client, settings.nodes, profile)
            made = await lose(lab, client, ours)
            rounds.append(made)
            told = ", ".join(f"{name} {at:.1f}" for name, at in made.at_s.items())
            print(f"{number:>3}: {made.node}: {told}", flush=True)
            await asyncio.to_thread(faults.power_on, lab, made.node)


def show(rounds: list[Round], profile: Profile, load_before: str) -> None:
    print(f"\nbench/failover, {len(rounds)} losses of power, profile {profile.name}")
    print(f"{common.machine()}; load {load_before} before, {common.load()} after")
    print(f"{'seconds after the power-off':<30} {'min':>7} {'median':>7} {'max':>7}   goal")
    for moment in MOMENTS:
        seen = [one.at_s[moment] for one in rounds if moment in one.at_s]
        if seen:
            goal = f"<= {profile.begins_s:g}" if moment == GOAL else ""
            spread = f"{min(seen):>7.1f} {statistics.median(seen):>7.1f} {max(seen):>7.1f}"
            print(f"{moment:<30} {spread}   {goal}")


def main() -> None:
    parser = argparse.ArgumentParser(description="How long until a VM of a lost node is back.")
    parser.add_argument("-n", type=int, default=20, help="how many losses")
    parser.add_argument(
        "--profile", default="lab", choices=list(PROFILES), help="spec.fencing.profile"
    )
    parser.add_argument("--home", default="", help="of a lab that runs; else one of our own")
    parser.add_argument("--json", action="store_true", help="print each round as JSON at the end")
    options = parser.parse_args()
    profile = PROFILES[options.profile]
    with common.lab_at(options.home) as home:
        load_before = common.load()
        rounds: list[Round] = []
        try:
            asyncio.run(measure(home, rounds, options.n, profile))
        finally:
            show(rounds, profile, load_before)
            if options.json:
                print(json.dumps([{"node": one.node, **one.at_s} for one in rounds]))


if __name__ == "__main__":
    main()

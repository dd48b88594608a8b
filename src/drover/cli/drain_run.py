"""A drain at work: cordon, evict, look, until the node is empty. The rights are the user's own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import click

from drover.api import scheme, status
from drover.api.kinds import pod as pods
from drover.api.meta import name_of, namespace_of, uid_of
from drover.api.scheme import key_of
from drover.api.wire import Object
from drover.base.tasks import TaskScope
from drover.cli import drain_plan as plan
from drover.cli.connect import Api
from drover.cli.drain_forecast import tell
from drover.cli.drain_view import Row, Screen, Seen, row, summary
from drover.cli.drain_world import World, find_node, look, set_cordon
from drover.cli.session import PROGRAM, say

LOOK_S = 0.5
RETRY_S = 5.0  # as kubectl
EVICT_LIMIT_S = 40.0  # an answer is held for up to half a minute
MOST_AT_ONCE = 32
STUCK = ("blocked", "failed")
DENIED = 'admission webhook "evict.drover.dev" denied the request: '


@dataclass
class Asked:
    """One Pod that was asked to leave."""

    pod: Object
    answer: str = ""
    failed: str = ""

    @property
    def key(self) -> str:
        return key_of(self.pod)

    @property
    def vm(self) -> str:
        """Key of its VM; empty: it is no VM's."""
        name = pods.vm_name(self.pod)
        return f"{namespace_of(self.pod)}/{name}" if name else ""


class Drain:
    """One command line."""

    def __init__(
        self, api: Api, node: str, options: plan.Options, limit_s: float, output: str
    ) -> None:
        self._api = api
        self._node = node
        self._options = options
        self._limit_s = limit_s
        self._json = output == "json"
        self._seats = asyncio.Semaphore(MOST_AT_ONCE)
        self._patient = api.client.patient(EVICT_LIMIT_S)

    async def perform(self, dry_run: bool) -> int:
        """The exit code."""
        node = await find_node(self._api, self._node)
        if dry_run:
            return await tell(self._api, self._node, self._options, self._json)
        changed = await set_cordon(self._api, node, on=True)
        self._say(f"node/{self._node} {'cordoned' if changed else 'already cordoned'}")
        choice = plan.choose((await look(self._api, self._node)).pods.values(), self._options)
        if choice.refused:
            for line in choice.refused:
                click.echo(f"Error: {line}", err=True)
            raise click.ClickException(
                f"nothing was evicted; {self._node} stays cordoned, "
                f"`{PROGRAM} uncordon {self._node}` ends that"
            )
        for key in choice.stay:
            self._say(f"Pod {key} stays: its DaemonSet would make it again at once")
        return await self._follow([Asked(pod) for pod in choice.pods])

    async def _follow(self, asked: list[Asked]) -> int:
        clock, screen = self._api.clock, Screen(self._json)
        began_s = clock.monotonic()
        rows: list[Row] = []
        late = False
        async with TaskScope("drain") as scope:
            for one in asked:
                scope.spawn(self._evict(one), one.key)
            while True:
                world = await look(self._api, self._node)
                rows = [self._row(one, world) for one in asked]
                left = await self._left(rows, world)
                took_s = clock.monotonic() - began_s
                screen.show(rows, f"{left}, after {took_s:.0f} s", clock.monotonic())
                if all(one.done or one.state == "failed" for one in rows):
                    break
                if late := bool(self._limit_s) and took_s > self._limit_s:
                    break
                await clock.sleep(LOOK_S)
        return self._sum_up(rows, clock.monotonic() - began_s, late)

    async def _evict(self, asked: Asked) -> None:
        """Ask until the Pod has left; what does not mean "try again" ends the asking, as with kubectl."""
        meta = asked.pod["metadata"]
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
            "deleteOptions": {"preconditions": {"uid": meta["uid"]}},
        }
        path = scheme.POD.path(meta["namespace"], meta["name"], "eviction")
        while True:
            try:
                async with self._seats:
                    await self._patient.post(path, body)
                return
            except (status.NotFound, status.Conflict):
                return  # gone, or another one of that name
            except status.TooManyRequests as wait:
                asked.answer = wait.message.removeprefix(DENIED)
            except status.Unanswered as lost:
                asked.answer = str(lost)
            except status.ApiError as refused:
                asked.failed = refused.message
                return
            await self._api.clock.sleep(RETRY_S)

    def _row(self, asked: Asked, world: World) -> Row:
        pod = world.pods.get(asked.key)
        if pod is not None and uid_of(pod) != uid_of(asked.pod):
            pod = None
        vmop, vmm = world.moving(asked.vm) if asked.vm else (None, None)
        return row(
            Seen(
                namespace=namespace_of(asked.pod),
                pod_name=name_of(asked.pod),
                vm_name=pods.vm_name(asked.pod),
                node=self._node,
                pod=pod,
                vm=world.vms.get(asked.vm),
                vmop=vmop,
                vmm=vmm,
                answer=asked.answer,
                failed=asked.failed,
            )
        )

    async def _left(self, rows: list[Row], world: World) -> str:
        """How many have left, and how long the rest may take."""
        gone = sum(one.done for one in rows)
        names = [one.name for one in rows if not one.done and one.state not in STUCK]
        left_s = await world.remaining_s(self._api, names)
        words = f"{gone} of {len(rows)} have left {self._node}"
        return f"{words}, about {plan.duration(left_s)} to go" if left_s else words

    def _sum_up(self, rows: list[Row], took_s: float, late: bool) -> int:
        drained = all(one.done for one in rows)
        if self._json:
            told = {
                "node": self._node,
                "drained": drained,
                "tookSeconds": round(took_s, 2),
                "pods": [one.json() for one in rows],
            }
            click.echo(json.dumps(told, indent=2))
            return 0 if drained else 1
        counts = ", ".join(f"{count} {state}" for state, count in summary(rows).items())
        if drained:
            what = f" ({counts})" if counts else ": nothing was to be evicted"
            say(f"node/{self._node} drained in {took_s:.1f} s{what}")
            return 0
        why = "not done in time" if late else "could not be drained"
        say(f"node/{self._node} {why} ({counts}); it stays cordoned, and what moves goes on")
        return 1

    def _say(self, text: str) -> None:
        if not self._json:
            say(text)

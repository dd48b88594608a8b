"""The demo's losses: a host loses its power, another one its network; its VM starts elsewhere once it is dead for sure.

Fencing is switched on for it and off again, and the hosts are mended whatever happens: the lab is left as it was.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from drover.api import names, scheme
from drover.api.kinds import node as nodes
from drover.api.kinds import vml as vmls
from drover.api.meta import name_of
from drover.api.wire import Object
from drover.cli.connect import Api
from drover.cli.demo_moves import Moves
from drover.cli.demo_stage import DemoFailed, Stage
from drover.cli.fence_world import look
from drover.cli.session import PROGRAM

NAMESPACE = "default"
GROUP = "worker"
TIMEOUT = "10s"  # the demo shares its machine with much else; 6s is enough for a quiet one
ARMED_LIMIT_S = 90.0
LOSS_LIMIT_S = 180.0
POLL_S = 0.3


class Losses:
    """Plays them."""

    def __init__(self, stage: Stage, api: Api, moves: Moves) -> None:
        self._stage = stage
        self._api = api
        self._moves = moves

    async def play(self, vm: str) -> tuple[float, float]:
        """How long until the guest answered again, in seconds: after a loss of power, and of the network."""
        stage = self._stage
        stage.title("ColdStandby: a host is lost, and its VM starts elsewhere, never twice")
        if len(await self._lab_nodes()) < 3:
            stage.tell("With fewer than three hosts one would have nowhere to go: nothing to show.")
            return 0.0, 0.0
        async with self._fenced():
            off_s = await self._lose(vm, "lost its power", "power-off", "power-on")
            stage.tell(
                "The next one goes on running, out of reach, with its disks within its reach:"
            )
            stage.tell("it has to kill its VMs itself before they start elsewhere.")
            cut_s = await self._lose(vm, "was cut off", "isolate", "rejoin")
        return off_s, cut_s

    @contextlib.asynccontextmanager
    async def _fenced(self) -> AsyncIterator[None]:
        stage = self._stage
        times = {"profile": "lab", "watchdog": {"timeout": TIMEOUT}}
        on, off = _patch({"mode": "Watchdog", **times}), _patch(None)
        try:
            async with stage.step("all hosts are armed"):
                await stage.run(on)
                await self._until(self._all_armed, "its hosts are not armed", ARMED_LIMIT_S)
                await stage.run(f"{PROGRAM} fence list")
            yield
            async with stage.step("the lost hosts take VMs again, nothing moved back"):
                await self._until(self._all_back, "a host is not back", LOSS_LIMIT_S)
                await stage.run(f"{PROGRAM} k get nodes")
        finally:
            await stage.run(off)

    async def _lose(self, vm: str, what: str, fault: str, mend: str) -> float:
        stage = self._stage
        node = vmls.node(await self._lease(vm))
        address = await self._moves.address(vm)
        async with stage.step(f"the host of {vm} {what}; {vm} answers from another"):
            try:
                await stage.run(f"{PROGRAM} lab {fault} {node}")
                began_s = stage.clock.monotonic()
                async with stage.ticking("waiting for the proof that it is dead"):

                    async def elsewhere() -> bool:
                        return vmls.node(await self._lease(vm)) not in ("", node)

                    await self._until(elsewhere, f"{vm} has not started elsewhere", LOSS_LIMIT_S)
                await self._moves.wait_answer(vm, address, LOSS_LIMIT_S)
                took_s = stage.clock.monotonic() - began_s
                await stage.run(f"{PROGRAM} fence show {node}")
            finally:
                await stage.run(f"{PROGRAM} lab {mend} {node}")
        return took_s

    async def _lease(self, vm: str) -> Object:
        return await self._api.client.get(scheme.VML, vm, NAMESPACE)

    async def _lab_nodes(self) -> list[Object]:
        found, _ = await self._api.client.list(scheme.NODE, labels=names.NODE_GROUP_LABEL)
        return found

    async def _all_armed(self) -> bool:
        world, there = await look(self._api), await self._lab_nodes()
        return all(world.state(name_of(node)).startswith("armed") for node in there)

    async def _all_back(self) -> bool:
        world, there = await look(self._api), await self._lab_nodes()
        whole = all(nodes.ready(node) and not nodes.cordoned(node) for node in there)
        return whole and all(world.open_fence(node) is None for node in world.nodes)

    async def _until(self, check: Callable[[], Awaitable[bool]], what: str, limit_s: float) -> None:
        clock = self._stage.clock
        end_s = clock.monotonic() + limit_s
        while not await check():
            if clock.monotonic() > end_s:
                raise DemoFailed(f"{what} after {limit_s:.0f} s; `{PROGRAM} fence list` tells more")
            await clock.sleep(POLL_S)


def _patch(fencing: object) -> str:
    patch = json.dumps({"spec": {"fencing": fencing}})
    return f"{PROGRAM} k patch nodegroup {GROUP} --type=merge -p '{patch}'"

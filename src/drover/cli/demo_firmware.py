"""The firmware part of the demo: every running VM moves to another version of QEMU. A second run takes them back."""

from __future__ import annotations

from typing import Any

from drover.api import scheme
from drover.api.kinds import vm as vms
from drover.cli import accel
from drover.cli.connect import Api
from drover.cli.demo_stage import DemoFailed, Stage
from drover.cli.firmware_world import World, look
from drover.cli.session import PROGRAM

NAMESPACE = "default"
WAIT = "5m"
_COLUMNS = (
    "-o custom-columns=NAME:.metadata.name,PHASE:.status.phase,NODE:.status.nodeName,"
    "QEMU:.status.versions.qemu,STARTED:.status.stats.lastStartTime"
)


def another(world: World, present: str) -> str:
    """The newest version that every node offers, but for the present one; empty: there is none."""
    everywhere = [v for v in world.versions if len(world.offering(v)) == len(world.offers)]
    return next((version for version in everywhere if version != present), "")


class Upgrade:
    """Plays it. ``busy``: a VM that may be slowed down for its move, since it would not end otherwise."""

    def __init__(self, stage: Stage, api: Api, busy: str) -> None:
        self._stage = stage
        self._api = api
        self._busy = busy

    async def play(self, vm: str) -> float:
        """How long it took until no VM was outdated, in seconds; 0 where there is one version only."""
        stage = self._stage
        stage.title("Firmware: all VMs move to another version of QEMU and run on")
        world, before = await look(self._api), await self._status(vm)
        version = another(world, str((before.get("versions") or {}).get("qemu", "")))
        if not version:
            why = accel.why_no_more() or "no other version is offered by all nodes"
            stage.tell(f"There is one version here ({why}): nothing to show.")
            return 0.0
        async with stage.step(f"all VMs run on QEMU {version}"):
            await stage.run(f"{PROGRAM} firmware list")
            stage.tell(f"{self._busy} writes too fast to be moved, unless it may be slowed down:")
            await self._set_policy("PreferForced")
            began_s = stage.clock.monotonic()
            await stage.run(f"{PROGRAM} firmware set {version} --wait --timeout {WAIT}")
            took_s = stage.clock.monotonic() - began_s
            await stage.run(f"{PROGRAM} k get vm {vm} {self._busy} {_COLUMNS}")
            await self._check(vm, version, before)
            await self._set_policy("PreferSafe")
        return took_s

    async def _set_policy(self, policy: str) -> None:
        patch = f'\'{{"spec":{{"liveMigrationPolicy":"{policy}"}}}}\''
        await self._stage.run(f"{PROGRAM} k patch vm {self._busy} --type=merge -p {patch}")

    async def _status(self, vm: str) -> dict[str, Any]:
        return dict(vms.status(await self._api.client.get(scheme.VM, vm, NAMESPACE)))

    async def _check(self, vm: str, version: str, before: dict[str, Any]) -> None:
        after = await self._status(vm)
        if after.get("versions") != {"qemu": version}:
            raise DemoFailed(f"{vm} does not run on QEMU {version}: {after.get('versions')}")
        if _started(after) != _started(before):
            raise DemoFailed(f"{vm} was started anew at {_started(after)}")


def _started(status: dict[str, Any]) -> str:
    return str((status.get("stats") or {}).get("lastStartTime", ""))

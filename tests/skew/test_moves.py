"""A guest of the release before moves to this one, and back: its QEMU is root and opens its files by name.

So does a QEMU here whose node's first process is of that release: it lives on when agents are upgraded.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from tests.agent.qemu.rig import QemuNode, QemuRig, qemu_rig

from drover.agent.ports import Machine, MigrationOptions, MigrationState, RunState
from drover.agent.spawner import NodeInitSpawner

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]


class FormerFirstProcess(NodeInitSpawner):
    """What the agent hears of one of the release before."""

    async def confines(self) -> bool:
        return False


async def user(node: QemuNode, copy: str) -> int:
    pid = (await node.spawner.children())[copy]
    return Path(f"/proc/{pid}").stat().st_uid


async def move(rig: QemuRig, machine: Machine, source: QemuNode, target: QemuNode) -> Machine:
    """As the agents do; the copy on the target, which runs."""
    copy = f"on-{target.name}-{machine.copy}"
    listener = await target.hypervisor.listen(source.name)
    arrived = await target.hypervisor.launch(copy, rig.spec(), listener)
    await machine.migrate(MigrationOptions("127.0.0.1", listener.port, target.name))
    async with asyncio.timeout(20):
        while (await machine.migration()).state is not MigrationState.COMPLETED:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        while await arrived.status() is not RunState.PAUSED:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await arrived.cont()
    await machine.kill()
    await rig.booted(copy)
    return arrived


async def test_a_guest_of_the_release_before_moves_here_and_back() -> None:
    async with qemu_rig(2) as rig:
        before, ours = rig.nodes
        before.spawner = FormerFirstProcess(before.root / "init")
        await before.restart_agent()
        assert "drain the node and restart its service" in await before.hypervisor.open()
        machine: Machine = await before.hypervisor.launch("copy-a", rig.spec())
        await machine.cont()
        await rig.booted("copy-a")
        assert await user(before, "copy-a") == 0
        arrived = await move(rig, machine, before, ours)
        assert await user(ours, arrived.copy) == ours.settings.user
        await ours.restart_agent()  # and what was adopted moves as well
        (adopted,) = await ours.hypervisor.adopt()
        back = await move(rig, adopted, ours, before)
        assert await user(before, back.copy) == 0
        count = before.counters(back.copy)
        assert count == sorted(set(count))  # the same guest all along: it never counted anew

"""A busy guest goes between two versions of QEMU and stays whole: the default one and a second bundle.

Needs the built image and the bundle that the bootstrap unpacks (``DROVER_IMAGE``, ``DROVER_FIRMWARE``).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.qemu.rig import QemuRig, qemu_rig
from tests.agent.qemu.test_linux_guest import (
    BUSY,
    IMAGE,
    LEDGER_MS,
    TROUBLE,
    linux_spec,
    move,
    said,
    shell,
)

from drover.agent.ports import Machine
from drover.agent.qemu import bundles

SECOND = Path(os.environ.get("DROVER_FIRMWARE") or "/nonexistent") / "qemu-system-x86_64"
MOVES = 4

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not IMAGE.exists(), reason="needs DROVER_IMAGE"),
    pytest.mark.skipif(not SECOND.exists(), reason="needs a second QEMU in DROVER_FIRMWARE"),
]


@pytest.fixture
async def rig() -> AsyncIterator[QemuRig]:
    async with qemu_rig() as made:
        yield made


async def test_a_busy_guest_is_whole_after_moves_between_versions(rig: QemuRig) -> None:
    found = await bundles.probe("qemu-system-x86_64", [str(SECOND)])
    old, new = (offer.version for offer in found.offers)
    for node in rig.nodes:
        node.settings = replace(node.settings, bundles=found.bundles)
        await node.restart_agent()
    first, second = rig.nodes
    machine: Machine = await first.hypervisor.launch("copy-0", await linux_spec(rig))
    assert machine.spec.firmware == old
    await machine.cont()
    await said(first, "copy-0", "GUEST READY")
    await shell(first, "copy-0", f"guest-tool ledger /root/ledger {LEDGER_MS} &")
    await shell(first, "copy-0", f"{BUSY} &")
    for number in range(1, MOVES + 1):
        source, target = (first, second) if number % 2 else (second, first)
        wished = new if number % 2 else old
        machine = await move(machine, f"copy-{number}", target, source.name, wished)
        assert machine.spec.firmware == wished
        await asyncio.sleep(1)
        assert not re.search(TROUBLE, target.serial(machine.copy)), target.serial(machine.copy)
    await shell(first, machine.copy, "kill %1 %2; guest-tool check /root/ledger")
    await said(first, machine.copy, "worst_pause_ms", 30)
    report = re.search(rb'\{"boots".*\}', first.serial(machine.copy))
    assert report is not None
    ledger = json.loads(report[0])
    assert len(ledger["boots"]) == 1
    assert ledger["lines"] == ledger["last"] > 0
    assert (ledger["duplicates"], ledger["gaps"], ledger["torn"]) == (0, 0, 0)
    await machine.kill()

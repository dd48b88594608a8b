"""The project's Linux guest on real QEMUs: one qcow2 that two nodes share, written to all the time.

Needs the built image: ``DROVER_IMAGE`` is the folder that ``tools/image/build`` filled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.agent.qemu.rig import QemuNode, QemuRig, qemu_rig, until

from drover.agent.ports import (
    Disk,
    Machine,
    MachineSpec,
    MigrationOptions,
    MigrationState,
    RunState,
)
from drover.agent.qemu.guest_agent import GuestAgent
from drover.agent.qemu.machine import QemuMachine
from drover.agent.resume import Ground, resume
from drover.agent.seeds import NoCloudSeeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

IMAGE = Path(os.environ.get("DROVER_IMAGE", "/nonexistent")) / "drover-linux.qcow2"
BOOT_LIMIT_S = 150.0  # two seconds on an idle machine
MOVE_LIMIT_S = 90.0
LEDGER_MS = 20
MOVES = 5
BUSY = "while :; do md5sum /bin/busybox >>/tmp/sums; ls -lR /usr /etc >/tmp/x; rm /tmp/x; done"
TROUBLE = rb"Oops|BUG|panic|segfault|traps:|Bad page"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(500),
    pytest.mark.skipif(not IMAGE.exists(), reason="needs DROVER_IMAGE"),
]


@pytest.fixture
async def rig() -> AsyncIterator[QemuRig]:
    async with qemu_rig() as made:
        yield made


async def linux_spec(rig: QemuRig) -> MachineSpec:
    """A fresh overlay on the image, and a seed."""
    overlay, image = rig.disk.with_name("overlay.qcow2"), rig.disk.with_name("image.qcow2")
    if not image.exists():  # where the cache is, QEMU's users may not look
        shutil.copy(IMAGE, image)
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, overlay]
    subprocess.run(create, check=True)
    spec = rig.spec(disks=(Disk("root", str(overlay), boot_order=1),), memory_bytes=128 << 20)
    seed = await NoCloudSeeds(rig.disk.parent).write(
        "s", spec, b"#cloud-config\nhostname: seeded\n"
    )
    return rig.spec(disks=(*spec.disks, seed), memory_bytes=128 << 20)


async def said(node: QemuNode, copy: str, words: str, limit_s: float = BOOT_LIMIT_S) -> None:
    await until(lambda: words.encode() in node.serial(copy), f"{copy} says {words!r}", limit_s)


async def shell(node: QemuNode, copy: str, line: str) -> None:
    """Type one line into the guest's shell."""
    await node.type(copy, f"{line}\n")


async def move(
    source: Machine, copy: str, to: QemuNode, back_to: str, firmware: str = ""
) -> Machine:
    """Copy, wait for both ends, switch over by hand as agents do by the lease."""
    listener = await to.hypervisor.listen(back_to)
    spec = replace(source.spec, firmware=firmware)
    target = await to.hypervisor.launch(copy, spec, listener)
    await source.migrate(MigrationOptions(listener.address, listener.port, to.name))
    async with asyncio.timeout(MOVE_LIMIT_S):
        while (info := await source.migration()).state is not MigrationState.COMPLETED:
            assert info.state is not MigrationState.FAILED, info.error
            await asyncio.sleep(0.01)
        while await target.status() is not RunState.PAUSED:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await target.cont()
    await source.kill()
    return target


async def test_busy_guest_is_whole_after_many_moves(rig: QemuRig) -> None:
    """No write is lost, to the disk or to memory. Two moves tore this guest's memory before ``_ram_bytes``. One of the
    nodes writes past its cache, as on disks of the network (safety rule 12)."""
    first, second = rig.nodes
    second.settings = replace(second.settings, direct_io=True)
    await second.restart_agent()
    machine: Machine = await first.hypervisor.launch("copy-0", await linux_spec(rig))
    await machine.cont()
    await said(first, "copy-0", "GUEST READY")
    await shell(first, "copy-0", f"guest-tool ledger /root/ledger {LEDGER_MS} &")
    await shell(first, "copy-0", f"{BUSY} &")
    for number in range(1, MOVES + 1):
        source, target = (first, second) if number % 2 else (second, first)
        machine = await move(machine, f"copy-{number}", target, source.name)
        await asyncio.sleep(1)
        assert not re.search(TROUBLE, target.serial(machine.copy)), target.serial(machine.copy)
    await shell(target, machine.copy, "kill %1 %2; guest-tool check /root/ledger; hostname")
    await said(target, machine.copy, "worst_pause_ms", 30)
    report = re.search(rb'\{"boots".*\}', target.serial(machine.copy))
    assert report is not None
    ledger = json.loads(report[0])
    assert len(ledger["boots"]) == 1
    assert ledger["lines"] == ledger["last"] > 0
    assert (ledger["duplicates"], ledger["gaps"], ledger["torn"]) == (0, 0, 0)
    await said(target, machine.copy, "\nseeded", 10)
    await machine.powerdown()
    async with asyncio.timeout(BOOT_LIMIT_S):
        while await machine.status() is not RunState.SHUTDOWN:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await machine.kill()
    check = ["qemu-img", "check", "-q", machine.spec.disks[0].path]
    assert subprocess.run(check, check=False).returncode == 0


@contextlib.contextmanager
def small_disk(rig: QemuRig, size: str) -> Iterator[Path]:
    """A file system with little room."""
    place = rig.disk.with_name("small")
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "drover-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_guest_stands_still_while_its_disk_is_full_and_loses_nothing(rig: QemuRig) -> None:
    (node, _) = rig.nodes
    with small_disk(rig, "16m") as place:
        spec = await linux_spec(rig)
        overlay = spec.disks[0].path
        moved = shutil.copy(overlay, place)
        disks = (replace(spec.disks[0], path=str(moved)), *spec.disks[1:])
        machine = await node.hypervisor.launch("copy-0", replace(spec, disks=disks))
        await machine.cont()
        await said(node, "copy-0", "GUEST READY")
        fill = "dd if=/dev/urandom of=/root/file bs=1M count=32 2>/dev/null; sync"
        await shell(node, "copy-0", f"{fill}; md5sum /root/file; echo WRI''TTEN $?")
        async with asyncio.timeout(60):
            while await machine.status() is not RunState.IO_ERROR:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):  # a try without room is of no use, and does no harm
                await resume(machine, Ground.DISK, _yes)
                while await machine.status() is not RunState.IO_ERROR:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        assert b"WRITTEN" not in node.serial("copy-0")
        subprocess.run(["mount", "-o", "remount,size=160m", place], check=True)
        await resume(machine, Ground.DISK, _yes)
        await said(node, "copy-0", "WRITTEN 0", 60)
        assert not re.search(rb"I/O error|remount", node.serial("copy-0"))
        await machine.kill()


async def _yes() -> bool:
    return True


async def test_guest_agent_is_told_to_shut_down(rig: QemuRig) -> None:
    """Without the power button: what a guest that ignores it would do."""
    (node, _) = rig.nodes
    machine = await node.hypervisor.launch("copy-0", await linux_spec(rig))
    assert isinstance(machine, QemuMachine)
    await machine.cont()
    await said(node, "copy-0", "GUEST READY")
    agent = GuestAgent(node.hypervisor.files("copy-0").agent)
    async with asyncio.timeout(BOOT_LIMIT_S):
        while not await machine.guest_agent():  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await agent.tell("guest-shutdown")
        while await machine.status() is not RunState.SHUTDOWN:  # noqa: ASYNC110
            await asyncio.sleep(0.2)

"""Real QEMU on two or three "nodes" of this machine: a nodeinit each, one disk directory,
certificates, loopback.

A node here is a nodeinit process without a namespace; ``restart_agent`` throws the hypervisor away
and makes a new one, as an agent's restart does, while QEMU runs on. Guests are the boot sector of
``guest.s``.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.agent.qemu import guest
from tests.agent.qemu.certificates import Certificates

from drover.agent import nodeinit
from drover.agent.ports import Disk, MachineSpec
from drover.agent.qemu.hypervisor import QemuHypervisor
from drover.agent.qemu.settings import QemuSettings, isolated_netdev
from drover.agent.spawner import NodeInitSpawner
from drover.base.clock import RealClock
from drover.base.log import Log
from drover.base.tasks import TaskScope

LIMIT_S = 20.0


async def until(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Poll ``condition``; AssertionError naming ``what`` after ``limit_s``."""
    try:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 - files and counters have no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


class QemuNode:
    """One node: its nodeinit, its hypervisor."""

    def __init__(self, name: str, root: Path, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.root = root
        self.process = process
        self.spawner = NodeInitSpawner(root / "init")
        self.settings = QemuSettings(
            run_dir=root / "run",
            log_dir=root / "log",
            tls_dir=root / "tls",
            address="127.0.0.1",
            netdev=isolated_netdev,
        )
        self._tasks = TaskScope(name)
        self.hypervisor = self._make()

    def _make(self) -> QemuHypervisor:
        log = Log(RealClock(), sink=lambda entry: None)
        return QemuHypervisor(self.settings, self.spawner, self._tasks, log)

    async def restart_agent(self) -> None:
        await self._tasks.aclose()
        self._tasks = TaskScope(self.name)
        self.hypervisor = self._make()

    async def aclose(self) -> None:
        await self._tasks.aclose()
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, LIMIT_S)

    def serial(self, copy: str) -> bytes:
        try:
            return self.hypervisor.files(copy).serial_log.read_bytes()
        except FileNotFoundError:
            return b""

    def counters(self, copy: str) -> list[int]:
        return guest.counters(self.serial(copy))

    async def type(self, copy: str, letter: str) -> None:
        """Say one letter on the guest's serial line."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.hypervisor.files(copy).console))
            sock.sendall(letter.encode())
            await asyncio.sleep(0.2)  # QEMU forgets what it has not read when the line hangs up


@dataclass(frozen=True)
class QemuRig:
    nodes: tuple[QemuNode, ...]
    disk: Path

    def spec(self, **changes: object) -> MachineSpec:
        spec = MachineSpec(
            vm="default/linux-vm",
            vm_uid="6f6f6b1e-4f0e-4a57-9a5b-0d6c2d1f0a11",
            cores=1,
            memory_bytes=64 << 20,
            mac="52:54:00:00:00:01",
            ip="10.66.10.10",
            gateway="10.66.10.254",
            prefix=24,
            disks=(Disk("root", str(self.disk), format="raw", boot_order=1),),
        )
        return replace(spec, **changes)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def qemu_rig(count: int = 2) -> AsyncIterator[QemuRig]:
    """Start nodes; end everything."""
    base = Path(tempfile.mkdtemp(prefix="drv", dir="/tmp"))  # short: sockets have 107 characters
    certificates = Certificates("migration")
    nodes: list[QemuNode] = []
    try:
        for number in range(1, count + 1):
            root = base / f"n{number}"
            certificates.write(root / "tls", f"node-{number}")
            command = [sys.executable, "-S", "-E", nodeinit.__file__, str(root / "init")]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            nodes.append(QemuNode(f"node-{number}", root, process))
        for node in nodes:
            await until((node.root / "init").exists, "nodeinit listens")
        disk = base / "disk.raw"
        guest.write_disk(disk)
        yield QemuRig(tuple(nodes), disk)
    finally:
        for node in nodes:
            await node.aclose()
        shutil.rmtree(base)

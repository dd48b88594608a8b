"""Real QEMU on two or three "nodes" of this machine: a nodeinit each, one disk directory,
certificates, loopback.

A node here is a nodeinit process without a namespace; ``restart_agent`` throws the hypervisor away
and makes a new one, as an agent's restart does, while QEMU runs on. Guests are the boot sector of
``guest.s``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.agent.qemu import guest
from tests.agent.qemu.certificates import Certificates
from tests.agent.qemu.proxy import Proxy
from tests.support import nodeinit

from drover.agent.config import QEMU_USER
from drover.agent.ports import Disk, Listener, MachineSpec
from drover.agent.qemu.hypervisor import QemuHypervisor
from drover.agent.qemu.settings import QemuSettings, isolated_netdev
from drover.agent.spawner import NodeInitSpawner
from drover.base.clock import RealClock
from drover.base.log import Log
from drover.base.tasks import TaskScope

LIMIT_S = 20.0
STANDS_S = 2.0  # a guest that got no processor for so long counts as one that stands still
SPEC = MachineSpec(
    vm="default/linux-vm",
    vm_uid="6f6f6b1e-4f0e-4a57-9a5b-0d6c2d1f0a11",
    cores=1,
    memory_bytes=64 << 20,
    mac="52:54:00:00:00:01",
    ip="10.66.10.10",
    gateway="10.66.10.254",
    prefix=24,
)


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

    def __init__(self, name: str, root: Path, process: subprocess.Popen[bytes], user: int) -> None:
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
            nice=0,  # the tests of a busy machine have limits of their own
            user=user,
        )
        self._tasks = TaskScope(name)
        self._lines: dict[str, socket.socket] = {}
        self.hypervisor = self._make()

    def _make(self) -> QemuHypervisor:
        log = Log(RealClock(), sink=lambda entry: None)
        return QemuHypervisor(self.settings, self.spawner, self._tasks, log)

    async def restart_agent(self) -> None:
        await self._tasks.aclose()
        self._tasks = TaskScope(self.name)
        self.hypervisor = self._make()
        await self.hypervisor.open()

    async def aclose(self) -> None:
        for line in self._lines.values():
            line.close()
        await self._tasks.aclose()
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, LIMIT_S)

    def has(self, copy: str) -> bool:
        return self.hypervisor.files(copy).spec.exists()

    def serial(self, copy: str) -> bytes:
        try:
            return self.hypervisor.files(copy).serial_log.read_bytes()
        except FileNotFoundError:
            return b""

    def counters(self, copy: str) -> list[int]:
        return guest.counters(self.serial(copy))

    async def type(self, copy: str, text: str) -> None:
        """On the guest's serial line, which stays open: when it hangs up, QEMU forgets what it has not read."""
        if copy not in self._lines:
            self._lines[copy] = socket.socket(socket.AF_UNIX)
            self._lines[copy].connect(str(self.hypervisor.files(copy).console))
        self._lines[copy].sendall(text.encode())
        await asyncio.sleep(0.2)  # it begins to do it


class QemuRig:
    """The real leg of the Hypervisor contract; see ``tests.contract.hypervisor_rig`` for what is
    promised.
    """

    kind = "qemu"

    def __init__(self, nodes: tuple[QemuNode, ...], disk: Path, scope: TaskScope) -> None:
        self.nodes = nodes
        self.disk = disk
        self.scope = scope
        self._proxy: Proxy | None = None

    def spec(self, **changes: Any) -> MachineSpec:
        disk = Disk("root", str(self.disk), format="raw", boot_order=1)
        return replace(SPEC, **{"disks": (disk,), **changes})

    def _node(self, copy: str) -> QemuNode:
        return next(node for node in self.nodes if node.serial(copy) or node.has(copy))

    # --- guests ---

    async def booted(self, copy: str) -> None:
        node = self._node(copy)
        await until(lambda: len(node.counters(copy)) > 1, f"{copy} boots")

    async def runs(self, copy: str) -> bool:
        node = self._node(copy)
        before = len(node.counters(copy))
        await asyncio.sleep(0.4)
        end_s = time.monotonic() + STANDS_S
        while len(node.counters(copy)) == before and time.monotonic() < end_s:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return len(node.counters(copy)) > before

    async def guest(self, copy: str, act: str) -> None:
        letters = {"reset": "r", "poweroff": "p", "panic": "x", "dirty": "d"}
        await self._node(copy).type(copy, letters[act])

    async def crash(self, copy: str) -> None:
        os.kill((await self._node(copy).spawner.children())[copy], signal.SIGABRT)

    # --- the wire ---

    def wire(self, listener: Listener) -> tuple[str, int]:
        self._proxy = Proxy(self.scope, listener)
        self._proxy.open()
        return "127.0.0.1", self._proxy.port

    @property
    def proxy(self) -> Proxy:
        assert self._proxy is not None, "no wire yet"
        return self._proxy

    def cut(self) -> None:
        self.proxy.up = False

    def heal(self) -> None:
        self.proxy.up = True

    def slow(self, bytes_per_second: float) -> None:
        self.proxy.bytes_per_second = bytes_per_second

    def swallow_last_word(self) -> None:
        self.proxy.swallows_last_word = True

    def hold_last_word(self) -> None:
        self.proxy.holds_last_word = True


@contextlib.asynccontextmanager
async def qemu_rig(count: int = 2) -> AsyncIterator[QemuRig]:
    """Start nodes; end everything."""
    base = Path(tempfile.mkdtemp(prefix="drv", dir="/tmp"))  # short: sockets have 107 characters
    base.chmod(0o711)  # QEMUs have users of their own
    certificates = Certificates("migration")
    nodes: list[QemuNode] = []
    async with TaskScope("rig") as scope:
        try:
            for number in range(1, count + 1):
                root = base / f"n{number}"
                certificates.write(root / "tls", f"node-{number}")
                command = [*nodeinit.COMMAND, str(root / "init")]
                process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
                user = QEMU_USER + 1000 * number if os.geteuid() == 0 else 0
                nodes.append(QemuNode(f"node-{number}", root, process, user))
            for node in nodes:
                await until((node.root / "init").exists, "nodeinit listens")
                trouble = await node.hypervisor.open()
                assert not user or not trouble, trouble
            disk = base / "disk.raw"
            guest.write_disk(disk)
            yield QemuRig(tuple(nodes), disk, scope)
        finally:
            for node in nodes:
                await node.aclose()
            shutil.rmtree(base)

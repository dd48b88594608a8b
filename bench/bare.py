"""The yardstick of a migration: two QEMUs and a QMP script, between the same nodes' namespaces, with the same TLS.

The command line is the one that the agent uses. A move starts the target's QEMU, connects to its monitor, sends the
memory, lets the guest go on and ends the source: what has to be done in any case, and nothing else. The taps are there
beforehand. Nobody makes sure that the guest does not run twice; that is what is compared against.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from qemu.qmp import EventListener, QMPClient, QMPError

from drover.agent.ports import Disk, MachineSpec
from drover.agent.qemu import commandline
from drover.agent.qemu.files import CopyFiles
from drover.agent.qemu.settings import Bundle, QemuSettings
from drover.agent.seeds import NoCloudSeeds

COPY = "bare"
TAP = "tapbench"
DOWNTIME_LIMIT_MS = 10
BANDWIDTH = 640 * 2**20
START_LIMIT_S = 30.0
MOVE_LIMIT_S = 120.0
QUIT_LIMIT_S = 10.0
FIRST_PORT = 49300


@dataclass(frozen=True)
class BareNode:
    """One node of the lab, as this script needs it."""

    name: str
    address: str
    init_pid: int
    tls_dir: Path

    def run(self, *command: str) -> None:
        inside = ["nsenter", "-t", str(self.init_pid), "-n", *command]
        subprocess.run(inside, check=True, capture_output=True)

    def add_tap(self) -> None:
        self.run("ip", "tuntap", "add", TAP, "mode", "tap")
        self.run("ip", "link", "set", TAP, "master", "br0", "up")

    def remove_tap(self) -> None:
        self.run("ip", "link", "delete", TAP)


@dataclass(frozen=True)
class Size:
    """A guest's memory, and how much of it holds noise that somebody wrote; both MiB."""

    memory_mib: int = 192
    written_mib: int = 0

    def __str__(self) -> str:
        return f"a guest of {self.memory_mib} MiB, {self.written_mib} MiB of it written"

    @property
    def script(self) -> str:
        """User data: the guest answers no ping before all is written. What is freed again keeps its noise."""
        if not self.written_mib:
            return ""
        return (
            f"ip link set eth0 down\nguest-tool dirty {self.written_mib} 1 1\nip link set eth0 up\n"
        )


SMALL = Size()


class BareGuest:
    """A guest that is moved by hand."""

    def __init__(
        self, directory: Path, qemu: str, disk: Path, address: str, gateway: str,
        size: Size = SMALL,
    ) -> None:  # fmt: skip
        self.address = address
        self._script = size.script
        self._directory = directory
        self._qemu = qemu
        self._spec = MachineSpec(
            vm="bench/bare",
            vm_uid="6a7e7d60-0000-4000-8000-0000000bea7e",
            cores=1,
            memory_bytes=size.memory_mib * 2**20,
            mac="02:00:00:0b:ea:7e",
            ip=address,
            gateway=gateway,
            prefix=24,
            disks=(Disk("root", str(disk), "qcow2", boot_order=1),),
            display=True,  # as every VM has one
        )
        self._moves = 0
        self._started: list[subprocess.Popen[bytes]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._monitor: QMPClient | None = None

    async def boot(self, node: BareNode) -> None:
        """Cold start, with its address set by user data."""
        script = f"#!/bin/sh\nip addr add {self.address}/24 dev eth0\n{self._script}"
        seed = await NoCloudSeeds(self._directory).write("seed", self._spec, script.encode())
        disks = (*self._spec.disks, seed)
        self._spec = MachineSpec(**{**self._spec.__dict__, "disks": disks})
        self._process, self._monitor = await self._start(node, incoming=False)
        await self._monitor.execute("cont")

    async def _start(
        self, node: BareNode, incoming: bool
    ) -> tuple[subprocess.Popen[bytes], QMPClient]:
        self._moves += 1
        files = CopyFiles(self._directory / f"r{self._moves}", self._directory / f"l{self._moves}")
        files.make(self._spec)
        settings = QemuSettings(
            self._directory,
            self._directory,
            node.tls_dir,
            node.address,
            bundles={"": Bundle(self._qemu)},
            netdev=_tap,
        )
        argv = commandline.build(COPY, self._spec, files, settings, incoming)
        inside = ["nsenter", "-t", str(node.init_pid), "-n", "nice", "-n", "10", *argv]
        with files.qemu_log.open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on this loop
                inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._started.append(process)
        return process, await _connect(files.monitor, process)

    async def move(self, source: BareNode, target: BareNode) -> tuple[float, float]:
        """(seconds in all, QEMU's downtime in ms)."""
        began = time.monotonic()
        process, there = await self._start(target, incoming=True)
        here, old = self._monitor, self._process
        assert here is not None
        assert old is not None
        port = FIRST_PORT + self._moves
        await _tls(there, "server", target.tls_dir, {})
        await _capabilities(there)
        await there.execute("migrate-incoming", {"uri": f"tcp:{target.address}:{port}"})
        await _tls(here, "client", source.tls_dir, {"tls-hostname": target.name})
        await _capabilities(here)
        limits = {"downtime-limit": DOWNTIME_LIMIT_MS, "max-bandwidth": BANDWIDTH}
        await here.execute("migrate-set-parameters", limits)
        with here.listener("MIGRATION") as sent, there.listener("MIGRATION") as arrived:
            await here.execute("migrate", {"uri": f"tcp:{target.address}:{port}"})
            async with asyncio.timeout(MOVE_LIMIT_S):
                await _completed(sent)
                await _completed(arrived)
        await there.execute("cont")
        took = time.monotonic() - began
        downtime = (await here.execute("query-migrate"))["downtime"]
        await _quit(here, old)
        self._process, self._monitor = process, there
        return took, float(downtime)

    async def end(self) -> None:
        if self._monitor is not None and self._process is not None:
            await _quit(self._monitor, self._process)
        for process in self._started:  # after a failed move there are two
            if process.poll() is None:
                process.kill()
                process.wait()


def _tap(copy: str) -> dict[str, object]:
    return {"type": "tap", "ifname": TAP, "script": "no", "downscript": "no"}


async def _connect(path: Path, process: subprocess.Popen[bytes]) -> QMPClient:
    end = time.monotonic() + START_LIMIT_S
    while True:
        client = QMPClient("bare")
        try:
            await client.connect(str(path))
        except Exception:
            if process.poll() is not None or time.monotonic() > end:
                raise
            await asyncio.sleep(0.005)
        else:
            return client


async def _tls(monitor: QMPClient, endpoint: str, directory: Path, more: dict[str, str]) -> None:
    name = f"tls-{endpoint}"
    credentials = {"qom-type": "tls-creds-x509", "id": name, "endpoint": endpoint}
    known = await monitor.execute("qom-list", {"path": "/objects"})
    if not any(entry["name"] == name for entry in known):
        await monitor.execute(
            "object-add", {**credentials, "dir": str(directory), "verify-peer": True}
        )
    await monitor.execute("migrate-set-parameters", {"tls-creds": name, **more})


async def _capabilities(monitor: QMPClient) -> None:
    wanted = [{"capability": name, "state": True} for name in ("return-path", "events")]
    await monitor.execute("migrate-set-capabilities", {"capabilities": wanted})


async def _completed(events: EventListener) -> None:
    async for event in events:
        status = event["data"]["status"]
        if status == "completed":
            return
        if status in ("failed", "cancelled"):
            raise RuntimeError(f"the bare migration: {json.dumps(event)}")


async def _quit(monitor: QMPClient, process: subprocess.Popen[bytes]) -> None:
    gone = (QMPError, OSError, EOFError)  # QEMU may be faster, and hang up
    with contextlib.suppress(*gone):
        await monitor.execute("quit")
    with contextlib.suppress(*gone):
        await monitor.disconnect()  # however that ended: the client's tasks hold what they died of
    try:
        process.wait(timeout=QUIT_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

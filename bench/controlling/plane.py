"""The control plane that is measured: the engine's own processes, and our controllers in one of theirs.

What a process costs is read from /proc: CPU time since it began, and its memory by pages that are its own and its part
of those it shares (PSS).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.support.engine import ADMIN, Engine

from drover.api import names
from drover.base.clock import RealClock
from drover.runtime.client import Client
from drover.runtime.http_transport import HttpTransport
from drover.server.bootstrap import ensure_module_config, ensure_node_group, upsert
from drover.server.webhooks import configuration

_TICKS = os.sysconf("SC_CLK_TCK")
NODE_GRACE_S = (
    40  # as Kubernetes has it: a machine that is too small for the load shall not lose nodes by it
)


@dataclass(frozen=True)
class Cost:
    """Of one process, so far."""

    cpu_s: float
    memory_mib: float


def cost(pid: int) -> Cost:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return Cost(cpu_s, kib / 1024)


class Plane:
    """Use between ``start`` and ``stop``. ``code`` is the tree that the controllers are run from."""

    def __init__(self, directory: Path, code: Path) -> None:
        self.directory = directory
        self.engine = Engine(Path(os.environ["DROVER_ENGINE"]), directory, NODE_GRACE_S)
        self._code = code
        self._controllers: subprocess.Popen[bytes] | None = None
        self._lives = 0
        self._port = _free_port()

    def start(self) -> None:
        try:
            self.engine.start()
        except BaseException as error:
            error.add_note(self.engine.logs())
            raise

    def stop(self) -> None:
        self.stop_controllers()
        self.engine.stop()

    async def furnish(self, client: Client) -> None:
        """What an installation brings along besides the manifests."""
        await ensure_module_config(client)
        await ensure_node_group(client)
        url = f"https://127.0.0.1:{self._port}"
        await upsert(client, configuration(url, self.engine.ca.read_bytes()))

    def start_controllers(self, profile: str = "") -> None:
        """``profile``: a file for cProfile, which makes them slow."""
        self._lives += 1
        tool = ["-m", "cProfile", "-o", profile] if profile else []
        argv = [sys.executable, *tool, "-m", "drover.controllers.main", "--config", self._config()]
        env = {**os.environ, "PYTHONPATH": str(self._code / "src")}
        with (self.directory / f"controllers-{self._lives}.out").open("wb") as log:
            self._controllers = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env
            )

    def stop_controllers(self) -> None:
        if self._controllers is not None:
            self._controllers.terminate()
            self._controllers.wait()
            self._controllers = None

    def controllers(self) -> int:
        """Their pid. Raises RuntimeError when they have ended."""
        running = self._controllers
        if running is None or running.poll() is not None:
            raise RuntimeError(f"the controllers have ended: see {self.directory}")
        return running.pid

    def costs(self) -> dict[str, Cost]:
        pids = {"controllers": self.controllers(), **self.engine.pids()}
        return {part: cost(pid) for part, pid in pids.items()}

    def _config(self) -> str:
        cert, key = self.engine.files(names.CONTROLLERS_USER, (names.CONTROLLERS_USER,))
        hook_cert, hook_key = self.engine.files("webhook", server="127.0.0.1")
        disks, images = self.directory / "disks", self.directory / "images"
        for made in (disks, images):
            made.mkdir(exist_ok=True)
        config = {
            "api_server": self.engine.server,
            "ca_file": str(self.engine.ca),
            "client_cert_file": str(cert),
            "client_key_file": str(key),
            "disks_dir": str(disks),
            "images_dir": str(images),
            "vm_cidr": "10.64.0.0/14",
            "vm_first": "10.64.0.10",
            "vm_last": "10.67.200.250",
            "vm_gateway": "10.67.255.254",
            "webhook_address": "127.0.0.1",
            "webhook_port": self._port,
            "webhook_cert_file": str(hook_cert),
            "webhook_key_file": str(hook_key),
        }
        path = self.directory / "controllers.json"
        path.write_text(json.dumps(config))
        return str(path)

    async def admin(self) -> HttpTransport:
        return await self.engine.access(*ADMIN).transport(RealClock())

    async def page(self, server: str, path: str) -> str:
        """A page of text, such as metrics, read as the administrator; empty when there is none."""
        tls = self.engine.access(*ADMIN).tls()
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(server + path, ssl=tls) as answer:
                    return await answer.text() if answer.status == 200 else ""
            except aiohttp.ClientError:
                return ""

    async def metrics(self) -> str:
        """Of the controllers."""
        return await self.page(f"https://127.0.0.1:{self._port}", "/metrics")

    async def etcd_mib(self) -> tuple[float, float]:
        """Size of etcd's file, and what of it is in use."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.engine.etcd}/v3/maintenance/status", json={}) as answer,
        ):
            said = await answer.json()
        return int(said["dbSize"]) / 2**20, int(said["dbSizeInUse"]) / 2**20

    async def quiet(self, limit_s: float, most: float = 0.3, every_s: float = 3.0) -> float:
        """Wait until the controllers take less than ``most`` cores; the seconds it took."""
        waited_s, before = 0.0, cost(self.controllers()).cpu_s
        while waited_s < limit_s:
            await asyncio.sleep(every_s)
            waited_s += every_s
            now = cost(self.controllers()).cpu_s
            if now - before < most * every_s:
                break
            before = now
        return waited_s


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])

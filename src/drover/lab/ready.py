"""The last step of ``up``: wait until the lab serves, and give the API server what it needs.

Apart from ``start``, because it needs the HTTP client, whose import takes as long as starting all processes: it is
imported while they are coming up.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from drover.base import config_file
from drover.base.clock import Clock, RealClock
from drover.controllers.config import ControllersConfig
from drover.lab.errors import LabError
from drover.lab.home import Home
from drover.lab.start import builtin_image
from drover.runtime import kubeconfig
from drover.runtime.client import Client
from drover.server import bootstrap
from drover.server.errors import ControlPlaneError
from drover.server.webhooks import ensure_webhooks

if TYPE_CHECKING:
    from drover.lab.lab import Progress

_API_LIMIT_S = 60.0
_NODES_LIMIT_S = 60.0
_CONTROLLERS_LIMIT_S = 30.0
_POLL_S = 0.1
_HOPELESS_ENDS = 4


class CrashWatch:
    """Notices a part of the control plane that ends again and again, by the supervisor's log."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._log = home.logs / "supervisor.log"
        self._begin = self._log.stat().st_size if self._log.exists() else 0

    def check(self) -> None:
        """Raises LabError with the part's last words."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._begin)
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return
        ended = [line.split()[1] for line in lines if " ended with " in line]
        for part in ("etcd", "apiserver", "controllers"):
            if ended.count(part) >= _HOPELESS_ENDS:
                words = _last_line(self._home.logs / f"{part}.log")
                raise LabError(f"{part} does not start: {words}")


def _last_line(log: Path, but_of: str = "") -> str:
    """The last words of a process; ``but_of``: not those of the one that shares its log and outlives it."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    words = [line for line in lines if not but_of or but_of not in line]
    return words[-1][:300] if words else "it says nothing"


async def wait_ready(home: Home, nodes: list[str], image: Path | None, progress: Progress) -> None:
    """API server, kinds, built-in image, nodes; in the order in which they can be had."""
    clock = RealClock()
    since_s = clock.wall()
    transport = await kubeconfig.load(home.kubeconfig).transport(clock)
    try:
        client = Client(transport)
        watch = CrashWatch(home)
        await bootstrap.wait_api(transport, clock, _API_LIMIT_S, watch.check)
        progress("control plane", "ready")
        changed = await bootstrap.apply_manifests(client, clock)
        if changed:
            await bootstrap.ensure_module_config(client)
            await bootstrap.ensure_node_group(client)
        home.manifests_applied.touch()
        progress("kinds and policies", "applied" if changed else "unchanged")
        await ensure_webhooks(client, home.path / "controllers.json")
        if image is not None:
            await bootstrap.ensure_builtin_image(client, builtin_image(home))
        await bootstrap.wait_service_account(client, clock, _API_LIMIT_S)
        await bootstrap.wait_nodes(
            client,
            clock,
            nodes,
            since_s,
            ready=lambda node: progress(node, "ready"),
            last_words=lambda node: _last_line(home.logs / f"{node}.log", '"room": "nodeinit"'),
            limit_s=_NODES_LIMIT_S,
        )
        await _wait_controllers(home, clock, watch)
        progress("controllers", "ready")
    except ControlPlaneError as error:
        raise LabError(f"{error}. The logs are in {home.logs}") from error
    finally:
        await transport.aclose()


async def _wait_controllers(home: Home, clock: Clock, watch: CrashWatch) -> None:
    """Until their webhook takes connections: without them a lab has Ready nodes and does nothing."""
    config = config_file.load(home.path / "controllers.json", ControllersConfig)
    end_s = clock.monotonic() + _CONTROLLERS_LIMIT_S
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(config.webhook_address, config.webhook_port)
            writer.close()
            return
        watch.check()
        if clock.monotonic() > end_s:
            raise LabError(
                f"the controllers do not serve after {_CONTROLLERS_LIMIT_S:.0f} s: "
                f"{_last_line(home.logs / 'controllers.log')}"
            )
        await clock.sleep(_POLL_S)

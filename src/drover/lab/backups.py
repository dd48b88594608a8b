"""Backup and restore of a lab: its control plane alone goes back to the past, while nodes and guests go on.

That is the case that matters: who runs what is settled by what the nodes report, not by what the backup says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from drover.api import names, scheme
from drover.api.status import ApiError, NotFound, Unanswered
from drover.base import config_file
from drover.base.clock import Clock, RealClock
from drover.controllers.config import ControllersConfig
from drover.controllers.restoring.restorer import DONE, NOTE
from drover.lab import processes, start
from drover.lab.errors import LabError
from drover.lab.lab import Lab, Progress
from drover.lab.processes import CONTROL_PLANE, SWITCH
from drover.runtime import kubeconfig
from drover.runtime.client import Client
from drover.server import backup
from drover.server.backup import About, Wanted
from drover.server.config import Declared, with_declared
from drover.server.etcd import Etcd

_STOP_S = 6.0
_SETTLED_LIMIT_S = 150.0  # a guest that has moved since the backup is shut down first
_POLL_S = 0.3


def save(lab: Lab, engine: Path, nodes: Sequence[str], now: str, target: Path) -> About:
    """``nodes`` are all that the API knows. Raises LabError, ControlPlaneError, OSError."""
    found, plane = lab.require_running(), lab.home.plane(lab.settings())
    enter = ("nsenter", "-t", str(found[CONTROL_PLANE]), "-n")
    return backup.save(plane, Etcd(engine, plane, enter=enter), nodes, now, target)


def restore(
    lab: Lab,
    engine: Path,
    source: Path,
    nodes: Sequence[str],
    off: Sequence[str],
    progress: Progress,
) -> Declared:
    """Stop the control plane, if it runs, go back, and start it again. Raises LabError, ControlPlaneError."""
    from drover.lab.ready import wait_ready

    home = lab.home
    with home.locked("restore"):
        settings = lab.settings()
        plane = home.plane(settings)
        unpacked = backup.unpack(source, home.run)
        found = processes.inits(lab.lab_id)
        runs = CONTROL_PLANE in found
        if runs:
            processes.terminate_part(lab.lab_id, CONTROL_PLANE, _STOP_S)
            progress("control plane", "stopped; nodes and guests go on")
        try:
            own = {plane.name: "127.0.0.1"}
            known = (*settings.node_names, *nodes)
            declared = backup.restore(plane, engine, unpacked, Wanted(own, known, tuple(off)))
            progress("etcd", f"is that of {unpacked.about.made}, {unpacked.about.keys} keys")
            config = config_file.load(plane.controllers_file, ControllersConfig)
            config_file.save(plane.controllers_file, with_declared(config, plane))
        finally:
            unpacked.snapshot.unlink(missing_ok=True)
            if runs:
                start.start_control_plane(home, settings, found[SWITCH])
        if runs:
            left = [
                name for name in settings.node_names if lab.node_state(name, found) == "Running"
            ]
            asyncio.run(wait_ready(home, left, None, progress))
            asyncio.run(_wait_settled(lab, declared.id, progress))
    return declared


async def _wait_settled(lab: Lab, restore_id: str, progress: Progress) -> None:
    """Raises LabError that names for whom the controllers wait."""
    clock: Clock = RealClock()
    transport = await kubeconfig.load(lab.home.kubeconfig).transport(clock)
    limit_s, waits = clock.monotonic() + _SETTLED_LIMIT_S, "the controllers"
    try:
        client = Client(transport)
        while clock.monotonic() < limit_s:
            note = await _note(client)
            if note.get("id") == restore_id:
                if note.get("state") == DONE:
                    progress("restore", "settled: every VM runs once, and where its node says")
                    return
                waits = note.get("waits") or waits
            await clock.sleep(_POLL_S)
    finally:
        await transport.aclose()
    raise LabError(
        f"after the restore nothing is decided yet: the controllers wait for {waits}. Bring a node that is lost "
        "back, or say that it is off by `drover fence confirm`"
    )


async def _note(client: Client) -> dict[str, str]:
    try:
        found = await client.get(scheme.CONFIGMAP, NOTE, names.SYSTEM_NAMESPACE)
    except (NotFound, ApiError, Unanswered):
        return {}
    return dict(found.get("data") or {})

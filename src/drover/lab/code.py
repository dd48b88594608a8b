"""Which code the processes of a lab run. ``up`` on a lab that runs older code starts its controllers and agents anew,
after kinds and policies are renewed: the old ones may lack what the new rules ask for. Guests go on, as after any
crash of an agent.

Not renewed before the next ``down`` and ``up``: the control plane's supervisor, and each node's first process, which is
the QEMUs' parent. A lab runs the checkout that it was started from; ``up`` from another one only says so.
"""

from __future__ import annotations

import hashlib
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from drover.lab import processes
from drover.lab.errors import LabError

if TYPE_CHECKING:
    from drover.lab.home import Home, Settings
    from drover.lab.lab import Progress

SOURCE = Path(__file__).resolve().parents[2]
_RENEWED = ("controllers", "page")  # of the control plane
_BACK_LIMIT_S = 30.0
_POLL_S = 0.1


def present() -> dict[str, str]:
    """Where our code is, and the hash of it."""
    digest = hashlib.sha256()
    for file in sorted((SOURCE / "drover").rglob("*.py")):
        digest.update(f"{file.relative_to(SOURCE)}\n".encode() + file.read_bytes())
    return {"source": str(SOURCE), "digest": digest.hexdigest()}


def store(home: Home) -> None:
    """The lab was started by this code."""
    home.code.write_text(json.dumps(present()))


def renew(home: Home, settings: Settings, progress: Progress) -> None:
    """Start anew what runs older code. Raises LabError when it does not come back."""
    now, before = present(), _stored(home)
    if before is None or before["digest"] == now["digest"]:
        return
    if before["source"] != now["source"]:
        progress("code", f"the lab runs that of {before['source']}; `down` and `up` change it")
        return
    progress("code", "has changed: controllers and agents start anew, guests go on")
    old = _running(home.lab_id, settings)
    processes.send(old.values(), signal.SIGKILL)
    _wait_back(home.lab_id, settings, old)
    home.code.write_text(json.dumps(now))


def _stored(home: Home) -> dict[str, str] | None:
    try:
        said = json.loads(home.code.read_text())
        return {"source": str(said["source"]), "digest": str(said["digest"])}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _running(lab: str, settings: Settings) -> dict[str, int]:
    """Controllers and agents by name, but for those that somebody has frozen."""
    found = {node: pid for node in settings.node_names for pid in processes.agents(lab, node)}
    parts = processes.control_plane_parts(lab)
    found |= {name: parts[name] for name in _RENEWED if parts.get(name)}
    return {name: pid for name, pid in found.items() if not processes.stopped(pid)}


def _wait_back(lab: str, settings: Settings, old: dict[str, int]) -> None:
    limit_s = time.monotonic() + _BACK_LIMIT_S
    while True:
        now = _running(lab, settings)
        late = [name for name, pid in old.items() if now.get(name, pid) == pid]
        if not late:
            return
        if time.monotonic() > limit_s:
            raise LabError(f"not started anew after {_BACK_LIMIT_S:.0f} s: {', '.join(late)}")
        time.sleep(_POLL_S)

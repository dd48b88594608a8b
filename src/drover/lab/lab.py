"""A whole lab: up, down, reset, what there is. Everything else in this room is a step of these.

``up`` can be repeated: it starts what is missing and leaves what runs, unless that is older code (``code``). A lab
without its switch is no lab, so what is left of such a one is ended first. ``down`` pulls every plug; disks, images and
the API's data stay in the home.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from drover.lab import cgroups, code, links, processes
from drover.lab.errors import LabDown, LabError
from drover.lab.home import Home, Settings, claim_index, release_index
from drover.lab.processes import CONTROL_PLANE, SWITCH
from drover.lab.topology import MOST_NODES

Progress = Callable[[str, str], None]  # (what, state), for people

DEFAULT_NODES = 3
CONTROL_PLANE_PARTS = ("etcd", "apiserver", "controller-manager", "scheduler", "controllers")
_NODE_STOP_S = 5.0
_CONTROL_PLANE_STOP_S = 6.0


@dataclass(frozen=True)
class PartStatus:
    """One line of ``drover status``."""

    name: str
    state: str  # Running | Isolated | Frozen | Off
    address: str
    pid: int


@dataclass(frozen=True)
class UpOptions:
    """What ``up`` is asked for. ``nodes`` None: as many as before, or three."""

    engine: Path
    nodes: int | None = None
    image: Path | None = None
    accel: str = "tcg"
    qemu: str = "qemu-system-x86_64"
    more_qemus: tuple[str, ...] = ()


class Lab:
    """The lab of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def lab_id(self) -> str:
        return self.home.lab_id

    def settings(self) -> Settings:
        """Raises LabDown when there has never been an ``up``."""
        settings = self.home.settings()
        if settings is None:
            raise LabDown(f"there is no lab in {self.home.path}: `drover up` makes one")
        return settings

    def require_running(self) -> dict[str, int]:
        """The inits of a running lab. Raises LabDown."""
        found = processes.inits(self.lab_id)
        if SWITCH not in found or CONTROL_PLANE not in found:
            raise LabDown(f"the lab in {self.home.path} is not running: start it with `drover up`")
        return found

    def up(self, options: UpOptions, progress: Progress) -> None:
        """Start what is missing and wait until all is ready. Raises LabError.

        What a failed or interrupted ``up`` has begun from nothing it ends again; a lab that ran before goes on.
        """
        from drover.lab import start

        _require_root()
        self.home.check_place()
        with _plain_disk_errors(self.home), self.home.locked("up"):
            settings = self._settle(options.nodes)
            self.home.prepare()
            self.home.store(settings)
            start.write_files(self.home, settings, options, datetime.datetime.now(datetime.UTC))
            if SWITCH not in processes.inits(self.lab_id):
                self._end_all(_silent)  # what is left of a lab that cannot be mended
            fresh = not processes.find(self.lab_id)
            try:
                start.start_parts(self.home, settings, progress)
                from drover.lab.ready import wait_ready

                if fresh:
                    code.store(self.home)
                nodes = self._worth_waiting_for(settings, progress)
                asyncio.run(wait_ready(self.home, nodes, options.image, progress))
                if not fresh:
                    code.renew(self.home, settings, progress)
            except BaseException:
                if fresh:
                    self._end_all(_silent)
                raise

    def down(self, progress: Progress) -> bool:
        """End everything of this lab. True when there was something."""
        _require_root()
        if not self.home.path.exists() and not processes.find(self.lab_id):
            cgroups.sweep_dead(processes.living_labs)
            return False
        with self.home.locked("down"):
            return self._end_all(progress)

    def reset(self, progress: Progress) -> None:
        """``down``, then remove what is ours in the home: VMs, disks, images, settings. Raises LabError when strangers'
        files are left.
        """
        _require_root()
        if not self.home.path.exists():
            cgroups.sweep_dead(processes.living_labs)
            return
        with self.home.locked("reset"):
            self._end_all(progress)
            release_index(self.home)
            left = self.home.remove_contents()
        if left:
            raise LabError(
                f"{self.home.path} is not removed, since it holds files of others: {', '.join(left)}"
            )

    def status(self) -> list[PartStatus]:
        """Parts of the control plane and nodes, as the machine sees them (``k get nodes`` tells the API's view)."""
        settings = self.settings()
        found = processes.inits(self.lab_id)
        topology = settings.topology
        parts = processes.control_plane_parts(self.lab_id) if SWITCH in found else {}
        rows = [
            PartStatus(
                part,
                "Running" if part in parts else "Off",
                topology.control_plane,
                parts.get(part, 0),
            )
            for part in CONTROL_PLANE_PARTS
        ]
        for number, node in enumerate(settings.node_names, start=1):
            state = self.node_state(node, found)
            rows.append(PartStatus(node, state, topology.node_address(number), found.get(node, 0)))
        return rows

    def node_state(self, node: str, found: dict[str, int]) -> str:
        if node not in found or SWITCH not in found:
            return "Off"
        if not links.node_cable_up(found[SWITCH], node):
            return "Isolated"
        agents = processes.agents(self.lab_id, node)
        frozen = bool(agents) and all(processes.stopped(pid) for pid in agents)
        return "Frozen" if frozen else "Running"

    def _settle(self, nodes: int | None) -> Settings:
        """Index and number of nodes for this ``up``; what was settled before stays."""
        wanted = nodes if nodes is not None else DEFAULT_NODES
        if not 1 <= wanted <= MOST_NODES:
            raise LabError(f"--nodes {wanted} is not possible: a lab has 1 to {MOST_NODES} nodes")
        stored = self.home.settings()
        taken = links.taken_indices(self.lab_id)
        if stored is None:
            self.home.require_empty()
            return Settings(claim_index(self.home, taken), wanted)
        if stored.index in taken:
            raise LabError(
                f"this lab's networks ({stored.topology.vm_cidr}, {stored.topology.infra_cidr})"
                f" are in use by something else on this machine: `ip route` shows it; free them, "
                f"or start over with `drover reset`"
            )
        if nodes is not None and nodes < stored.nodes:
            raise LabError(
                f"this lab has {stored.nodes} nodes, --nodes {nodes} would remove some: "
                f"`drover reset` gives up the lab, then choose anew"
            )
        return Settings(stored.index, max(stored.nodes, nodes or 0))

    def _worth_waiting_for(self, settings: Settings, progress: Progress) -> list[str]:
        """Nodes that can become ready; those that somebody has broken on purpose are named."""
        found = processes.inits(self.lab_id)
        mend = {"Isolated": "drover lab rejoin", "Frozen": "drover lab thaw"}
        broken = {}
        for node in settings.node_names:
            state = self.node_state(node, found)
            if state in mend:
                broken[node] = state
                progress(node, f"{state}; `{mend[state]} {node}` mends it")
        return [node for node in settings.node_names if node not in broken]

    def _end_all(self, progress: Progress) -> bool:
        """Control plane first: nobody shall restart elsewhere what the nodes are losing now."""
        parts = processes.find(self.lab_id)
        if CONTROL_PLANE in parts:
            processes.terminate_part(self.lab_id, CONTROL_PLANE, _CONTROL_PLANE_STOP_S)
            progress("control plane", "stopped")
        nodes = sorted(part for part in parts if part not in (CONTROL_PLANE, SWITCH))
        found = processes.inits(self.lab_id)
        firsts = [found[node] for node in nodes if node in found]
        processes.send(processes.members(self.lab_id, nodes), signal.SIGCONT)  # the frozen, too
        processes.send(firsts, signal.SIGTERM)
        processes.wait_gone(firsts, _NODE_STOP_S)
        for node in nodes:
            processes.kill_part(self.lab_id, node)
            progress(node, "stopped")
        processes.kill_part(self.lab_id, SWITCH)
        links.remove_machine_link(self.lab_id)
        cgroups.sweep(self.lab_id)
        cgroups.sweep_dead(processes.living_labs)
        self.home.manifests_applied.unlink(missing_ok=True)
        return bool(parts)


def _silent(_what: str, _state: str) -> None:
    """A Progress that says nothing."""


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError(
            "a lab makes network namespaces and starts QEMUs in them, which needs root: use sudo"
        )


@contextlib.contextmanager
def _plain_disk_errors(home: Home) -> Iterator[None]:
    """Errors of the place where the home is, in words."""
    try:
        yield
    except OSError as error:
        raise LabError(f"{error.filename or home.path}: {error.strerror}") from error

"""A control group for each VM: its share of the CPU and the most memory that its QEMU may take.

    <base>/<name>/vm-<copy>        <name>: drover-NODE, or what the configuration says

``base`` is the agent's own group. On a host that is the service's, which systemd delegates and removes with all that is
in it; the agent and the first process move into ``<base>/host`` beside the VMs, since a group of version 2 holds either
processes or groups. *Free* agents (of a lab) have no service: their groups of version 2 are below the root.

Version 2 is taken where it has both controllers, else version 1 for those it lacks. The VMs of a node together weigh
three quarters of what others do, so that busy guests starve neither the agent nor a control plane beside it, and a
multiple of it for the half second after one of them is let go on (``favour``). Among each other they weigh what their
Pods ask for. A VM may use its cores and one more, for what QEMU does besides (copying a guest); and as much memory as
its Pod asks for: a QEMU that wants more is killed by the kernel, and only it.

Errors are HostErrors. Not promised: a QEMU that an agent without groups started stays where it is until it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from drover.agent.ports import Share, host_errors

CPU, MEMORY = "cpu", "memory"
_PERIOD_US = 100_000
_EMULATOR_CORES = 1
_OF_ALL_VMS = {"cpu.shares": "768", "cpu.weight": "75"}  # of 1024, of 100
_FAVOURED = {"cpu.shares": "8192", "cpu.weight": "800"}
_FAVOURED_S = 0.5
_PREFIX = "vm-"
_HOST = "host"
_TASKS = "cgroup.procs"


@dataclass(frozen=True)
class Place:
    """Where groups of some controllers are made. ``unified``: version 2."""

    base: Path
    controllers: frozenset[str]
    unified: bool


def shares(cpu_milli: int) -> int:
    """Of version 1: as the kubelet gives them to a Pod of that request."""
    return min(max(cpu_milli * 1024 // 1000, 2), 262_144)


def weight(cpu_milli: int) -> int:
    """Of version 2: as the kubelet gives them to a Pod of that request."""
    return 1 + (shares(cpu_milli) - 2) * 9999 // 262_142


def settings_of(share: Share, place: Place) -> dict[str, str]:
    """What is written into the group of one VM, by file."""
    quota = (share.cores + _EMULATOR_CORES) * _PERIOD_US
    if place.unified:
        found = {
            CPU: {"cpu.weight": str(weight(share.cpu_milli)), "cpu.max": f"{quota} {_PERIOD_US}"},
            MEMORY: {"memory.max": str(share.memory_bytes)},
        }
    else:
        found = {
            CPU: {
                "cpu.shares": str(shares(share.cpu_milli)),
                "cpu.cfs_period_us": str(_PERIOD_US),
                "cpu.cfs_quota_us": str(quota),
            },
            MEMORY: {"memory.limit_in_bytes": str(share.memory_bytes)},
        }
    return {
        file: value for name in sorted(place.controllers) for file, value in found[name].items()
    }


def _told(mount: Path) -> list[str]:
    try:
        return (mount / "cgroup.controllers").read_text().split()
    except OSError:
        return []


def find(
    free: bool, mounts: str, own: str, told: Callable[[Path], Collection[str]] = _told
) -> list[Place]:
    """Where this process may make groups. ``mounts``: /proc/self/mountinfo; ``own``: /proc/self/cgroup; ``told``: the
    controllers of a mount of version 2.
    """
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    first: dict[str, Path] = {}
    places = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, at = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            here = frozenset((CPU, MEMORY)).intersection(told(Path(at)))
            base = Path(at) if free else _unless_host(_below(Path(at), root, paths.get("", "/")))
            if here:
                places.append(Place(base, here, unified=True))
        elif kind == "cgroup":
            for controller in {CPU, MEMORY}.intersection(options.split(",")):
                first[controller] = _below(Path(at), root, paths.get(controller, "/"))
    taken = {controller for place in places for controller in place.controllers}
    for controller, base in sorted(first.items()):
        if controller not in taken:
            places.append(Place(base, frozenset((controller,)), unified=False))
    return places


def _below(mount: Path, root: str, path: str) -> Path:
    """``path`` of a process as seen below a mount of ``root``."""
    inside = path.removeprefix(root) if root != "/" else path
    return mount / inside.strip("/")


def _unless_host(base: Path) -> Path:
    """The agent may have been moved by an earlier one."""
    return base.parent if base.name == _HOST else base


class Groups:
    """All VMs' groups of one node. ``trouble``: why there are none, or not all; for people."""

    def __init__(self, places: list[Place], name: str, free: bool) -> None:
        self._places = places
        self._name = name
        self._free = free
        self._settling: asyncio.TimerHandle | None = None
        self.trouble = ""

    @classmethod
    def of_this_process(cls, name: str, free: bool) -> Groups:
        mounts = Path("/proc/self/mountinfo").read_text()
        return cls(find(free, mounts, Path("/proc/self/cgroup").read_text()), name, free)

    def open(self, host: Collection[int]) -> None:
        """Make the parents; ``host``: pids of ours, which must not stand in the way: the first process, the agent, and
        QEMUs that were started without groups. Sets ``trouble``."""
        missing = {CPU, MEMORY}
        why = "not mounted"
        usable = []
        for place in self._places:
            try:
                self._make_parent(place, host)
            except OSError as error:
                why = f"{error.filename}: {error.strerror}"
            else:
                usable.append(place)
                missing -= place.controllers
        self._places = usable
        if missing:
            self.trouble = (
                f"VMs have no control group for {' and '.join(sorted(missing))} ({why}): a service needs "
                "Delegate=yes, a container its cgroups writable"
            )

    def _parent(self, place: Place) -> Path:
        return place.base / self._name

    def _make_parent(self, place: Place, host: Collection[int]) -> None:
        parent = self._parent(place)
        if place.unified:
            if not self._free:
                leaf = place.base / _HOST
                leaf.mkdir(exist_ok=True)
                here = (place.base / _TASKS).read_text().split()
                for pid in here:
                    if int(pid) in host:
                        (leaf / _TASKS).write_text(pid)
            parent.mkdir(exist_ok=True)
            wanted = " ".join(f"+{name}" for name in sorted(place.controllers))
            for directory in (place.base, parent):
                (directory / "cgroup.subtree_control").write_text(wanted)
        else:
            parent.mkdir(exist_ok=True)
        self._weigh(place, _OF_ALL_VMS)

    def favour(self) -> None:
        """For a guest that is let go on: it stood still, and its peers wait for it; just then a control plane on the
        same host is busy telling so (docs/figures.md has what it is worth). An agent that dies meanwhile weighs anew
        when it opens.
        """
        self._weigh_all(_FAVOURED)
        self._settle_later()

    def _settle_later(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
        self._settling = asyncio.get_running_loop().call_later(_FAVOURED_S, self._settle)

    def _settle(self) -> None:
        if not self._weigh_all(_OF_ALL_VMS):
            self._settle_later()

    def _weigh_all(self, weights: Mapping[str, str]) -> bool:
        """Whether it is so now; also where a parent was swept by one who did not see our processes."""
        try:
            for place in self._places:
                self._weigh(place, weights)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _weigh(self, place: Place, weights: Mapping[str, str]) -> None:
        if CPU in place.controllers:
            file = "cpu.weight" if place.unified else "cpu.shares"
            (self._parent(place) / file).write_text(weights[file])

    def make(self, copy: str, share: Share) -> list[str]:
        """The group of one copy; the files by which a process joins it. Raises HostError."""
        joins = []
        with host_errors("the control group of a VM cannot be made"):
            for place in self._places:
                if not self._parent(place).is_dir():  # swept by one who did not see our processes
                    self._make_parent(place, ())
                group = self._parent(place) / (_PREFIX + copy)
                group.mkdir(exist_ok=True)
                for file, value in settings_of(share, place).items():
                    (group / file).write_text(value)
                joins.append(str(group / _TASKS))
        return joins

    def remove(self, copy: str) -> None:
        """Idempotent; a group with processes stays."""
        for place in self._places:
            with contextlib.suppress(OSError):
                os.rmdir(self._parent(place) / (_PREFIX + copy))

    def sweep(self, living: Collection[str]) -> None:
        """Remove what a former life of the node left."""
        for place in self._places:
            for group in self._parent(place).glob(_PREFIX + "*"):
                if group.name.removeprefix(_PREFIX) not in living:
                    self.remove(group.name.removeprefix(_PREFIX))

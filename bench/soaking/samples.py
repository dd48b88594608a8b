"""What a lab has and uses, read from the machine: processes, open files, namespaces, links, mounts, memory, disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.soaking.checkers import Course, Stock
from drover.lab import processes
from drover.lab.lab import Lab

_OURS = ("controllers.", "agent.", "server.", "lab.", "drover-")
_NAMESPACES = ("net", "mnt", "pid", "uts")


def kind_of(part: str, pid: int) -> str:
    """What a process of the lab is; nodes are alike."""
    words = processes.command_line(pid)
    place = part if part in (processes.CONTROL_PLANE, processes.SWITCH) else "node"
    if len(words) > 2 and words[1] == "-m":
        return f"{place} {words[2].removeprefix('drover.')}"
    if len(words) > 1 and words[0].endswith("/kube"):
        return f"{place} {words[1]}"
    name = Path(words[0]).name if words else "?"
    return f"{place} {'qemu' if name.startswith('qemu') else name}"


def _living(lab: Lab) -> Iterator[tuple[str, int]]:
    for part, pids in processes.find(lab.lab_id).items():
        for pid in pids:
            yield kind_of(part, pid), pid


def stock(lab: Lab) -> Stock:
    """Of a lab at rest; what ends meanwhile is left out."""
    kinds: Counter[str] = Counter()
    fds: dict[str, int] = {}
    spaces: set[str] = set()
    links: dict[str, int] = {}
    mounts: dict[str, int] = {}
    for kind, pid in _living(lab):
        home = Path(f"/proc/{pid}")
        try:
            kinds[kind] += 1
            fds[kind] = max(fds.get(kind, 0), len(os.listdir(home / "fd")))
            mine = {name: os.readlink(home / "ns" / name) for name in _NAMESPACES}
            spaces.update(mine.values())
            links[mine["net"]] = len((home / "net/dev").read_text().splitlines())
            mounts[mine["mnt"]] = len((home / "mounts").read_text().splitlines())
        except OSError:
            continue
    return Stock(dict(kinds), fds, len(spaces), sum(links.values()), sum(mounts.values()))


class Courses:
    """The memory of every process of our own code, as time goes on."""

    def __init__(self) -> None:
        self._of: dict[int, Course] = {}

    def look(self, lab: Lab, at_s: float) -> None:
        for kind, pid in _living(lab):
            if not kind.rpartition(" ")[2].startswith(_OURS):
                continue
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            kib = next((int(x.split()[1]) for x in lines if x.startswith("Pss:")), 0)
            course = self._of.setdefault(pid, Course(f"{kind} ({pid})"))
            course.at_s.append(at_s)
            course.mib.append(kib / 1024)

    def all(self) -> list[Course]:
        return sorted(self._of.values(), key=lambda course: course.name)


def disk_mib(path: Path) -> float:
    """What is allocated below it."""
    blocks = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                blocks += (Path(directory) / name).lstat().st_blocks
            except OSError:
                continue
    return blocks * 512 / 2**20

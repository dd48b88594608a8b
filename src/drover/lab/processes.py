"""The living processes of a lab: start them in namespaces of their own, find them, end them.

They are found by a mark in their environment (``DROVER_LAB_PART=<lab id>/<part>``) that all descendants inherit, never
by a stored pid: nothing is stale after a reboot, a pid in use by a stranger is never mistaken for ours, and what a
killed ``up`` left is found too. The *init* of a part is the process that is PID 1 of its namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drover.lab.errors import LabError

MARK = "DROVER_LAB_PART"
NODE_RUN = "/run/drover"  # in a node's own /run
NODE_QEMUS = "/run/qemus"  # there, too: further QEMUs, where every user of the node finds them
SWITCH = "switch"
CONTROLLERS_MODULE = "drover.controllers.main"
PAGE_MODULE = "drover.web.main"
AGENT_MODULE = "drover.agent.main"
CONTROL_PLANE = "control-plane"
_LAUNCH = Path(__file__).with_name("launch.py")
_GONE_LIMIT_S = 10.0
_GUEST = re.compile(r"guest=([^,]+),")
# Of a QEMU that opens its files by name, or that is handed them.
_COPY = re.compile(rf"(?:socket,id=mon0,path=|fd=.*,opaque=append:){NODE_RUN}/copies/([^/,]+)/")


@dataclass(frozen=True)
class Program:
    """What to start. ``tmpfs`` are mounted, ``directories`` made and ``binds`` (what, where) seen in its own mount
    namespace."""

    part: str
    argv: tuple[str, ...]
    log: Path
    namespaces: tuple[str, ...] = ("net", "pid", "mnt", "uts")
    hostname: str = ""
    tmpfs: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    binds: tuple[tuple[str, str], ...] = ()
    machine_netns: bool = False
    autogroup_nice: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    program: str = ""  # the file to execute, when it is not argv[0]


@contextlib.contextmanager
def launch(lab: str, program: Program) -> Iterator[int]:
    """Start ``program`` detached. Within the block it waits in its namespaces, so that cables can be plugged by its
    pid; at the end of the block it goes on, and ends when the block raises or we die. Raises LabError.
    """
    spec = {
        "namespaces": program.namespaces,
        "hostname": program.hostname,
        "tmpfs": program.tmpfs,
        "directories": program.directories,
        "binds": program.binds,
        "machine_netns": program.machine_netns,
        "autogroup_nice": program.autogroup_nice,
        "log": str(program.log),
        "program": program.program or program.argv[0],
        "argv": program.argv,
        "env": {**os.environ, **program.env, MARK: f"{lab}/{program.part}"},
    }
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCH), json.dumps(spec)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    with child.stdin as word:
        yield _pid_of(child, program.part)
        word.write(b"go")


def _pid_of(child: subprocess.Popen[bytes], part: str) -> int:
    """What launch.py says of the process it has started."""
    assert child.stdout is not None
    assert child.stderr is not None
    with child.stdout, child.stderr:
        word, _, rest = child.stdout.readline().decode().strip().partition(" ")
        child.wait()
        if word == "pid":
            return int(rest)
        detail = rest or child.stderr.read().decode()[-400:]
    raise LabError(
        f"{part} cannot start: {detail}. A lab needs root and Linux namespaces; `drover doctor` shows what is missing"
    )


def _environ_mark(pid: int) -> str:
    """The mark of a process; empty when it has none or is not ours to read."""
    prefix = f"{MARK}=".encode()
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return ""


def _marked() -> Iterator[tuple[int, str, str]]:
    """Pid, lab and part of every process that bears the mark of a lab."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            owner, _, part = _environ_mark(int(entry.name)).partition("/")
            if owner:
                yield int(entry.name), owner, part


def find(lab: str) -> dict[str, list[int]]:
    """All living processes of a lab by part, each list in order of pid."""
    found: dict[str, list[int]] = {}
    for pid, owner, part in _marked():
        if owner == lab and not _zombie(pid):
            found.setdefault(part, []).append(pid)
    return {part: sorted(pids) for part, pids in found.items()}


def living_labs() -> set[str]:
    """The ids of all labs on this machine that have a process."""
    return {owner for _, owner, _ in _marked()}


def inits(lab: str) -> dict[str, int]:
    """The init of every living part; for the switch, which has no PID namespace, its one process."""
    result = {}
    for part, pids in find(lab).items():
        firsts = pids[:1] if part == SWITCH else [pid for pid in pids if _is_init(pid)]
        if firsts:
            result[part] = firsts[0]
    return result


def members(lab: str, parts: Iterable[str]) -> list[int]:
    """All living processes of these parts."""
    found = find(lab)
    return [pid for part in parts for pid in found.get(part, [])]


def agents(lab: str, node: str) -> list[int]:
    """The agent's process of a node; empty while it is being started again."""
    return [pid for pid in members(lab, [node]) if command_line(pid)[1:3] == ["-m", AGENT_MODULE]]


@dataclass(frozen=True)
class MachineProcess:
    """One living QEMU of a node."""

    node: str
    vm: str  # namespace/name
    copy: str  # uid of its Pod
    pid: int


def machines(lab: str) -> list[MachineProcess]:
    """All living QEMUs of the lab, told by their command lines."""
    result = []
    for part, pids in find(lab).items():
        for pid in pids:
            command = command_line(pid)
            vm, copy = _after(command, _GUEST), _after(command, _COPY)
            if vm and copy:
                result.append(MachineProcess(part, vm, copy, pid))
    return result


def _after(command: Iterable[str], pattern: re.Pattern[str]) -> str:
    for word in command:
        if found := pattern.match(word):
            return found[1]
    return ""


def control_plane_parts(lab: str) -> dict[str, int]:
    """Pid of every living part of the control plane, by name."""
    parts = {}
    for pid in members(lab, [CONTROL_PLANE]):
        command = command_line(pid)
        if CONTROLLERS_MODULE in command:
            parts["controllers"] = pid
        elif PAGE_MODULE in command:
            parts["page"] = pid
        elif len(command) > 2 and command[0].endswith("/kube"):
            parts[command[1]] = pid
    return parts


def stopped(pid: int) -> bool:
    """SIGSTOP has been sent, SIGCONT has not."""
    return _status(pid, "State")[:1] in ("T", "t")


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _status(pid: int, field_name: str) -> str:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field_name:
                return value.strip()
    except OSError:
        pass
    return ""


def _zombie(pid: int) -> bool:
    return _status(pid, "State")[:1] in ("Z", "X", "")


def _is_init(pid: int) -> bool:
    numbers = _status(pid, "NSpid").split()
    return len(numbers) > 1 and numbers[-1] == "1"


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal processes; those that are gone already do not matter."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_gone(pids: Iterable[int], limit_s: float = _GONE_LIMIT_S) -> list[int]:
    """Wait until the processes have ended. Returns those that have not."""
    limit = time.monotonic() + limit_s
    left = []
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ready, _, _ = select.select([fd], [], [], max(0.0, limit - time.monotonic()))
            if not ready:
                left.append(pid)
        finally:
            os.close(fd)
    return left


def kill_part(lab: str, part: str) -> bool:
    """SIGKILL everything of one part at once. True when there was something."""
    pids = find(lab).get(part, [])
    first = inits(lab).get(part)
    send([first] if first else pids, signal.SIGKILL)
    require_gone(part, pids)
    return bool(pids)


def require_gone(part: str, pids: Iterable[int]) -> None:
    """Wait for killed processes. Raises LabError when they do not end."""
    stubborn = wait_gone(pids)
    if stubborn:
        raise LabError(
            f"processes {stubborn} of {part} do not end after SIGKILL: they wait for a disk or "
            f"device; look at /proc/PID/stack"
        )


def terminate_part(lab: str, part: str, limit_s: float) -> None:
    """SIGTERM to the init of one part, SIGKILL when it has not ended by then."""
    first = inits(lab).get(part)
    if first:
        send([first], signal.SIGTERM)
        wait_gone([first], limit_s)
    kill_part(lab, part)

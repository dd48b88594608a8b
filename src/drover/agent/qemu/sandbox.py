"""Whom the QEMUs of a node run as, and in which control groups.

Every copy has a user of its own: a number out of a range that nobody else uses, taken while its directory is there
(``files``). Numbers, so /etc/passwd knows nothing of it. They mean something on this host alone, since disks are handed
to QEMU opened: directories that hosts share need no agreement about users
([decision 4](../../../../docs/decisions/0004-one-user-per-vm.md)).

``open`` finds out what this node can do, and ``trouble`` says what it cannot, with the way out: on the Node (condition
Sandboxed) and in its log. A node that cannot confine runs VMs all the same, by the rights of its agent.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drover.agent.ports import HypervisorError, Share
from drover.agent.qemu.handing import ByName, Handed
from drover.agent.qemu.settings import QemuSettings
from drover.agent.spawner import Spawner

MOST_USERS = 4096
_KVM = Path("/dev/kvm")
_ASK_LIMIT_S = 20.0


class Sandbox:
    """Of one node. Until ``open`` nothing is confined."""

    def __init__(self, settings: QemuSettings, spawner: Spawner) -> None:
        self._settings = settings
        self._spawner = spawner
        self._confines = False
        self._user = 0
        self._further: list[int] = []
        self.trouble = ""

    async def open(self) -> None:
        """Find out. Raises MonitorSilent when the node's first process does not answer."""
        settings = self._settings
        self._confines = os.geteuid() == 0 and await self._spawner.confines()
        groups_trouble = settings.groups.trouble if settings.groups is not None else ""
        why = await self._user_trouble()
        self._user = 0 if why else settings.user
        if not self._confines:
            groups_trouble = ""  # said already
        self.trouble = "; ".join(said for said in (why, groups_trouble) if said)

    async def _user_trouble(self) -> str:
        settings = self._settings
        if not settings.user:
            return "QEMU runs as the agent's own user, as qemu_user = 0 asks for"
        if os.geteuid() != 0:
            return "QEMU runs as the agent's own user: the agent is not root"
        if not self._confines:
            return (
                "QEMU runs as root: the node's first process is of an earlier release; drain the node and restart its "
                "service"
            )
        self._further, why = _kvm_groups() if settings.accel == "kvm" else ([], "")
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        for ours in (settings.run_dir, settings.run_dir.parent):
            ours.chmod(stat.S_IMODE(ours.stat().st_mode) | 0o011)
        why = why or _way_trouble(settings.run_dir)
        for binary in sorted({bundle.binary for bundle in settings.bundles.values()}):
            why = why or await _run_trouble(binary, settings.user)
        return f"QEMU runs as root: {why}" if why else ""

    def user(self) -> int:
        """For the next copy. Raises HypervisorError when all are taken."""
        if not self._user:
            return 0
        taken = {directory.stat().st_gid for directory in self._settings.run_dir.iterdir()}
        for user in range(self._user, self._user + MOST_USERS):
            if user not in taken:
                return user
        raise HypervisorError(f"all {MOST_USERS} users for QEMU are taken on this node")

    def handing(self) -> ByName | Handed:
        return Handed() if self._user else ByName()

    def confinement(
        self, copy: str, user: int, handing: ByName | Handed, share: Share | None
    ) -> Mapping[str, Any] | None:
        """As ``agent.confine`` has it. Raises HostError."""
        if not self._confines:
            return None
        groups = self._settings.groups
        joins = groups.make(copy, share) if groups is not None and share is not None else []
        handed = [list(thing) for thing in handing.things] if isinstance(handing, Handed) else []
        return {"user": user, "groups": self._further, "cgroups": joins, "handed": handed}


def _kvm_groups() -> tuple[list[int], str]:
    """The group that may use /dev/kvm, or why a user cannot."""
    found = _KVM.stat()
    if found.st_mode & 0o006 == 0o006:
        return [], ""
    if found.st_mode & 0o060 == 0o060:
        return [found.st_gid], ""
    return [], f"no group may use {_KVM}; give it one: chgrp kvm {_KVM}, chmod g+rw {_KVM}"


def _way_trouble(directory: Path) -> str:
    for parent in (directory, *directory.parents):
        if not parent.stat().st_mode & 0o001:
            return f"other users cannot pass through {parent}; chmod o+x {parent}"
    return ""


async def _run_trouble(binary: str, user: int) -> str:
    """Why ``user`` cannot start it."""
    at = shutil.which(binary) or binary
    mend = f"make {at} and what is beside it readable for all"
    try:
        process = await asyncio.create_subprocess_exec(
            at,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            user=user,
            group=user,
            extra_groups=[],
        )
    except OSError as error:
        return f"another user cannot start {at}: {error.strerror}; {mend}"
    try:
        async with asyncio.timeout(_ASK_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    return "" if process.returncode == 0 else f"another user cannot start {at}; {mend}"

"""What a guest has that took its QEMU over: lines ``guest.*``. On real QEMUs, looked at in /proc, and tried as their
user would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.agent.qemu import guest
from tests.agent.qemu.rig import QemuNode, qemu_rig

from drover.agent.cgroups import Groups
from drover.agent.ports import Disk, Share
from drover.agent.qemu.hypervisor import QemuHypervisor
from drover.lab import cgroups as lab_groups

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
]
GROUP = f"drover-test-{os.getpid()}"
SHARE = Share(cpu_milli=250, cores=1, memory_bytes=400 << 20)


@dataclass
class Two:
    """Two guests that run on one node, each with a disk of its own."""

    node: QemuNode
    pids: tuple[int, int]
    disks: tuple[Path, Path]


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    groups = Groups.of_this_process(GROUP, free=True)
    groups.open(())
    try:
        async with qemu_rig(1) as rig:
            (node,) = rig.nodes
            node.settings = replace(node.settings, groups=groups)
            await node.restart_agent()
            hypervisor: QemuHypervisor = node.hypervisor
            for key in node.settings.tls_dir.glob("*-key.pem"):
                key.chmod(0o600)  # as they are written on hosts
            other = rig.disk.with_name("other.raw")
            guest.write_disk(other)
            for copy, disk in (("copy-a", rig.disk), ("copy-b", other)):
                disk.chmod(0o600)
                spec = rig.spec(disks=(Disk("root", str(disk), format="raw", boot_order=1),))
                machine = await hypervisor.launch(copy, replace(spec, display=True), None, SHARE)
                await machine.cont()
                await rig.booted(copy)
            pids = await node.spawner.children()
            yield Two(node, (pids["copy-a"], pids["copy-b"]), (rig.disk, other))
    finally:
        assert lab_groups.remove(GROUP) == []


def said(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def as_its_user(pid: int, *command: str) -> subprocess.CompletedProcess[str]:
    """What somebody could do who has that QEMU's user and nothing else."""
    user = said(pid)["Uid"].split()[0]
    program = shutil.which("setpriv")
    assert program is not None
    words = (f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--")
    return subprocess.run(
        [program, *words, *command], capture_output=True, text=True, check=False, timeout=10
    )


async def test_guest_root(two: Two) -> None:
    """Not root, no capability, none to be gained, and no system call that gains one."""
    users = set()
    for pid in two.pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            is_now = said(int(thread.name))
            assert len(set(is_now["Uid"].split() + is_now["Gid"].split())) == 1
            assert int(is_now["Uid"].split()[0]) >= two.node.settings.user > 0
            assert (is_now["CapEff"], is_now["CapPrm"]) == ("0" * 16, "0" * 16)
            assert (is_now["NoNewPrivs"], is_now["Seccomp"]) == ("1", "2")
        users.add(said(pid)["Uid"])
    assert len(users) == 2  # each VM has one of its own


async def test_guest_files(two: Two) -> None:
    """Another VM's disk, log and sockets, its own spec, the node's keys: neither open in QEMU nor to be opened."""
    pid = two.pids[0]
    held = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    assert str(two.disks[0]) in held
    files = two.node.hypervisor.files("copy-b")
    closed = [two.disks[0], two.disks[1], files.serial_log, files.qemu_log, files.spec]
    closed += [files.monitor, files.console, files.vnc, files.events]
    closed += [two.node.hypervisor.files("copy-a").spec]
    closed += sorted(two.node.settings.tls_dir.glob("*-key.pem"))
    assert all(file.exists() for file in closed)
    assert not held.intersection(map(str, closed[1:]))
    for file in closed:
        tried = as_its_user(pid, "/bin/cat", str(file))
        assert (tried.returncode, "Permission denied" in tried.stderr) == (1, True), file
    own = two.node.hypervisor.files("copy-a").run_dir
    for directory in (own, own.parent, two.disks[0].parent):
        tried = as_its_user(pid, "/bin/ln", "-s", str(two.disks[1]), str(directory / "trap"))
        assert tried.returncode == 1, directory


async def test_guest_others(two: Two) -> None:
    """Another VM's QEMU cannot be signalled, nor looked into; the node's first process neither."""
    for target in (two.pids[1], two.node.process.pid):
        assert as_its_user(two.pids[0], "/bin/kill", "-0", str(target)).returncode == 1
        tried = as_its_user(two.pids[0], "/bin/cat", f"/proc/{target}/environ")
        assert "Permission denied" in tried.stderr
    assert as_its_user(two.pids[0], "/bin/kill", "-0", str(two.pids[0])).returncode == 0


async def test_guest_share(two: Two) -> None:
    """As much memory as its Pod asks for, its cores and one, and the weight of its reservation."""
    assert two.node.settings.groups is not None
    if two.node.settings.groups.trouble:
        pytest.skip(two.node.settings.groups.trouble)
    joined = [Path(tasks).parent for tasks in two.node.settings.groups.make("copy-a", SHARE)]
    limits = {
        file.name: file.read_text().strip()
        for group in joined
        for file in group.iterdir()
        if file.name in ("memory.max", "memory.limit_in_bytes", "cpu.max", "cpu.cfs_quota_us")
    }
    memory = limits.get("memory.max") or limits["memory.limit_in_bytes"]
    cpu = limits.get("cpu.max") or limits["cpu.cfs_quota_us"]
    assert (memory, cpu.split()[0]) == (str(400 << 20), "200000")
    for group in joined:
        assert (group / "cgroup.procs").read_text().split() == [str(two.pids[0])]
    machine = next(m for m in await two.node.hypervisor.adopt() if m.copy == "copy-a")
    await machine.kill()
    await two.node.hypervisor.forget("copy-a")
    assert not any(group.exists() for group in joined)

"""Newer code of the agents takes its place, as `systemctl reload drover-agent` has it; guests do not notice."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.vms import make, operate
from tests.support.lab import RunningLab, eventually

from drover.lab import processes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_agents_are_replaced_under_a_running_guest(lab: RunningLab) -> None:
    lab_id = lab.lab.lab_id
    nodes = lab.lab.settings().node_names
    for node in nodes:
        conditions = {c["type"]: c for c in lab.get("node", node)["status"]["conditions"]}
        assert conditions["Sandboxed"]["status"] == "True", conditions["Sandboxed"]
    vm = make(lab, "upgraded")
    try:
        vm.wait_booted()
        boot, (qemu,) = vm.boot_id(), vm.guest.copies()
        assert Path(f"/proc/{qemu.pid}").stat().st_uid != 0
        before = {node: processes.agents(lab_id, node) for node in nodes}
        for node in nodes:
            os.kill(processes.inits(lab_id)[node], signal.SIGHUP)
        for node, pids in before.items():
            eventually(partial(_others, lab_id, node, pids), 30)
        assert [copy.pid for copy in vm.guest.copies()] == [qemu.pid]
        assert vm.boot_id() == boot
        status = operate(lab, "upgraded-moves", vm.name, "Evict")  # the new agent has adopted it
        assert status["phase"] == "Completed", status
        assert vm.wait("Running")["nodeName"] != qemu.node
        assert vm.boot_id() == boot
        vm.assert_runs_once()
    finally:
        vm.delete(wait=True)
    eventually(lambda: not _has_group(f"vm-{qemu.copy}"), 30)


def _has_group(name: str) -> bool:
    """Groups come and go while we look: ``rglob`` fails at one that has gone, ``walk`` goes on."""
    return any(name in names for _, names, _ in os.walk("/sys/fs/cgroup"))


def _others(lab_id: str, node: str, before: list[int]) -> bool:
    now = processes.agents(lab_id, node)
    return bool(now) and not set(now) & set(before)

"""Everything dies at once and comes back; `down` leaves nothing. Last of its room, for what it does to the others."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.e2e.vms import make
from tests.support.lab import eventually

from drover.lab import links, processes
from drover.lab.topology import machine_link

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]


def test_up_after_the_death_of_everything(lab):
    """VMs come back by their runPolicy, with their disks and addresses."""
    vm, off = make(lab, "comes-back"), make(lab, "stays-off", "Manual")
    vm.wait_booted()
    boot, address = vm.boot_id(), vm.status["ipAddress"]
    vm.shell("echo kept >/root/kept; sync")
    mine = [pid for pids in processes.find(lab.lab.lab_id).values() for pid in pids]
    for pid in mine:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    eventually(lambda: processes.find(lab.lab.lab_id) == {}, 20)
    up = lab.drover("up")
    assert up.code == 0, up.out + up.err
    vm.wait_new_boot(boot)
    assert vm.status["ipAddress"] == address
    assert vm.shell("cat /root/kept") == "kept"
    vm.assert_runs_once()
    assert off.status["phase"] == "Stopped"
    vm.delete()
    off.delete()


def test_down_leaves_nothing_and_up_brings_it_back(lab):
    vm = make(lab, "goes-down")
    vm.wait_booted()
    boot = vm.boot_id()
    assert lab.drover("down").code == 0
    assert processes.find(lab.lab.lab_id) == {}
    assert not links.exists(machine_link(lab.lab.lab_id))
    assert str(lab.home.path) not in Path("/proc/self/mountinfo").read_text()
    assert lab.drover("up").code == 0
    vm.wait_new_boot(boot)
    vm.assert_runs_once()
    vm.delete()

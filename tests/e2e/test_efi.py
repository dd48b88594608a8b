"""A guest that boots by EFI moves and restarts with its variables: they lie beside its disk, on the shared storage."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.vms import make, operate
from tests.support.lab import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FRESH = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def variables_of(lab, disk: str) -> Path:
    uid = lab.get("vd", disk)["metadata"]["uid"]
    return Path(lab.home.path, "disks", f"{uid}.efivars")


def test_a_guest_with_efi_boots_moves_and_restarts_with_its_variables(lab):
    vm = make(lab, "efi", bootloader="EFI", memory={"size": "256Mi"})
    vm.wait_booted()
    assert vm.shell("test -d /sys/firmware/efi && echo efi") == "efi"
    file = variables_of(lab, "efi")
    written, inode = file.read_bytes(), file.stat().st_ino
    assert written != FRESH.read_bytes(), "the firmware notes its boot entries"
    boot, source = vm.boot_id(), vm.status["nodeName"]
    assert operate(lab, "efi-evict", "efi", "Evict")["phase"] == "Completed"
    assert vm.status["nodeName"] != source
    assert vm.boot_id() == boot
    vm.assert_runs_once()
    assert operate(lab, "efi-restart", "efi", "Restart", force=True)["phase"] == "Completed"
    vm.wait_new_boot(boot)
    assert vm.shell("test -d /sys/firmware/efi && echo efi") == "efi"
    assert file.stat().st_ino == inode, "made once, never anew"
    vm.delete(wait=True)
    eventually(lambda: not file.exists())

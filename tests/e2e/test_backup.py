"""A lab goes back to a backup while its nodes and guests go on: nothing runs twice, and all can be moved again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.vms import make, operate
from tests.support.lab import RunningLab, eventually

from drover.lab import processes

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def qemus(lab: RunningLab, vm: str) -> list[tuple[str, int]]:
    return [(m.node, m.pid) for m in processes.machines(lab.lab.lab_id) if m.vm == f"default/{vm}"]


def test_vms_run_once_after_a_restore_and_can_be_moved(lab: RunningLab, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    stays, moves = make(lab, "stays"), make(lab, "moves")
    try:
        where = moves.wait_booted()["nodeName"]
        stays.wait_booted()
        said = lab.drover("backup", str(file))
        assert said.code == 0, said.err
        assert file.stat().st_mode & 0o077 == 0
        assert operate(lab, "moves-away", "moves", "Evict")["phase"] == "Completed"
        away = moves.wait("Running")["nodeName"]
        assert away != where
        late = make(lab, "late")
        late.wait("Running")
        (before,) = qemus(lab, "stays")
        broken = tmp_path / "broken.tar"
        broken.write_bytes(file.read_bytes()[:10_000])
        said = lab.drover("restore", str(broken))
        assert (said.code, "no whole backup" in said.err) == (1, True), said.err

        said = lab.drover("restore", str(file))
        assert said.code == 0, said.out + said.err
        assert lab.get("vmop", "moves-away") is None
        assert qemus(lab, "stays") == [before]
        eventually(lambda: not qemus(lab, "late"), 60)
        for vm in (stays, moves):
            vm.wait("Running")
            eventually(lambda vm=vm: len(qemus(lab, vm.name)) == 1, 60)
            vm.assert_runs_once()
            assert operate(lab, f"{vm.name}-again", vm.name, "Evict")["phase"] == "Completed"
            vm.assert_runs_once()
    finally:
        for vm in (stays, moves):
            vm.delete(wait=True)

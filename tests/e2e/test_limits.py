"""Limits of live migration on real guests. A Stop or a Restart wins over a copy. A guest that writes faster than the
link carries is slowed down until it has moved, or stays where it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.vms import Vm, finished, make, operation, said
from tests.support.lab import RunningLab, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

UNLESS_STOPPED = "AlwaysOnUnlessStoppedManually"


@pytest.fixture(autouse=True)
def no_settings(lab: RunningLab) -> Iterator[None]:
    yield
    settings(lab, None)


def settings(lab: RunningLab, live_migration: dict[str, Any] | None) -> None:
    patch = {"spec": {"settings": {"liveMigration": live_migration}}}
    done = lab.k("patch", "mc", "virtualization", "--type=merge", "-p", json.dumps(patch))
    assert done.code == 0, done.err


@pytest.fixture
def vm(lab: RunningLab, request: pytest.FixtureRequest) -> Iterator[Vm]:
    """A VM for one test; it may be stopped by hand."""
    made = make(lab, request.node.name.replace("_", "-")[5:40].strip("-"), UNLESS_STOPPED)
    made.wait_booted()
    yield made
    made.delete()


def copying(lab: RunningLab, name: str) -> bool:
    vmm = lab.get("vmm", f"vmop-{name}") or {}
    source = (vmm.get("status") or {}).get("source") or {}
    return int(source.get("ramTransferredBytes", 0)) > 0


def start_evict(vm: Vm, name: str) -> None:
    """An Evict whose copy takes half a minute and goes on now."""
    settings(vm.lab, {"bandwidthPerMigration": "2Mi"})
    vm.lab.apply(operation(name, vm.name, "Evict"))
    eventually(lambda: copying(vm.lab, name), 60, 0.05)
    assert vm.status["phase"] == "Migrating"


def test_stop_wins_over_a_copy(lab, vm):
    start_evict(vm, "moved-then-stopped")
    lab.apply(operation("stop-it", vm.name, "Stop"))
    done = finished(lab, "stop-it")
    assert done["phase"] == "Completed", done
    old = lab.get("vmop", "moved-then-stopped")["status"]
    assert old["phase"] == "Superseded", old
    assert said(old) == ("Superseded", "Superseded by stop-it with type Stop")
    assert vm.wait("Stopped", 10).get("nodeName", "") == ""
    # The target that waited for the copy is ended by its own agent, whoever stops the VM.
    eventually(lambda: vm.guest.copies() == [] and vm.living_pods() == [], 20)
    vm.lab.apply(operation("start-it", vm.name, "Start"))
    assert finished(lab, "start-it")["phase"] == "Completed"


def test_restart_wins_over_a_copy(lab, vm):
    boot = vm.boot_id()
    start_evict(vm, "moved-then-restarted")
    lab.apply(operation("restart-it", vm.name, "Restart", force=True))
    done = finished(lab, "restart-it")
    assert done["phase"] == "Completed", done
    old = lab.get("vmop", "moved-then-restarted")["status"]
    assert said(old) == ("Superseded", "Superseded by restart-it with type Restart")
    vm.wait_new_boot(boot)
    vm.assert_runs_once()
    assert len(vm.living_pods()) == 1


@pytest.fixture
def busy(lab: RunningLab, request: pytest.FixtureRequest) -> Iterator[Vm]:
    """A guest that writes 16 MiB a second all over 24 MiB; the link carries 8."""
    made = make(lab, request.node.name.replace("_", "-")[5:40].strip("-"), memory={"size": "192Mi"})
    made.wait_booted()
    made.shell("(guest-tool dirty 24 16 600 </dev/null >/dev/null 2>&1 &)")
    yield made
    made.delete()


def policy(vm: Vm, name: str) -> None:
    patch = json.dumps({"spec": {"liveMigrationPolicy": name}})
    assert vm.lab.k("patch", "vm", vm.name, "--type=merge", "-p", patch).code == 0


def follow(lab: RunningLab, name: str) -> tuple[dict[str, Any], set[str], int]:
    """Its end, all reasons on the way, and how much the guest was slowed down at most (per cent)."""
    reasons: set[str] = set()
    throttle = 0

    def ended() -> dict[str, Any] | None:
        nonlocal throttle
        status = (lab.get("vmop", name) or {}).get("status") or {}
        reasons.add(said(status)[0])
        source = ((lab.get("vmm", f"vmop-{name}") or {}).get("status") or {}).get("source") or {}
        throttle = max(throttle, int(source.get("throttlePercent", 0)))
        return status if status.get("phase") in ("Completed", "Failed", "Superseded") else None

    return dict(eventually(ended, 240, 0.5)), reasons, throttle


def test_a_guest_that_writes_fast_stays_when_it_may_not_be_slowed_down(lab, busy):
    node, boot = busy.status["nodeName"], busy.boot_id()
    policy(busy, "AlwaysSafe")
    settings(lab, {"bandwidthPerMigration": "8Mi", "progressTimeout": 20})
    lab.apply(operation("safely", busy.name, "Evict"))
    status, reasons, throttle = follow(lab, "safely")
    assert status["phase"] == "Failed", status
    words = "Migration did not converge: Live migration stuck for 20 seconds and has been aborted"
    assert said(status) == ("NotConverging", words)
    assert "NotConverging" in reasons
    assert throttle == 0
    assert busy.wait("Running", 20)["nodeName"] == node
    assert busy.boot_id() == boot
    busy.assert_runs_once()


def test_a_guest_that_writes_fast_moves_when_it_may_be_slowed_down(lab, busy):
    node, boot = busy.status["nodeName"], busy.boot_id()
    policy(busy, "AlwaysForced")
    settings(lab, {"bandwidthPerMigration": "8Mi", "progressTimeout": 60})
    lab.apply(operation("forced", busy.name, "Evict"))
    status, _, throttle = follow(lab, "forced")
    assert status["phase"] == "Completed", status
    assert throttle > 0
    assert busy.wait("Running", 20)["nodeName"] != node
    assert busy.boot_id() == boot
    busy.assert_runs_once()

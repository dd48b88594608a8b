"""The four runPolicies against what ends a guest: itself, the death of its QEMU, an operation. Three guests at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.vms import Vm, make, operate, said
from tests.support.lab import RunningLab, eventually

from drover.lab import faults

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

UNLESS_STOPPED = "AlwaysOnUnlessStoppedManually"


@pytest.fixture(scope="module")
def vms(lab: RunningLab) -> Iterator[dict[str, Vm]]:
    """One VM per policy that ever runs; each test leaves them running."""
    names = {"AlwaysOn": "always-on", UNLESS_STOPPED: "unless-stopped", "Manual": "manual"}
    made = {policy: make(lab, name, policy) for policy, name in names.items()}
    made["Manual"].wait("Stopped")
    status = operate(lab, "start-manual", "manual", "Start")
    assert status["phase"] == "Completed", status
    for vm in made.values():
        vm.wait_booted()
    yield made
    for vm in made.values():
        vm.delete()


def kill_qemu(vm: Vm) -> None:
    faults.kill_machine(vm.lab.lab, vm.status["nodeName"], f"default/{vm.name}")


def ends_itself(vm: Vm, how: str) -> None:
    """A second later, so that the shell has answered: whoever hears no answer says it again, to the next boot."""
    vm.shell(f"echo kept >/root/kept; sync; (sh -c 'sleep 1; {how}' </dev/null >/dev/null 2>&1 &)")


def start(vm: Vm, name: str) -> None:
    status = operate(vm.lab, name, vm.name, "Start")
    assert status["phase"] == "Completed", status
    vm.wait_booted()


def test_the_guest_reboots_itself(vms):
    """Starts again under every policy, as a new process, with the same address and disk."""
    before = {}
    for vm in vms.values():
        before[vm.name] = (vm.boot_id(), vm.status["ipAddress"], vm.lease()["holder"])
        ends_itself(vm, "reboot")
    for vm in vms.values():
        boot, address, holder = before[vm.name]
        vm.wait_new_boot(boot)
        assert vm.shell("cat /root/kept") == "kept"
        assert vm.status["ipAddress"] == address
        assert vm.lease()["holder"] != holder
        vm.assert_runs_once()


def test_the_guest_powers_itself_off(vms):
    boot = vms["AlwaysOn"].boot_id()
    for vm in vms.values():
        ends_itself(vm, "poweroff")
    vms["AlwaysOn"].wait_new_boot(boot)
    for policy in (UNLESS_STOPPED, "Manual"):
        vm = vms[policy]
        vm.wait("Stopped")
        assert vm.lease()["lastReason"] == "GuestShutdown"
        assert vm.guest.copies() == []
    for policy in (UNLESS_STOPPED, "Manual"):
        start(vms[policy], f"start-{vms[policy].name}-again")


def test_qemu_is_killed(vms):
    """A crash is followed by a restart after a pause, but not under Manual."""
    boots = {policy: vm.boot_id() for policy, vm in vms.items()}
    for vm in vms.values():
        kill_qemu(vm)
    for policy in ("AlwaysOn", UNLESS_STOPPED):
        vm = vms[policy]
        eventually(lambda vm=vm: vm.status.get("power", {}).get("not_before_s"), 30)
        assert vm.status["power"]["failures"] >= 1
    vms["Manual"].wait("Stopped")
    assert vms["Manual"].lease()["lastReason"] == "Crashed"
    for policy in ("AlwaysOn", UNLESS_STOPPED):
        vms[policy].wait_new_boot(boots[policy])
        vms[policy].assert_runs_once()
    start(vms["Manual"], "start-manual-after-crash")


def test_operations(vms):
    """Stop and Start where the policy leaves it to the user, Restart everywhere; AlwaysOn refuses Stop."""
    lab = vms["Manual"].lab
    refused = operate(lab, "stop-always-on", "always-on", "Stop")
    assert said(refused)[0] == "NotApplicableForVirtualMachineRunPolicy", refused
    boots = {policy: vm.boot_id() for policy, vm in vms.items()}
    address = vms["AlwaysOn"].status["ipAddress"]
    assert operate(lab, "restart-always-on", "always-on", "Restart")["phase"] == "Completed"
    vms["AlwaysOn"].wait_new_boot(boots["AlwaysOn"])
    assert vms["AlwaysOn"].status["ipAddress"] == address
    for policy in (UNLESS_STOPPED, "Manual"):
        vm = vms[policy]
        assert operate(lab, f"stop-{vm.name}", vm.name, "Stop")["phase"] == "Completed"
        assert vm.status["phase"] == "Stopped"
        assert vm.guest.copies() == []
        assert vm.lease()["lastReason"] == "Stopped"
    for policy in (UNLESS_STOPPED, "Manual"):
        start(vms[policy], f"start-{vms[policy].name}-last")


def test_always_off_stops_a_running_vm(vms, lab):
    vm = vms["Manual"]
    lab.k("patch", "vm", vm.name, "--type=merge", "-p", '{"spec":{"runPolicy":"AlwaysOff"}}')
    vm.wait("Stopped")
    assert vm.guest.copies() == []
    lab.k("patch", "vm", vm.name, "--type=merge", "-p", '{"spec":{"runPolicy":"AlwaysOn"}}')
    vm.wait_booted()

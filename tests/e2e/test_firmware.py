"""Guests move to another QEMU and back while they run; a changed wish of placement moves a VM, and only then (D11)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.vms import Vm, make
from tests.support.lab import RunningLab, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(500)]

ZONE = "drover.test/zone"


def listed(lab: RunningLab) -> dict[str, Any]:
    said = lab.drover("firmware", "list", "-o", "json")
    assert said.code == 0, said.err
    return dict(json.loads(said.out))


@pytest.fixture
def versions(lab: RunningLab) -> Iterator[tuple[str, str]]:
    """(the nodes' own, another one)."""
    found = listed(lab)["versions"]
    if len(found) < 2:
        pytest.skip("there is one firmware bundle here; `drover doctor` says why")
    own = next(v["version"] for v in found if v["defaultOn"])
    other = next(v["version"] for v in found if not v["defaultOn"])
    yield own, other
    lab.drover("firmware", "set", "none")


def runs_on(vm: Vm) -> str:
    return str((vm.status.get("versions") or {}).get("qemu", ""))


def test_guests_go_to_another_qemu_and_back(lab: RunningLab, versions: tuple[str, str]) -> None:
    own, other = versions
    vms = [make(lab, name) for name in ("upgraded-a", "upgraded-b")]
    for vm in vms:
        vm.wait_booted()
    boots = [vm.begin_ledger() for vm in vms]
    assert [runs_on(vm) for vm in vms] == [own, own]
    for wanted in (other, own):
        said = lab.drover("firmware", "set", wanted, "--wait", "--timeout", "4m")
        assert said.code == 0, said.out + said.err
        assert listed(lab)["outdated"] == []
        for vm in vms:
            assert vm.wait("Running")["versions"] == {"qemu": wanted}
            assert vm.condition("FirmwareUpToDate") == {}
    for vm, boot in zip(vms, boots, strict=True):
        ledger = vm.ledger()
        assert (ledger.boots, ledger.boot) == ([boot], boot)
        assert (ledger.duplicates, ledger.missing) == (0, 0)
        vm.assert_runs_once()
        vm.delete()


def test_a_new_vm_starts_on_the_wanted_version(lab: RunningLab, versions: tuple[str, str]) -> None:
    assert lab.drover("firmware", "set", versions[1]).code == 0
    vm = make(lab, "starts-new")
    vm.wait_booted()
    assert runs_on(vm) == versions[1]
    vm.delete()


def test_a_bundle_that_does_not_exist_is_refused(lab: RunningLab) -> None:
    before = listed(lab)["wanted"]
    said = lab.drover("firmware", "set", "99.9")
    assert said.code == 1
    assert 'no node offers firmware "99.9"; on offer: ' in said.err
    assert listed(lab)["wanted"] == before


def test_a_changed_wish_moves_a_vm_only_when_its_node_does_not_satisfy_it(
    lab: RunningLab,
) -> None:
    """The one that stays has had its wish for longer than the one that goes."""
    stays, goes = made = [make(lab, name) for name in ("content", "choosy")]
    for vm in made:
        vm.wait_booted()
    homes, boots = [vm.status["nodeName"] for vm in made], [vm.begin_ledger() for vm in made]
    nodes = [n["metadata"]["name"] for n in lab.get("nodes")["items"]]
    away = next(node for node in nodes if node not in homes)
    try:
        for node, zone in ((homes[0], "home"), (away, "away")):
            assert lab.k("label", "node", node, f"{ZONE}={zone}").code == 0
        wish(stays, "home")
        wish(goes, "away")
        eventually(lambda: goes.status["nodeName"] == away, 150)
        goes.wait("Running")
        (name,) = eventually(lambda: operations(goes), 10)
        assert name.startswith("nodeplacement-update-")
        assert goes.condition("AwaitingRestartToApplyConfiguration")["status"] == "False"
        assert stays.status["nodeName"] == homes[0]
        assert operations(stays) == []
        assert stays.status.get("restartAwaitingChanges") is None
        for vm, boot in zip(made, boots, strict=True):
            ledger = vm.ledger()
            assert (ledger.boots, ledger.duplicates, ledger.missing) == ([boot], 0, 0)
            vm.assert_runs_once()
    finally:
        for node in nodes:
            lab.k("label", "node", node, f"{ZONE}-")
        for vm in made:
            vm.delete()


def wish(vm: Vm, zone: str) -> None:
    patch = json.dumps({"spec": {"nodeSelector": {ZONE: zone}}})
    said = vm.lab.k("patch", "vm", vm.name, "--type=merge", "-p", patch)
    assert said.code == 0, said.err


def operations(vm: Vm) -> list[str]:
    found = vm.lab.get("vmop")["items"]
    return [op["metadata"]["name"] for op in found if op["spec"]["virtualMachineName"] == vm.name]

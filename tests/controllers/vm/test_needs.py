"""What keeps a VM from starting, in words its user can act on."""

from __future__ import annotations

from typing import Any

import pytest

from drover.api.kinds.vm import DeviceKind, DeviceRef
from drover.controllers.vm.needs import sizing_problem, unmet
from drover.controllers.vm.view import Device, VmView

CLASS: dict[str, Any] = {
    "metadata": {"name": "c"},
    "spec": {
        "sizingPolicies": [
            {"cores": {"min": 1, "max": 4}, "coreFractions": ["10%", "50%"]},
            {
                "cores": {"min": 8, "max": 16, "step": 4},
                "memory": {"min": "8Gi", "max": "64Gi", "step": "1Gi", "perCore": {"max": "4Gi"}},
            },
        ]
    },
    "status": {"phase": "Ready"},
}


def vm(cores: int = 2, memory: str = "1Gi", fraction: str = "") -> dict[str, Any]:
    cpu: dict[str, Any] = {"cores": cores} | ({"coreFraction": fraction} if fraction else {})
    return {"metadata": {"name": "v", "uid": "u"}, "spec": {"cpu": cpu, "memory": {"size": memory}}}


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (vm(), ""),
        (vm(fraction="50%"), ""),
        (vm(fraction="20%"), "coreFraction 10%, 50% for 2 cores, not 20%"),
        (vm(6), "no sizing policy for 6 cores; it has some for 1-4, 8-16"),
        (vm(10, "16Gi"), "in steps of 4, not 10"),
        (vm(12, "16Gi"), ""),
        (vm(8, "4Gi"), "at least 8Gi of memory"),
        (vm(16, "128Gi"), "at most 64Gi of memory for 16 cores"),
        (vm(8, "40Gi"), "at most 4Gi of memory per core"),
        (vm(8, "8704Mi"), "in steps of 1Gi from 8Gi"),
    ],
)
def test_sizing(asked: dict[str, Any], word: str) -> None:
    problem = sizing_problem(asked, CLASS)
    assert word in problem
    assert bool(problem) is bool(word)


def test_a_class_without_policies_allows_all() -> None:
    assert sizing_problem(vm(200, "1Ti", "7%"), {"metadata": {"name": "c"}, "spec": {}}) == ""


def device(obj: dict[str, Any] | None, kind: DeviceKind = DeviceKind.DISK) -> Device:
    return Device(DeviceRef(kind, "d", 0), obj)


def disk(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "d"}, "status": status}


CLAIM = {
    "metadata": {"name": "v"},
    "status": {"address": "10.66.10.14", "phase": "Attached", "virtualMachineName": "v"},
}
FREE = device(disk(phase="Ready"))


def view(**fields: Any) -> VmView:
    given: dict[str, Any] = {
        "vmclass": CLASS, "class_name": "c", "claim": CLAIM, "claim_name": "v", "devices": (FREE,), **fields,
    }  # fmt: skip
    return VmView(vm(), 0.0, **given)


@pytest.mark.parametrize(
    ("fields", "condition", "word"),
    [
        ({}, "", ""),
        ({"devices": (device(disk(phase="Ready", heldBy={"name": "v", "uid": "u"})),)}, "", ""),
        (
            {"class_name": "", "vmclass": None},
            "VirtualMachineClassReady",
            "no VirtualMachineClass is the default",
        ),
        ({"vmclass": None}, "VirtualMachineClassReady", '"c" does not exist'),
        ({"vmclass": {**CLASS, "status": {}}}, "VirtualMachineClassReady", "not Ready"),
        ({"claim": None}, "VirtualMachineIPAddressReady", '"v" does not exist yet'),
        ({"claim": {"metadata": {}}}, "VirtualMachineIPAddressReady", "no address yet"),
        (
            {"claim": {"metadata": {}, "status": {"address": "a", "virtualMachineName": "w"}}},
            "VirtualMachineIPAddressReady",
            'in use by VirtualMachine "w"',
        ),
        (
            {"claim": {"metadata": {}, "status": {"address": "a"}}},
            "VirtualMachineIPAddressReady",
            "not attached yet",
        ),
        ({"devices": (device(None),)}, "BlockDevicesReady", 'VirtualDisk "d" does not exist'),
        ({"devices": (device(disk()),)}, "BlockDevicesReady", "not Ready"),
        (
            {"devices": (device({"metadata": {"deletionTimestamp": "t"}}),)},
            "BlockDevicesReady",
            "is being deleted",
        ),
        (
            {"devices": (device(disk(phase="Ready", heldBy={"name": "w", "uid": "x"})),)},
            "BlockDevicesReady",
            'in use by VirtualMachine "w"',
        ),
        (
            {"devices": (device(disk(), DeviceKind.IMAGE),)},
            "BlockDevicesReady",
            'VirtualImage "d" is not Ready',
        ),
        ({"secret_problem": 'Secret "s" does not exist'}, "ProvisioningReady", 'Secret "s"'),
    ],
)
def test_needs(fields: dict[str, Any], condition: str, word: str) -> None:
    found = unmet(view(**fields))
    assert [finding.condition for finding in found] == ([condition] if condition else [])
    assert not found or word in found[0].message

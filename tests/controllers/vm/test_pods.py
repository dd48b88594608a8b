"""The Pods of a VM, as golden values, and the machine spec's one contract with the agent."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest

from drover.agent.ports import Disk, MachineSpec
from drover.api import machine as machines
from drover.api import names, placement, vmpod
from drover.api.machine import BadMachine, GuestNetwork

VM: dict[str, Any] = {
    "metadata": {
        "name": "linux-vm", "namespace": "default", "uid": "4a1f0f1e-0000-4000-8000-000000000001",
        "labels": {"app": "db", names.VM_NAME_LABEL: "forged"},
        "annotations": {"note": "hello", "drover.dev/stop-requested": "op;t", "kubectl.kubernetes.io/x": "y"},
    },
    "spec": {
        "cpu": {"cores": 2, "coreFraction": "25%"},
        "memory": {"size": "4Gi"},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
        "runPolicy": "AlwaysOn",
        "terminationGracePeriodSeconds": 30,
        "nodeSelector": {"zone": "a", "disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                        {"matchExpressions": [{"key": "b", "operator": "Exists"}]},
                    ]
                }
            },
            "virtualMachineAndPodAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]
            },
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    },
}  # fmt: skip
CLASS: dict[str, Any] = {
    "metadata": {"name": "generic"},
    "spec": {
        "cpu": {"type": "Model", "model": "Nehalem"},
        "nodeSelector": {
            "matchLabels": {"zone": "b"},
            "matchExpressions": [{"key": "c", "operator": "Exists"}],
        },
        "tolerations": [{"key": "vm", "operator": "Exists"}],
        "sizingPolicies": [{"cores": {"min": 1, "max": 4}, "defaultCoreFraction": "50%"}],
    },
}
NETWORK = GuestNetwork("10.66.10.254", 24)
DISKS = [machines.disk("vd-root", "/d/u.qcow2", boot_order=1)]
VMM: dict[str, Any] = {
    "metadata": {"name": "vmop-x", "uid": "m1"},
    "spec": {"virtualMachineName": "linux-vm", "sourceNode": "n1"},
}


def machine(secret: str = "") -> dict[str, Any]:
    return machines.machine_of(VM, CLASS, "10.66.10.14", DISKS, NETWORK, secret)


def pod(secret: str = "") -> dict[str, Any]:
    return vmpod.build_pod("d8v-vm-linux-vm-abcde", VM, CLASS, machine(secret))


def test_the_machine_spec_is_the_agents() -> None:
    assert tuple(field.name for field in dataclasses.fields(MachineSpec)) == machines.FIELDS
    assert tuple(field.name for field in dataclasses.fields(Disk)) == machines.DISK_FIELDS
    assert machines.decode(machines.encode(machine())) == machine()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"vm": 1}'])
def test_bad_machines_are_refused(text: str) -> None:
    with pytest.raises(BadMachine):
        machines.decode(text)
    with pytest.raises(BadMachine):
        machines.encode({**machine(), "typo": 1})


def test_addresses_of_vms_are_local_and_stay() -> None:
    mac = machines.mac_of("u1")
    assert mac == machines.mac_of("u1") != machines.mac_of("u2")
    assert mac.startswith("02:")


def test_the_machine() -> None:
    assert machine() == {
        "vm": "default/linux-vm", "vm_uid": VM["metadata"]["uid"], "cores": 2, "memory_bytes": 4 * 2**30,
        "mac": machines.mac_of(VM["metadata"]["uid"]), "ip": "10.66.10.14", "gateway": "10.66.10.254",
        "prefix": 24, "disks": DISKS, "cpu_model": "Nehalem", "machine_type": "pc-q35-7.2", "firmware": "",
        "seed_secret": "", "grace_s": 30, "display": True, "uefi_vars": "",
    }  # fmt: skip


def test_a_guest_of_an_earlier_version_keeps_its_hardware() -> None:
    later = ("display", "uefi_vars")
    earlier = {field: value for field, value in machine().items() if field not in later}
    assert machines.decode(json.dumps(earlier)) == {**earlier, "display": False, "uefi_vars": ""}


def test_efi_variables_are_kept_beside_the_first_disk_that_can_be_written() -> None:
    vm = {**VM, "spec": {**VM["spec"], "bootloader": "EFI"}}
    image = machines.disk("vi-a", "/i/i.qcow2", read_only=True, boot_order=1)
    data, root = machines.disk("vd-b", "/d/b.qcow2"), machines.disk("vd-r", "/d/r.qcow2")
    made = machines.machine_of(vm, CLASS, "10.66.10.14", [image, data, root], NETWORK, "")
    assert made["uefi_vars"] == "/d/b.efivars"
    root = {**root, "boot_order": 2}
    made = machines.machine_of(vm, CLASS, "10.66.10.14", [image, data, root], NETWORK, "")
    assert made["uefi_vars"] == "/d/r.efivars"


def test_metadata() -> None:
    meta = pod()["metadata"]
    assert meta["labels"] == {
        "app": "db",
        names.VM_NAME_LABEL: "linux-vm",
        "kubevirt.internal.virtualization.deckhouse.io": "virt-launcher",
        "kubevirt.internal.virtualization.deckhouse.io/created-by": VM["metadata"]["uid"],
    }
    annotations = dict(meta["annotations"])
    assert json.loads(annotations.pop(names.MACHINE_ANNOTATION)) == machine()
    applied = json.loads(annotations.pop("drover.dev/applied-spec"))
    assert "runPolicy" not in applied
    assert applied["cpu"] == VM["spec"]["cpu"]
    annotations.pop("drover.dev/propagated")
    assert annotations.pop("drover.dev/placement") == placement.digest(VM, CLASS)
    assert annotations == {
        "note": "hello",
        "kubectl.kubernetes.io/default-container": "d8v-compute",
        "descheduler.alpha.kubernetes.io/request-evict-only": "",
    }
    (owner,) = meta["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == (
        "VirtualMachine",
        VM["metadata"]["uid"],
        True,
    )


def test_spec() -> None:
    spec = pod()["spec"]
    assert spec == {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "priorityClassName": "drover-vm",
        "tolerations": [
            {"key": "drover.dev/vm-node", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
            {"key": "gpu", "operator": "Exists"},
            {"key": "vm", "operator": "Exists"},
        ],
        "containers": [
            {
                "name": "d8v-compute",
                "image": "drover.dev/machine",
                "stdin": True,
                "tty": True,
                "resources": {
                    "requests": {"cpu": "500m", "memory": "4380Mi"},
                    "limits": {"cpu": "2", "memory": "4380Mi"},
                },
            }
        ],
        "nodeSelector": {"zone": "b", "disk": "ssd"},  # the class wins
        "affinity": {
            "podAntiAffinity": VM["spec"]["affinity"]["virtualMachineAndPodAntiAffinity"],
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": key, "operator": "Exists"} for key in (own, "c")
                            ]
                        }
                        for own in ("a", "b")
                    ]
                }
            },
        },
        "topologySpreadConstraints": VM["spec"]["topologySpreadConstraints"],
    }


def test_user_data_is_a_volume_so_that_the_node_may_read_just_that_secret() -> None:
    assert pod("mine")["spec"]["volumes"] == [
        {"name": "user-data", "secret": {"secretName": "mine"}}
    ]


@pytest.mark.parametrize(
    ("cores", "memory", "overhead_mi"),
    [(2, 4 * 2**30, 284), (1, 2**30, 270), (4, 192 * 2**20, 293)],
)
def test_overhead(cores: int, memory: int, overhead_mi: int) -> None:
    assert vmpod.overhead_bytes(cores, memory) == overhead_mi * 2**20


@pytest.mark.parametrize(
    ("fraction", "milli"), [("100%", 2000), ("25%", 500), ("1%", 20), (None, 1000)]
)
def test_the_cpu_reserved(fraction: str | None, milli: int) -> None:
    vm = copy.deepcopy(VM)
    vm["spec"]["cpu"] = {"cores": 2} | ({"coreFraction": fraction} if fraction else {})
    assert vmpod.resources_of(vm, CLASS).cpu_milli == milli


def bound() -> dict[str, Any]:
    source = pod("mine")
    source["metadata"] |= {
        "uid": "p1",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    source["metadata"]["annotations"][names.STOP_ANNOTATION] = "graceful"
    source["spec"] |= {"nodeName": "n1", "priority": 5, "preemptionPolicy": "Never"}
    source["status"] = {"phase": "Running"}
    return source


def test_a_target_is_the_source_again_but_never_on_its_node() -> None:
    source = bound()
    before = copy.deepcopy(source)
    target = vmpod.target_pod(source, VMM, "d8v-vm-linux-vm-moved")
    assert source == before
    assert set(target) == {"apiVersion", "kind", "metadata", "spec"}
    meta = target["metadata"]
    assert set(meta) == {"name", "namespace", "labels", "annotations", "ownerReferences"}
    annotations = dict(source["metadata"]["annotations"])
    del annotations[names.STOP_ANNOTATION]
    kept = {
        key: value for key, value in meta["annotations"].items() if key != vmpod.AFFINITY_ANNOTATION
    }
    assert kept == {**annotations, names.MIGRATION_ANNOTATION: "vmop-x"}
    assert meta["labels"] == {
        **source["metadata"]["labels"], "kubevirt.internal.virtualization.deckhouse.io/migrationJobUID": "m1",
    }  # fmt: skip
    assert meta["ownerReferences"] == source["metadata"]["ownerReferences"]
    spec = target["spec"]
    assert not {"nodeName", "priority", "preemptionPolicy"} & set(spec)
    off = [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [term["matchFields"] for term in required["nodeSelectorTerms"]] == [off, off]
    for field in (
        "containers",
        "tolerations",
        "volumes",
        "nodeSelector",
        "topologySpreadConstraints",
    ):
        assert spec[field] == source["spec"][field]


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def test_a_target_stays_apart_from_every_pod_of_its_vm_besides_the_users_rules() -> None:
    label = "kubevirt.internal.virtualization.deckhouse.io/created-by"
    own = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {label: VM["metadata"]["uid"]}},
    }
    users = VM["spec"]["affinity"]["virtualMachineAndPodAntiAffinity"][REQUIRED]
    first = vmpod.target_pod(bound(), VMM, "x")
    assert first["spec"]["affinity"]["podAntiAffinity"][REQUIRED] == [*users, own]
    again = vmpod.target_pod(first, VMM, "y")  # rules do not pile up from move to move
    assert again["spec"]["affinity"]["podAntiAffinity"][REQUIRED] == [*users, own]


def test_a_term_that_matches_no_node_stays_one() -> None:
    vm = copy.deepcopy(VM)
    node_affinity = vm["spec"]["affinity"]["nodeAffinity"][REQUIRED]
    node_affinity["nodeSelectorTerms"] = [{}, {"matchFields": []}]
    built = vmpod.build_pod("x", vm, CLASS, machine())["spec"]["affinity"]["nodeAffinity"]
    assert built[REQUIRED]["nodeSelectorTerms"] == [{}, {"matchFields": []}]


def test_priority_and_spread_are_those_of_the_vm() -> None:
    vm = copy.deepcopy(VM)
    vm["spec"]["priorityClassName"] = "gold"
    built = vmpod.build_pod("x", vm, CLASS, machine())["spec"]
    assert built["priorityClassName"] == "gold"
    assert built["topologySpreadConstraints"] == vm["spec"]["topologySpreadConstraints"]


def test_preferred_rules_are_copied_and_the_class_adds_its_own_term() -> None:
    vm = copy.deepcopy(VM)
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    wish = [{"weight": 5, "preference": {"matchExpressions": [{"key": "k", "operator": "Exists"}]}}]
    vm["spec"]["affinity"] = {"nodeAffinity": {preferred: wish}}
    built = vmpod.build_pod("x", vm, CLASS, machine())["spec"]["affinity"]["nodeAffinity"]
    assert built[preferred] == wish
    assert built[REQUIRED]["nodeSelectorTerms"] == [
        {"matchExpressions": [{"key": "c", "operator": "Exists"}]}
    ]


def test_a_target_without_any_affinity_and_with_a_selector_of_the_operation() -> None:
    source = bound()
    del source["spec"]["affinity"]
    move = {**VMM, "spec": {**VMM["spec"], "nodeSelector": {"kubernetes.io/hostname": "n2"}}}
    affinity = vmpod.target_pod(source, move, "x")["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}
    ]
    assert term["matchFields"][0]["values"] == ["n1"]


def test_the_rules_of_an_earlier_move_end_with_it() -> None:
    first = {**VMM, "spec": {**VMM["spec"], "nodeSelector": {"kubernetes.io/hostname": "n2"}}}
    source = vmpod.target_pod(bound(), first, "x")
    back = {
        "metadata": {"name": "vmop-y", "uid": "m2"},
        "spec": {**VMM["spec"], "sourceNode": "n2"},
    }
    moved = vmpod.target_pod(source, back, "y")
    direct = vmpod.target_pod(bound(), back, "y")
    assert moved["spec"]["affinity"] == direct["spec"]["affinity"]
    assert moved["metadata"]["annotations"][names.MIGRATION_ANNOTATION] == "vmop-y"

"""The views against the manifests: every word that code knows is a word of the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drover.api import manifest_files, names, scheme
from drover.api.kinds import disk, image, ip, rebalance, vm, vmclass, vmm, vmop

if TYPE_CHECKING:
    import enum
    from pathlib import Path

    from drover.api.wire import Object

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in manifest_files.crds()}


def schema(kind: str) -> Object:
    version = CRDS[kind]["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]


def field(kind: str, path: str) -> Object:
    """The schema of one field; ``[]`` steps into items."""
    found = schema(kind)
    for step in path.split("."):
        found = found["items"] if step == "[]" else found["properties"][step]
    return found


def values(words: type[enum.StrEnum] | tuple[str, ...]) -> set[str]:
    return {str(word) for word in words}


ENUMS: list[tuple[str, str, Any]] = [
    ("VirtualMachine", "spec.runPolicy", vm.RunPolicy),
    ("VirtualMachine", "status.phase", vm.VmPhase),
    ("VirtualMachine", "spec.liveMigrationPolicy", vm.LiveMigrationPolicy),
    ("VirtualMachine", "spec.disruptions.restartApprovalMode", vm.RestartApproval),
    ("VirtualMachine", "status.migrationState.result", vm.MigrationResult),
    ("VirtualMachine", "spec.provisioning.type", vm.ProvisioningType),
    ("VirtualMachine", "spec.blockDeviceRefs.[].kind", vm.DeviceKind),
    ("VirtualMachineOperation", "spec.type", vmop.VmopType),
    ("VirtualMachineOperation", "status.phase", vmop.VmopPhase),
    ("VirtualMachineMigration", "status.phase", (*names.VmmPhase.FINAL, names.VmmPhase.PENDING,
        names.VmmPhase.SCHEDULING, names.VmmPhase.PREPARING, names.VmmPhase.READY,
        names.VmmPhase.COPYING)),
    ("VirtualMachineMigration", "status.target.phase", vmm.TargetPhase),
    ("VirtualMachineMigration", "spec.origin", vmop.Origin),
    ("VirtualMachineClass", "spec.cpu.type", vmclass.CpuType),
    ("VirtualMachineClass", "status.phase", vmclass.ClassPhase),
    ("VirtualDisk", "status.phase", disk.DiskPhase),
    ("VirtualDisk", "spec.dataSource.type", disk.DataSourceType),
    ("VirtualImage", "status.phase", image.ImagePhase),
    ("ClusterVirtualImage", "status.phase", image.ImagePhase),
    ("VirtualImage", "spec.dataSource.type", image.ImageSourceType),
    ("VirtualMachineIPAddress", "spec.type", ip.IpType),
    ("VirtualMachineIPAddress", "status.phase", ip.IpPhase),
    ("VirtualMachineIPAddressLease", "status.phase", ip.IpLeasePhase),
    ("RebalancePlan", "spec.mode", rebalance.Mode),
    ("RebalancePlan", "status.phase", rebalance.PlanPhase),
    ("RebalancePlan", "status.steps.[].state", rebalance.StepState),
    ("ModuleConfig", "spec.settings.rebalance.mode", rebalance.Mode),
]  # fmt: skip


class _Strict(yaml.SafeLoader):
    """Refuses what YAML lets pass: a key given twice, and a key without a value, which is what a
    comma in an unquoted sentence makes.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key twice in {keys}"
        made = super().construct_mapping(node, deep=deep)
        assert None not in made.values(), f"{node.start_mark}: no value in {made}"
        return made


@pytest.mark.parametrize(
    "path", sorted(manifest_files.ROOT.rglob("*.yaml")), ids=lambda path: path.name
)
def test_no_key_is_lost_in_yaml(path: Path) -> None:
    assert list(yaml.load_all(path.read_text(), Loader=_Strict))


def test_a_key_lost_in_yaml_is_found() -> None:
    for text in ("{a: 1, a: 2}", "{path: {description: The file, relative to here}}"):
        with pytest.raises(AssertionError):
            yaml.load(text, Loader=_Strict)


@pytest.mark.parametrize(("kind", "path", "words"), ENUMS, ids=[f"{k} {p}" for k, p, _ in ENUMS])
def test_every_word_in_code_is_in_the_schema(kind: str, path: str, words: Any) -> None:
    assert values(words) <= set(field(kind, path)["enum"])


def test_every_phase_of_a_migration_is_named_in_code() -> None:
    known = {value for key, value in vars(names.VmmPhase).items() if isinstance(value, str)}
    assert set(field("VirtualMachineMigration", "status.phase")["enum"]) <= known


def test_kinds_live_where_the_code_looks_for_them() -> None:
    ours = [
        k for k in scheme.ALL if k.group in (scheme.VIRTUALIZATION, scheme.DROVER, scheme.DECKHOUSE)
    ]
    assert {kind.kind for kind in ours} == set(CRDS)
    for kind in ours:
        spec = CRDS[kind.kind]["spec"]
        assert spec["group"] == kind.group
        assert spec["names"]["plural"] == kind.plural
        assert (spec["scope"] == "Namespaced") == kind.namespaced
        assert kind.version in {version["name"] for version in spec["versions"]}


def columns(kind: str, priority: int) -> list[str]:
    found = CRDS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]
    return [column["name"] for column in found if column.get("priority", 0) == priority]


def test_get_vm_shows_the_columns_of_the_transcript() -> None:
    assert columns("VirtualMachine", 0) == ["Phase", "Node", "IPAddress", "Age"]
    assert columns("VirtualMachine", 1) == [
        "Uptime", "Cores", "CoreFraction", "Memory", "Need restart", "Agent", "Migratable",
    ]  # fmt: skip


def test_get_vmop_shows_progress() -> None:
    shown = ["Phase", "Progress", "Type", "VirtualMachine", "Age"]
    assert columns("VirtualMachineOperation", 0) == shown


@pytest.mark.parametrize(
    ("kind", "short", "categories"),
    [
        ("VirtualMachine", ["vm"], ["all", "virtualization"]),
        ("VirtualMachineOperation", ["vmop"], ["virtualization"]),
        ("VirtualMachineClass", ["vmc", "vmclass"], ["virtualization-cluster"]),
        ("VirtualDisk", ["vd"], ["all", "virtualization"]),
        ("VirtualImage", ["vi"], ["all", "virtualization"]),
        ("ClusterVirtualImage", ["cvi"], ["virtualization-cluster"]),
        ("VirtualMachineIPAddress", ["vmip"], ["all", "virtualization"]),
        ("VirtualMachineIPAddressLease", ["vmipl", "vmiplease"], ["virtualization-cluster"]),
        ("VirtualMachineLease", ["vml"], ["virtualization"]),
        ("VirtualMachineMigration", ["vmm"], ["virtualization"]),
        ("ModuleConfig", ["mc"], ["virtualization-cluster"]),
        ("RebalancePlan", ["rbp"], ["virtualization-cluster"]),
    ],
)
def test_short_names_and_categories(kind: str, short: list[str], categories: list[str]) -> None:
    found = CRDS[kind]["spec"]["names"]
    assert (found["shortNames"], found["categories"]) == (short, categories)


def test_only_what_one_compare_and_swap_changes_has_no_status() -> None:
    without = [
        kind for kind, crd in CRDS.items() if "subresources" not in crd["spec"]["versions"][0]
    ]
    assert without == ["NodeRoster", "VirtualMachineLease"]


def test_what_is_needed_is_applied_first() -> None:
    order = [doc["kind"] for doc in manifest_files.load()]
    assert order.index("Namespace") == 0
    assert order.index("ValidatingAdmissionPolicy") < order.index(
        "ValidatingAdmissionPolicyBinding"
    )
    assert order.index("CustomResourceDefinition") < order.index("VirtualMachineClass")
    assert order[-1] == "VirtualMachineClass"


def test_no_vm_may_preempt() -> None:
    classes = [doc for doc in manifest_files.load() if doc["kind"] == "PriorityClass"]
    assert names.VM_PRIORITY_CLASS in {doc["metadata"]["name"] for doc in classes}
    assert {doc["preemptionPolicy"] for doc in classes} == {"Never"}


def test_the_class_that_comes_with_every_installation() -> None:
    [generic] = [obj for obj in manifest_files.custom() if obj["kind"] == "VirtualMachineClass"]
    assert vmclass.is_default(generic)
    assert vmclass.cpu_model(generic) == "Nehalem"
    allowed = {
        cores: vmclass.core_fractions_percent(vmclass.sizing_policy(generic, cores) or {})
        for cores in (1, 4, 5, 8, 9, 16, 17, 248)
    }
    small, middle, large = [5, 10, 20, 50, 100], [20, 50, 100], [50, 100]
    assert allowed == {
        1: small, 4: small, 5: middle, 8: middle, 9: large, 16: large, 17: [100], 248: [100],
    }  # fmt: skip


def test_topology_follows_the_rule_of_the_schema() -> None:
    assert [vm.sockets_for(cores) for cores in (1, 16, 17, 32, 33, 64, 65, 248)] == [
        1, 1, 2, 2, 4, 4, 8, 8,
    ]  # fmt: skip
